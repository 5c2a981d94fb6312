"""A vendor as data: where it is asked, how it answers, what its figures mean.  Made by `config.descriptions`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from monitor.model import FailureKind, RateLimit
from monitor.providers.templates import RESERVED, UrlTemplate, fill, header_value, user, variables, variables_in

# What a table [providers.NAME] may hold.
KEYS: Final = (
    *("url", "method", "json", "form", "auth", "headers", "ok", "absent", "balance", "divide", "strip", "unit"),
    *("unlimited", "each", "id", "balances", "organizations", "resets_at", "format", "pattern", "status"),
    *("rejected", "denied", "empty", "every_min", "rate_limit", "credits", "env", "top_up_url", "key_help", "source"),
    *("test", "command"),
)
USUAL_RATE: Final = RateLimit(30, timedelta(minutes=1))
MEANINGS: Final[Mapping[str, FailureKind]] = {  # what a status may mean
    "credential": FailureKind.CREDENTIAL_REJECTED,
    "access": FailureKind.ACCESS_DENIED,
    "no_credits": FailureKind.NO_CREDITS,
    "unavailable": FailureKind.UNAVAILABLE,
    "wait": FailureKind.RATE_LIMITED,
}
WORDS: Final[Mapping[str, FailureKind]] = {  # what words in an answer of any status may mean, in this order
    "rejected": FailureKind.CREDENTIAL_REJECTED,
    "denied": FailureKind.ACCESS_DENIED,
    "empty": FailureKind.NO_CREDITS,
}


def is_unit(text: str) -> bool:
    """Return whether a text can be a unit: short, and harmless wherever figures stand."""
    return re.fullmatch(r"[^\W_](?:[\w.%/ -]{0,31}(?<! ))?|[€$£¥]", text) is not None


class Place(StrEnum):
    """Where a request has the key."""

    BEARER = "bearer"
    HEADER = "header"
    QUERY = "query"
    BASIC = "basic"
    NONE = "none"  # it may stand in the body


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the key goes; `name` is a header's or a parameter's, or the user of Basic; `prefix` stands before it."""

    place: Place = Place.BEARER
    name: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """How one balance is read; paths as written.  `unit` is one, or the path to it; `id` names one of several."""

    balance: str
    unit: str = ""
    unit_path: str | None = None
    divide: Decimal | None = None
    strip: str = ""
    unlimited: str | None = None
    resets_at: str | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class OrganizationList:
    """The request that lists organizations, each of which is asked for its balance."""

    url: UrlTemplate
    each: str
    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer that a vendor gives, and what has to come out: (id, balance, unit) of each."""

    body: str
    expect: tuple[tuple[str, Decimal | None, str], ...]


# What a command prints that says nothing of how: a number, perhaps with a unit behind it.
PRINTED: Final = r"\A\s*(?P<balance>\S+)(?:[ \t]+(?P<unit>\S.*?))?\s*\Z"

Conditions = tuple[tuple[str, tuple[Any, ...]], ...]  # path → values of which it has to have one


@dataclass(frozen=True, slots=True)
class Description:
    """One vendor.  Either `url` or `command` says how it is asked."""

    name: str
    url: UrlTemplate | None = None
    command: tuple[str, ...] = ()
    method: str = "GET"
    json: Any = None
    form: Mapping[str, str] | None = None
    auth: Auth = Auth()
    headers: Mapping[str, str] = field(default_factory=dict)
    ok: Conditions = ()
    absent: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    each: str | None = None
    id: str | None = None
    organizations: OrganizationList | None = None
    pattern: str | None = None  # of a text; None: the answer is JSON
    status: Mapping[int, FailureKind] = field(default_factory=dict)
    words: Mapping[FailureKind, Conditions] = field(default_factory=dict)
    patterns: Mapping[FailureKind, tuple[str, ...]] = field(default_factory=dict)  # the same of a text
    every_min: timedelta | None = None
    rate_limit: RateLimit | None = USUAL_RATE
    credits: Any = None  # levels, as written
    env: str | None = None
    top_up_url: str | None = None
    key_help: str | None = None
    source: str | None = None
    samples: tuple[Sample, ...] = ()

    @property
    def uses_key(self) -> bool:
        """Whether an account of it needs a key; a command may do without."""
        return not self.command and (self.auth.place is not Place.NONE or "key" in self._in_body)

    @property
    def uses_base_url(self) -> bool:
        """Whether its address begins with {base_url}, which the account has to have then."""
        return self.url is not None and not self.url.scheme

    @property
    def variables(self) -> set[str]:
        """The variables that an account has to fill."""
        return self._used - set(RESERVED)

    @property
    def host_variables(self) -> set[str]:
        """The variables of its host, which an account with a `base_url` need not fill."""
        return self.url.host_variables if self.url else set()

    def try_out(self, variables: Mapping[str, str], base_url: str | None) -> None:
        """Raise `Unusable` for a value that cannot stand where it is used."""
        values = {**variables, "organization": "x", "uuid": "x"}
        for url in (self.url, self.organizations and self.organizations.url):
            if url:
                url.origin(values, base_url)
                url.fill(values, base_url)
        for text in (*self.headers.values(), self.auth.prefix):
            fill(text, values, escape=header_value)
        if self.auth.place is Place.BASIC:
            fill(self.auth.name, values, escape=user)

    @property
    def asks_for_organization(self) -> bool:
        """Whether a request names an organization."""
        return "organization" in self._used

    @property
    def is_never_alike(self) -> bool:
        """Whether no two requests are alike."""
        return "uuid" in self._used

    @property
    def asks_each(self) -> bool:
        """Whether each organization is asked for by itself."""
        return self.organizations is not None or (bool(self.command) and self.asks_for_organization)

    @property
    def is_one_balance(self) -> bool:
        """Whether the account is one balance, and access denied is its key's trouble."""
        return self.each is None and not self.asks_each and len(self.figures) == 1

    @property
    def unit(self) -> str:
        """Its unit in a word, for a table; empty where the answer tells it."""
        return ", ".join(dict.fromkeys(figure.unit for figure in self.figures if figure.unit))

    @property
    def _in_body(self) -> set[str]:
        return variables_in(self.json) | variables_in(self.form)

    @property
    def _used(self) -> set[str]:
        urls = [self.url] if self.url else []
        urls += [self.organizations.url] if self.organizations else []
        names = self._in_body | variables_in(self.headers) | variables_in(list(self.command))
        names |= variables(self.auth.prefix)
        names |= variables(self.auth.name) if self.auth.place is Place.BASIC else set()
        return names.union(*(url.variables for url in urls))
