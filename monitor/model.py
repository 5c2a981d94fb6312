"""The nouns of credit-monitor as frozen values: what is watched, what was seen, what was decided.

No I/O, no clock, no rule.  Instants are aware UTC, credits are `Decimal` with at most
six places, durations are `timedelta`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Final


class Severity(IntEnum):
    """How bad it is; ordered."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def label(self) -> str:
        """The word used in configuration, tables and messages."""
        return self.name.lower()

    @classmethod
    def of(cls, label: str) -> "Severity":
        """Return the severity of a word; raise `KeyError` for any other word."""
        return cls[label.upper()]


class Generation(StrEnum):
    """A generation of the vendor's API."""

    V1 = "v1"
    V1ALPHA = "v1alpha"


class Rule(StrEnum):
    """A condition that opens incidents."""

    CREDITS = "credits"
    RUNWAY = "runway"
    SPEND = "spend"
    ACCESS = "access"
    CREDENTIAL = "credential"
    STALE = "stale"
    OUTAGE = "outage"


class Subject(StrEnum):
    """What an incident is about."""

    ORGANIZATION = "organization"
    ACCOUNT = "account"
    MONITOR = "monitor"


class Reason(StrEnum):
    """Why something is said."""

    OPENED = "opened"
    ESCALATED = "escalated"
    EASED = "eased"
    RESOLVED = "resolved"
    REMINDER = "reminder"
    DIGEST = "digest"


class FailureKind(StrEnum):
    """How a check failed; one for each leaf under `errors.FetchError`."""

    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    CREDENTIAL_REJECTED = "credential_rejected"
    ACCESS_DENIED = "access_denied"
    NO_CREDITS = "no_credits"
    UNEXPECTED_ANSWER = "unexpected_answer"


class DeliveryState(StrEnum):
    """Where a delivery stands: `pending` is tried again, the others are final.

    Folded: a newer notification of its incident tells it, too.  Unknown: sent three times, and never answered for; it
    counts as told.  Withdrawn: what quiet hours held back and was no longer true at their end, or an end that a channel
    need not hear.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"
    FOLDED = "folded"
    GIVEN_UP = "given_up"
    WITHDRAWN = "withdrawn"


# --- what the vendor says ---------------------------------------------------------------------------------------------


STABILITY: Final = "stability"  # the provider where the configuration names none
STABILITY_UNIT: Final = "credits"  # what it counts in; one vendor's credit is not another's


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `requests` within any window of `per`."""

    requests: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Vendor:
    """What is known of a provider before it is asked: of one built in, or of one that the configuration describes.

    `asks_each`: each organization has a request of its own, and an id of the vendor's own by which it is known
    whichever key asks (Stability; a description with `organizations`).  Else one answer holds all balances of a key,
    and (provider, account, id) is what each is known by.  `levels` are the description's `credits` as written,
    also "off".
    """

    name: str
    unit: str | None = None  # of every balance; None: the answer says it
    asks_each: bool = False
    is_one_balance: bool = False  # its answer holds one, without an id
    needs_key: bool = True
    variables: frozenset[str] = frozenset()  # that an account has to give in `vars`
    base_url: str = ""  # scheme and host that are asked where the account has no base_url of its own
    rate_limit: RateLimit | None = None
    every_min: timedelta | None = None
    levels: Any = None
    top_up_url: str | None = None
    key_help: str = ""
    env: str = ""  # the variable in which people keep the key


@dataclass(frozen=True, slots=True)
class Balance:
    """One balance of an answer; `id` tells it from its siblings and is empty where there is one alone.

    `unlimited`: the vendor says that there is no limit, and `credits` means nothing.
    """

    id: str
    credits: Decimal
    unit: str = STABILITY_UNIT
    name: str | None = None
    resets_at: datetime | None = None  # when a quota refills; None: none known
    unlimited: bool = False
    note: str | None = None  # what is odd about the answer, and no error


@dataclass(frozen=True, slots=True)
class VendorOrganization:
    """One organization as the account endpoint lists it."""

    id: str
    name: str | None = None
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed check as it is kept: already redacted, safe to log, store and send."""

    kind: FailureKind
    message: str
    status: int | None = None
    vendor_error_id: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One recorded balance; never changed."""

    taken_at: datetime
    credits: Decimal


@dataclass(frozen=True, slots=True)
class Unlimited:
    """The vendor says that there is no limit: no balance, and nothing to alarm of."""


@dataclass(frozen=True, slots=True)
class Age:
    """For how long an organization has given no balance, since its last one or since its first failure.

    `ran` is the time since then in which the process that asks was running; a clock that is set does not change it.
    """

    since: datetime
    ran: timedelta


@dataclass(frozen=True, slots=True)
class Check:
    """One fetch of one organization (None: of the account's list), its outcome, and when it ended.

    One `carried_over` from an earlier leadership is judged only if nothing newer was recorded since.
    """

    account_id: int
    organization_id: int | None
    ended_at: datetime
    outcome: "Outcome"
    carried_over: bool = False
    poll_at: datetime | None = None  # when its poll began; None: it is a poll of its own
    by_another: bool = False  # process, with a key of its own: it tells the balance, and nothing of our key
    age: Age | None = None  # of what is known, where it failed; None: by the instants alone
    resets_at: datetime | None = None  # of a quota, as the answer says

    def age_since(self, since: datetime) -> timedelta:
        """Return how old what was known at `since` is at this check."""
        if self.age is not None and self.age.since == since:
            return self.age.ran
        return self.ended_at - since


Outcome = Snapshot | Failure | Unlimited


# --- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rung:
    """One level of a ladder: reached when the figure is under `below`, left when it has reached `clear`.

    With `of_top_up` both are shares (0.2 is 20 %) of the last top-up.
    """

    severity: Severity
    below: Decimal
    clear: Decimal
    of_top_up: bool = False


SMALLEST: Final = Decimal("0.000001")  # amount that there is
# The ladder where nobody set a level: critical at a balance of 0 or less, and at an answer of *no credits*.
NOTHING_LEFT: Final = (Rung(Severity.CRITICAL, SMALLEST, SMALLEST),)


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """More than `credits` used within `window` is too much; it is over when the use is at or under `clear`."""

    credits: Decimal
    window: timedelta
    clear: Decimal


REMINDERS: Mapping[Severity, tuple[timedelta, ...]] = MappingProxyType(
    {
        Severity.CRITICAL: (timedelta(hours=4), timedelta(hours=8), timedelta(days=1)),
        Severity.WARNING: (timedelta(days=1),),
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one organization, worst rung first in each ladder; an empty ladder is a rule switched off.

    Runway rungs are in hours.  `remind` has the gaps between reminders of each severity; the last one repeats.
    """

    credits: tuple[Rung, ...] = ()
    runway: tuple[Rung, ...] = ()
    stale_after: timedelta | None = None
    confirm_checks: int = 1
    spend: SpendLimit | None = None
    quiet: timedelta = timedelta(minutes=30)  # within which an incident that comes back goes on (`judge.flapping`)
    remind: Mapping[Severity, tuple[timedelta, ...]] = field(default_factory=lambda: REMINDERS)


# --- the forecast -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Runway:
    """Hours until the balance is 0, counted from the last snapshot; infinite when nothing is used."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """Too little history for a forecast: so much more use has to be seen."""

    missing: timedelta


# --- what is known before a check, and after --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An incident that stands, or ended a short while ago: what `judge` needs to know of it.

    One that comes back within its window goes on: it *flaps*.  Its present reading may then be clear (`calm_since`)
    while it stands, until it has been quiet for a whole window.
    """

    id: int
    rule: Rule
    severity: Severity  # at present, or when its reading was last bad
    opened_at: datetime
    topped_up_before: Decimal = Decimal(0)  # the organization's `topped_up` when it opened
    told_at: datetime | None = None  # when it was last told; None counts as `opened_at`
    reminders: int = 0  # since its severity last changed
    owed: bool = False  # something of it was silenced, and is told when the silence ends
    ended_at: datetime | None = None
    calm_since: datetime | None = None
    eased_at: datetime | None = None
    returns: int = 0  # how often it came back
    returned_at: datetime | None = None
    worst_told: Severity | None = None  # None counts as `severity`
    tellings: int = 0  # messages a channel was sent of it, reminders of a steady state left out
    end_told_at: datetime | None = None

    @property
    def is_firing(self) -> bool:
        """Whether its present reading is bad."""
        return self.ended_at is None and self.calm_since is None

    @property
    def is_flapping(self) -> bool:
        """Whether it came back, and stands."""
        return self.ended_at is None and self.returns > 0


@dataclass(frozen=True, slots=True)
class Rejections:
    """The polls of an account in a row whose key was refused, and when the last of them began."""

    polls: int = 0
    poll_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Organization:
    """The current row of an organization: its identity, its last snapshot and last check.

    `used` and `topped_up` add up every fall and every rise ever recorded.  `confirmations` counts, per rule and
    severity, the checks in a row that were below a rung which is not yet said.
    """

    id: int
    name: str
    vendor_id: str
    account: str
    title: str | None = None
    snapshot: Snapshot | None = None
    previous: Snapshot | None = None
    used: Decimal = Decimal(0)
    topped_up: Decimal = Decimal(0)
    top_up: Snapshot | None = None  # of the last rise: when, and by how many credits
    checked_at: datetime | None = None
    failure: Failure | None = None  # of the last check; None when it gave a snapshot
    failing_since: datetime | None = None
    confirmations: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    provider: str = STABILITY
    unit: str = STABILITY_UNIT  # of every amount; "": no answer has said it yet
    mixed: bool = False  # its account watches balances of other units, too
    unlimited: bool = False  # the vendor's last word: there is no limit
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `judge` decided for one rule of one subject: an incident begins, changes or ends."""

    rule: Rule
    reason: Reason
    severity: Severity  # of the incident from now on; for resolved: the one it had
    previous: Severity | None = None
    level: Decimal | None = None  # the rung that decided, in the figure's unit
    clear: Decimal | None = None
    reconfigured: bool = False  # the configuration changed, not the world
    told: bool = True  # False: it is kept, and nobody hears of it, because it flaps
    hourly: bool = False  # a reminder of one that flaps, whatever the configured gaps
    returned: bool = False  # the incident came back
    calm: bool = False  # the present reading is clear, and the incident goes on
    quiet_for: timedelta | None = None  # told with its first return: how long it has to be quiet until more is told


# --- what is said -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The figures that a notification was judged by; they never change afterwards.

    In memory they are the values they were read as; what is stored of them is flat (`store.facts`).
    """

    name: str  # of the subject: the organization's or the account's
    account: str
    at: datetime  # of the check that decided
    vendor_id: str | None = None
    title: str | None = None
    snapshot: Snapshot | None = None  # the last known one
    previous: Snapshot | None = None  # the one before it
    day_ago: Snapshot | None = None  # 24 hours before it, or the oldest when history is shorter
    top_up: Snapshot | None = None  # the last rise: when, and by how many credits
    topped_up: Decimal | None = None  # since the incident opened
    level: Decimal | None = None  # of the rung that decided, in the unit of its rule
    clear: Decimal | None = None
    runway: Runway | Unknown | None = None  # None: nobody asked for a forecast
    spent: Decimal | None = None  # credits used within `window`
    window: timedelta | None = None
    opened_at: datetime | None = None
    previous_severity: Severity | None = None
    cause: str | None = None  # the last failure, redacted
    organizations: int | None = None  # that an account's or the monitor's incident concerns
    stale_after: timedelta | None = None
    no_credits: bool = False  # the vendor answered that there are none, and named no balance
    reconfigured: bool = False
    returns: int = 0  # how often the incident came back
    calm: bool = False  # the present reading is clear, and the incident goes on
    quiet_for: timedelta | None = None  # the first return: how long it has to be quiet until more is told
    unit: str = STABILITY_UNIT  # of every amount

    @property
    def credits(self) -> Decimal | None:
        """The last known balance."""
        return self.snapshot.credits if self.snapshot else None

    @property
    def taken_at(self) -> datetime | None:
        """When the last known balance was taken."""
        return self.snapshot.taken_at if self.snapshot else None

    @property
    def runway_likely(self) -> float | None:
        """Hours until empty, the likely figure: None while unknown, infinite when nothing is used."""
        return self.runway.likely if isinstance(self.runway, Runway) else None


@dataclass(frozen=True, slots=True)
class Notification:
    """What we want to say, once; its id lets a receiver recognise a double."""

    id: str
    incident_id: int
    subject: Subject
    rule: Rule
    reason: Reason
    severity: Severity
    facts: Facts

    @property
    def why(self) -> str:
        """Its reason in a word: nothing is resolved where the configuration changed."""
        ended = self.reason is Reason.RESOLVED and self.facts.reconfigured
        return "reconfigured" if ended else self.reason.value

    def named(self) -> dict[str, str]:
        """Return what it is about, as fields of a log line."""
        organization = {"organization": self.facts.name} if self.subject is Subject.ORGANIZATION else {}
        words = {"rule": self.rule.value, "reason": self.why, "severity": self.severity.label}
        ids = {"incident": str(self.incident_id), "notification": self.id}
        return {"account": self.facts.account, **organization, **words, **ids}


@dataclass(frozen=True, slots=True)
class Message:
    """A notification in words: one subject line, and the same body in three forms.

    A mailbox shows many at once and gathers them by subject: `mail_subject` is for those ("": the same).
    """

    subject: str
    text: str
    markdown: str
    html: str
    mail_subject: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification on its way to one channel, with the older ones of its incident that it tells, too.

    `mail_id` is the message's, whichever attempt; `mail_thread` is that of the first one of its incident there.
    """

    id: int
    channel: str
    said: Notification | Message  # a digest comes in words
    attempts: int
    give_up_at: datetime
    folded: tuple[Notification, ...] = ()  # oldest first
    reached: bool = False  # somebody of the channel has it
    targets: "Targets | None" = None  # None: it goes to all that the channel has
    due: frozenset[str] | None = None  # keys of those of them whose pause is over
    mail_id: str = ""
    mail_thread: str = ""


@dataclass(frozen=True, slots=True)
class WaitingTarget:
    """A recipient of a channel that has not got a message that others of it have got, or may have."""

    key: str  # an HMAC; empty: all that are not known
    name: str  # so much of it that people recognize it
    error: str
    refused: bool = False  # for good
    unknowns: int = 0  # how often it may have got it
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """Which recipients of a channel a delivery is still for; one that is in neither list does not get it."""

    salt: str  # of the keys
    taken: tuple[str, ...]  # keys of those that got it, or may have too often
    waiting: tuple[WaitingTarget, ...]


@dataclass(frozen=True, slots=True)
class TargetOutcome:
    """What became of a message at one of several recipients: `error` is None when it was taken."""

    key: str
    name: str
    error: str | None
    retryable: bool = True
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt of a delivery ended: `error` is None when the service took the message.

    Not `retryable`: the channel refuses everything, and somebody has to mend it.  `unknown`: it may have been taken.
    `retry_after` is the pause that the service asked for.  `too_long`: so long a message is not taken.  With several
    recipients `targets` has the outcome of each that was asked, and `parts` the keys of what some of them need not be
    sent again; `seen` are the keys of all that the channel has, None when they are not known.
    """

    delivery_id: int
    error: str | None
    retryable: bool = True
    unknown: bool = False
    retry_after: timedelta | None = None
    too_long: bool = False
    targets: tuple[TargetOutcome, ...] = ()
    parts: tuple[str, ...] = ()
    seen: frozenset[str] | None = None

    @property
    def reached(self) -> bool:
        """Whether the service took the message for anybody."""
        return self.error is None or any(target.error is None for target in self.targets)


@dataclass(frozen=True, slots=True)
class Silence:
    """A person's "not now" for one organization or account: up to a severity, until an instant or until it is over.

    `rule` None means every rule but `credential`, which is silenced only when named.
    """

    id: int
    subject: Subject
    subject_id: int
    rule: Rule | None
    up_to: Severity
    created_at: datetime
    until: datetime | None  # None: an acknowledgement, until resolved or worse
    author: str
    reason: str


@dataclass(frozen=True, slots=True)
class TopUp:
    """A rise of a balance, told by itself because nothing was wrong."""

    name: str
    account: str
    credits: Decimal  # by which it rose
    balance: Decimal
    at: datetime
    unit: str = STABILITY_UNIT


# --- the digest -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DigestLine:
    """One organization in a digest; `used` and `topped_up` are of its period, None where nothing is known of it."""

    name: str
    credits: Decimal | None
    taken_at: datetime | None
    used: Decimal | None
    topped_up: Decimal | None
    runway_low: float | None = None
    runway_likely: float | None = None
    runway_high: float | None = None
    failing: bool = False
    unit: str = STABILITY_UNIT
    unlimited: bool = False


@dataclass(frozen=True, slots=True)
class OpenLine:
    """One open incident in a digest."""

    name: str
    rule: Rule
    severity: Severity
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Digest:
    """What a channel's digest says of one period."""

    channel: str
    weekly: bool
    since: datetime
    until: datetime
    organizations: tuple[DigestLine, ...]
    incidents: tuple[OpenLine, ...]
    lost: Mapping[str, int]  # channel -> deliveries given up in the period
    waiting: Mapping[str, int]  # channel -> deliveries that failed and are tried again
