"""Says what goes wrong with an account's checks once, and once that it is over, however often and to however many.

Refuses to keep anything: it is for the log, and every failed check is recorded elsewhere.
"""

import logging
import re
from collections.abc import Collection
from typing import Final

from monitor.errors import FetchError, RateLimited

NAMED_AT_MOST: Final = 5

log = logging.getLogger(__name__)


class FailureLog:
    """What is wrong with one account, from poll to poll."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._standing: dict[str, set[str]] = {}  # cause → whom it concerned in the last poll
        self._now: dict[str, set[str]] = {}  # ... and in this one, so far

    def hear(self, name: str, error: FetchError) -> None:
        """A check failed; a cause that is new is said at once, for a poll of thousands takes long."""
        cause = _cause(error)
        concerned = self._now.setdefault(cause, set())
        if cause not in self._standing and not concerned:
            log.warning("%s: %s", name, error, extra={"account": self._account})
            self._standing[cause] = {name}
        concerned.add(name)

    def sum_up(self) -> None:
        """A poll is over: say to whom else a cause has come, and which ones are gone."""
        for cause, concerned in self._now.items():
            if more := concerned - self._standing[cause]:
                words = (self._account, _listed(more), cause)
                log.warning("account %s: also %s: %s", *words, extra={"account": self._account})
        for cause in self._standing.keys() - self._now.keys():
            log.info("account %s: no longer: %s", self._account, cause, extra={"account": self._account})
        # Whom a cause concerned before counts as said until the cause is gone: failures may take turns.
        self._standing = {cause: self._standing[cause] | concerned for cause, concerned in self._now.items()}
        self._now = {}


def _cause(error: FetchError) -> str:
    """What stays the same from one check to the next: neither the vendor's own words nor a countdown do."""
    if isinstance(error, RateLimited):
        return "the vendor's rate limit was reached"
    return re.sub(r"\d+ s\b", "some time", str(error).partition(": ")[0])


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:NAMED_AT_MOST]
    left = len(names) - len(first)
    return ", ".join(first) + (f" and {left} more" if left else "")
