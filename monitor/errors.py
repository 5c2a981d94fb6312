"""Every error that credit-monitor raises on purpose, grouped by what the caller can do.

MonitorError
├── ConfigError           all mistakes at once, each with file, line where known, key and what was expected
├── UsageError            a mistake on the command line
├── DatabaseError         cannot be reached or used, or another daemon holds it
│   ├── SchemaOutdated    says which command to run
│   └── LeaseLost         another daemon leads: what this one wanted to write as the leader is not written
├── ListenError           the address of [web] cannot be listened on
├── ChildError            a process of ours could not be started or died: trouble of the machine, not of a setting
├── FetchError            .kind, .retryable
│   ├── ProviderUnavailable   timeout, network, 5xx, a gateway's page        retryable
│   ├── RateLimited           429, with how long                             retryable
│   ├── CredentialRejected    401
│   ├── AccessDenied          403 with the vendor's JSON, 404
│   ├── NoCredits             402, 429 insufficient_balance
│   └── UnexpectedAnswer      a shape or value the vendor never promised
└── DeliveryError         .retryable, .channel

Messages are for people and already redacted: whoever raises one removes secrets first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.model import Failure, FailureKind


class MonitorError(Exception):
    """The root; `exit_code` is what a command exits with when it is not caught (sysexits where one fits)."""

    exit_code = 70


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in the configuration."""

    key: str  # dotted, as in the file; empty for the file as a whole
    problem: str  # what is wrong, and what is expected
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.key, self.problem) if part)


class ConfigError(MonitorError):
    """The configuration cannot be used; lists every mistake."""

    exit_code = 78

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class UsageError(MonitorError):
    """Something on the command line names what does not exist or cannot be."""

    exit_code = 64


class DatabaseError(MonitorError):
    """The database cannot be used now: unreachable, full, locked, damaged, or held by another daemon."""

    exit_code = 75

    def __init__(self, message: str, *, concerns_all: bool = False) -> None:
        """`concerns_all`: whatever is written fails now; else it may be about what was written."""
        super().__init__(message)
        self.concerns_all = concerns_all


class SchemaOutdated(DatabaseError):
    """The database's schema is not the one this version works with; the message names the command to run."""


class LeaseLost(DatabaseError):
    """Another daemon leads now; nothing was written."""


class ChildError(MonitorError):
    """A process that was to do something for us could not be started, or died of it; it may work the next time."""


class ListenError(MonitorError):
    """The address to listen on is in use, or not of this machine; it may be free at the next attempt."""

    exit_code = 75


class DeliveryError(MonitorError):
    """A channel did not accept a message."""

    exit_code = 69

    def __init__(self, message: str, *, channel: str, retryable: bool = True) -> None:
        super().__init__(message)
        self.channel = channel
        self.retryable = retryable


class FetchError(MonitorError):
    """A fetch gave no balance; never a balance of zero."""

    kind: FailureKind
    retryable = False

    def __init__(self, message: str, *, status: int | None = None, vendor_error_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.vendor_error_id = vendor_error_id

    @property
    def failure(self) -> Failure:
        """Return this error as the value that is stored and judged."""
        return Failure(self.kind, str(self), self.status, self.vendor_error_id)


class ProviderUnavailable(FetchError):
    kind = FailureKind.UNAVAILABLE
    retryable = True


class RateLimited(FetchError):
    """The vendor asks to wait; `retry_after` is in seconds, at least 60."""

    kind = FailureKind.RATE_LIMITED
    retryable = True

    def __init__(
        self, message: str, *, retry_after: float, status: int | None = None, vendor_error_id: str | None = None
    ) -> None:
        super().__init__(message, status=status, vendor_error_id=vendor_error_id)
        self.retry_after = retry_after


class CredentialRejected(FetchError):
    kind = FailureKind.CREDENTIAL_REJECTED


class AccessDenied(FetchError):
    kind = FailureKind.ACCESS_DENIED


class NoCredits(FetchError):
    kind = FailureKind.NO_CREDITS


class UnexpectedAnswer(FetchError):
    kind = FailureKind.UNEXPECTED_ANSWER
