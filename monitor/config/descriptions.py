"""`[providers.NAME]`: a vendor as written becomes a `Description`; every mistake with its key.

Nothing of it asks anybody; the library of paths is loaded where a description is written, not for one built in.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from monitor import durations
from monitor.config import fields
from monitor.config.contradictions import contradictions
from monitor.config.problems import hint
from monitor.config.schema import Key
from monitor.model import FailureKind
from monitor.providers.description import (
    KEYS,
    MEANINGS,
    PRINTED,
    USUAL_RATE,
    WORDS,
    Auth,
    Conditions,
    Description,
    Figure,
    OrganizationList,
    Place,
    Sample,
    is_unit,
)
from monitor.providers.templates import parse_url, variables

FIGURE_KEYS: Final = ("id", "balance", "unit", "divide", "strip", "unlimited", "resets_at")
OURS: Final = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"}
FIRST_STATUS, LAST_STATUS = 100, 599
LARGEST_DIVISOR: Final = Decimal(10) ** 30
PATH: Final = 'expected a path such as "data.balance"'

T = TypeVar("T")
Default = TypeVar("Default")
Problems = list[tuple[Key, str]]


# --- one description --------------------------------------------------------------------------------------------------


def read_description(name: str, values: Any, *, parses_paths: bool = True) -> tuple[Description, Problems]:
    """Return a description without what is wrong with it, and that: key within it, problem."""
    reader = _Reader(values if isinstance(values, Mapping) else {}, parses_paths=parses_paths)
    if not isinstance(values, Mapping):
        reader.add((), "expected a table")
    description = reader.description(name)
    return description, reader.problems


class _Reader:
    """Reads the keys of one table; what is wrong is kept, and left out."""

    def __init__(self, values: Mapping[str, Any], *, parses_paths: bool) -> None:
        self.values = values
        self.parses_paths = parses_paths
        self.problems: Problems = []

    def add(self, key: Key, problem: str) -> None:
        """Keep a mistake; a second one of the same key may follow from the first."""
        if all(known != key for known, _ in self.problems):
            self.problems.append((key, problem))

    def add_missing(self, key: str, expected: str) -> None:
        """Keep that a key is missing, unless it may be misspelt here: that is said already."""
        if not any(difflib.get_close_matches(other, (key,), 1, 0.5) for other in self.values if other not in KEYS):
            self.add((key,), f"is missing; {expected}")

    def take(self, key: str, read: Callable[[Any], T], default: Default) -> T | Default:
        """Return a value as `read` has it; the default where it is not there, or wrong."""
        if key not in self.values:
            return default
        try:
            return read(self.values[key])
        except _Within as error:
            self.add((key, *error.key), str(error))
        except ValueError as error:
            self.add((key,), str(error))
        return default

    def description(self, name: str) -> Description:
        """Return all of it."""
        for key in self.values:
            if key not in KEYS:
                self.add((key,), f"unknown setting; {hint(key, KEYS)}")
        is_text = self.take("format", fields.choice("json", "text"), "json") == "text"
        is_printed = "command" in self.values and not is_text and not {"balance", "balances"} & set(self.values)
        is_text = is_text or is_printed
        url = self.take("url", lambda value: parse_url(fields.text(value)), None)
        description = Description(
            name=name,
            url=url,
            command=self.take("command", _command, ()),
            method=self.take("method", fields.choice("GET", "POST"), "GET"),
            json=self.take("json", _json, None),
            form=self.take("form", _form, None),
            auth=self.take("auth", _auth, Auth()),
            headers=self.take("headers", _headers, {}),
            ok=() if is_text else self.take("ok", self._conditions, ()),
            absent=() if is_text else self.take("absent", self._paths, ()),
            figures=self._figures(is_text=is_text),
            each=self.take("each", self._one_path, None),
            id=self.take("id", self._one_path, None),
            organizations=self.take("organizations", self._organizations, None),
            pattern=PRINTED if is_printed else self.take("pattern", _balance_pattern, None) if is_text else None,
            status=self.take("status", _status, {}),
            words=_by_meaning(lambda key: () if is_text else self.take(key, self._conditions, ())),
            patterns=_by_meaning(lambda key: self.take(key, _patterns, ()) if is_text else ()),
            every_min=self.take("every_min", durations.parse, None),
            rate_limit=self.take("rate_limit", fields.rate_limit, USUAL_RATE),
            credits=self.values.get("credits"),
            env=self.take("env", _variable_name, None),
            top_up_url=self.take("top_up_url", fields.top_up_url, None),
            key_help=self.take("key_help", fields.text, None),
            source=self.take("source", fields.text, None),
            samples=self.take("test", _samples, ()),
        )
        self._check_together(description, is_text=is_text)
        return description

    # --- figures ------------------------------------------------------------------------------------------------------

    def _figures(self, *, is_text: bool) -> tuple[Figure, ...]:
        if is_text:
            return (self._figure(self, balance="", id_=""),)
        if "balances" in self.values:
            return self._named_figures()
        if "balance" not in self.values:
            self.add_missing("balance", 'expected paths such as "data.total - data.used"')
        return (self._figure(self, balance=self.take("balance", self._terms, ""), id_=""),)

    def _named_figures(self) -> tuple[Figure, ...]:
        listed = self.values["balances"]
        if not isinstance(listed, list) or not listed or not all(isinstance(each, Mapping) for each in listed):
            self.add(("balances",), 'expected a list such as [{ id = "usd", balance = "…", unit = "USD" }]')
            return ()
        figures: list[Figure] = []
        for number, entry in enumerate(listed, start=1):
            inner = _Reader({**_shared(self.values), **entry}, parses_paths=self.parses_paths)
            for key in entry:
                if key not in FIGURE_KEYS:
                    inner.add((key,), f"unknown setting; {hint(key, FIGURE_KEYS)}")
            for key in ("id", "balance"):
                if key not in entry:
                    inner.add((key,), "is missing")
            id_ = inner.take("id", fields.text, "")
            if id_ and id_ in {figure.id for figure in figures}:
                inner.add(("id",), "is there twice")
            figures.append(self._figure(inner, balance=inner.take("balance", inner._terms, ""), id_=id_))
            for key, problem in inner.problems:
                self.add(("balances", str(number), *key), problem)
        return tuple(figures)

    def _figure(self, reader: "_Reader", *, balance: str, id_: str) -> Figure:
        unit, unit_path = reader.take("unit", self._unit, ("", None))
        return Figure(
            balance=balance,
            unit=unit,
            unit_path=unit_path,
            divide=reader.take("divide", _divisor, None),
            strip=reader.take("strip", fields.text, ""),
            unlimited=reader.take("unlimited", self._one_path, None),
            resets_at=reader.take("resets_at", self._one_path, None),
            id=id_,
        )

    def _unit(self, value: Any) -> tuple[str, str | None]:
        if isinstance(value, Mapping):
            if set(value) != {"path"}:
                raise ValueError('expected a unit such as "USD", or { path = "currency" }')
            try:
                return "", self._path(value["path"])
            except ValueError as error:
                raise _Within(("path",), str(error)) from None
        unit = fields.text(value)
        if not is_unit(unit):
            raise ValueError('expected a short word such as "USD" or "characters"')
        return unit, None

    # --- paths --------------------------------------------------------------------------------------------------------

    def _path(self, value: Any) -> str:
        """Return a path, perhaps with one `[*]`."""
        if not isinstance(value, str) or not value.strip():
            raise ValueError(PATH)
        if self.parses_paths:
            from monitor.providers.paths import parse_path  # noqa: PLC0415 -- only where a description is written

            parse_path(value)
        return value.strip()

    def _one_path(self, value: Any) -> str:
        """Return a path without a `[*]`."""
        path = self._path(value)
        if self.parses_paths:
            from monitor.providers.paths import parse_path  # noqa: PLC0415

            if parse_path(path).tail is not None:
                raise ValueError("has a [*], which makes a sum; expected a path that leads to one value")
        return path

    def _terms(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError('expected paths such as "data.total - data.used"')
        if self.parses_paths:
            from monitor.providers.paths import parse_terms  # noqa: PLC0415

            parse_terms(value)
        return value.strip()

    def _paths(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError('expected a list of paths such as ["errors"]')
        return tuple(map(self._path, value))

    def _conditions(self, value: Any) -> Conditions:
        if not isinstance(value, Mapping) or not value:
            raise ValueError("expected paths and what has to be there, such as { code = 0 }")
        return tuple(self._condition(path, wanted) for path, wanted in value.items())

    def _condition(self, path: str, wanted: Any) -> tuple[str, tuple[Any, ...]]:
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if isinstance(wanted, Mapping):
            raise _Within((path,), f'expected a value; a path is one key in quotes: "{path}.…"')
        if not allowed or not all(isinstance(one, str | bool | int | Decimal) for one in allowed):
            raise _Within((path,), "expected text, a number, true or false, or a list of them")
        try:
            return self._path(path), tuple(allowed)
        except ValueError as error:
            raise _Within((path,), str(error)) from None

    def _organizations(self, value: Any) -> OrganizationList:
        example = 'expected { url = "…", each = "projects", id = "project_id", name = "name" }'
        if not isinstance(value, Mapping):
            raise ValueError(example)
        for key in value:
            if key not in {"url", "each", "id", "name"}:
                raise _Within((key,), f"unknown setting; {hint(key, ('url', 'each', 'id', 'name'))}")
        for key in ("url", "each", "id"):
            if key not in value:
                raise ValueError(f"{key} is missing; {example}")
        inner = _Reader(value, parses_paths=self.parses_paths)
        url = inner.take("url", lambda text: parse_url(fields.text(text)), None)
        each, id_, name = (inner.take(key, inner._one_path, None) for key in ("each", "id", "name"))
        for key, problem in inner.problems:
            raise _Within(key, problem)
        if url and "organization" in url.variables:
            raise _Within(("url",), "holds {organization}, which it is to find")
        return OrganizationList(url, each or "", id_ or "", name)  # type: ignore[arg-type]

    # --- keys against each other --------------------------------------------------------------------------------------

    def _check_together(self, description: Description, *, is_text: bool) -> None:
        for key, problem in contradictions(self.values, description, is_text=is_text):
            self.add(key, problem)


class _Within(ValueError):
    """A mistake in a part of a value."""

    def __init__(self, key: Key, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def _shared(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the entries of `balances` need not repeat."""
    return {key: values[key] for key in FIGURE_KEYS if key in values and key not in {"id", "balance"}}


def _by_meaning(take: Callable[[str], Any]) -> dict[FailureKind, Any]:
    return {kind: taken for key, kind in WORDS.items() if (taken := take(key))}


# --- values -----------------------------------------------------------------------------------------------------------


def _auth(value: Any) -> Auth:
    expected = (
        'expected "bearer", "none", { header = "x-key" }, { header = "Authorization", prefix = "Token " },'
        ' { query = "api_key" } or { basic = "{user}" }'
    )
    if isinstance(value, str) and value in {"bearer", "none"}:
        return Auth(Place(value))
    if not isinstance(value, Mapping):
        raise ValueError(expected)
    ways = [key for key in value if key != "prefix"]
    if len(ways) != 1 or ways[0] not in {"header", "query", "basic"}:
        wrong = next((way for way in ways if way not in {"header", "query", "basic"}), None)
        if wrong is not None:
            raise _Within((wrong,), f"unknown setting; {hint(wrong, ('header', 'prefix', 'query', 'basic'))}")
        raise ValueError(expected)
    way, name, prefix = ways[0], value[ways[0]], value.get("prefix", "")
    if not isinstance(name, str) or not isinstance(prefix, str) or not prefix.isprintable():
        raise ValueError(expected)
    if prefix and way != "header":
        raise _Within(("prefix",), "is for a header alone")
    if way == "header" and (not _HEADER.fullmatch(name) or name.lower() in OURS):
        raise _Within(("header",), 'expected the name of a header such as "x-api-key"')
    if way == "query" and not re.fullmatch(r"[\w.~-]+", name, re.ASCII):
        raise _Within(("query",), 'expected the name of a parameter such as "api_key"')
    if "key" in variables(name + prefix):
        raise ValueError("holds {key}, which is put behind it")
    return Auth(Place(way), name, prefix)


_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { X-Version = "2" }')
    for name, text in value.items():
        if not _HEADER.fullmatch(name) or name.lower() in OURS:
            raise _Within((name,), "is no header that a description can set")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise _Within((name,), "expected text in quotes, without signs that no header has")
    return dict(value)


def _json(value: Any) -> Any:
    if not isinstance(value, Mapping | list):
        raise ValueError("expected a table or a list, as the body of the request")
    _check_json(value, ())
    return value


def _check_json(value: Any, place: Key) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_json(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value, start=1):
            _check_json(inner, (*place, str(number)))
    elif not isinstance(value, str | bool | int | Decimal) or (isinstance(value, Decimal) and not value.is_finite()):
        raise _Within(place, "expected text, a number, true or false")


def _form(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { action = "balance" }')
    for key, inner in value.items():
        if isinstance(inner, bool) or not isinstance(inner, str | int | Decimal):
            raise _Within((key,), "expected text or a number")
    return {key: str(inner) for key, inner in value.items()}


def _divisor(value: Any) -> Decimal:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,40}(\.[0-9]{1,20})?", value):  # of an environment variable
        value = Decimal(value)
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not is_number or not Decimal(value).is_finite() or not 0 < Decimal(value) <= LARGEST_DIVISOR:
        raise ValueError("expected a number above 0: how many of the vendor's units are one of ours")
    return Decimal(value)


def _status(value: Any) -> dict[int, FailureKind]:
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { 404 = "no_credits" }')
    for key, meaning in value.items():
        if not re.fullmatch(r"[0-9]{3}", key) or not FIRST_STATUS <= int(key) <= LAST_STATUS or int(key) == 200:  # noqa: PLR2004
            raise _Within((key,), "expected an HTTP status such as 404, other than 200")
        if meaning not in MEANINGS:
            raise _Within((key,), hint(meaning if isinstance(meaning, str) else "", MEANINGS))
    return {int(key): MEANINGS[meaning] for key, meaning in value.items()}


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a regular expression in quotes")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


def _balance_pattern(value: Any) -> str:
    pattern = _pattern(value)
    groups = re.compile(pattern).groupindex
    if "balance" not in groups:
        raise ValueError("has no group (?P<balance>…)")
    if wrong := [name for name in groups if name not in {"balance", "unit"}]:
        raise ValueError(f"has a group without meaning: {wrong[0]}; expected balance, and perhaps unit")
    return pattern


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("expected a list of regular expressions such as ['^BAD_KEY'], as format is \"text\"")
    return tuple(map(_pattern, value))


def _command(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(part, str) and part for part in value):
        raise ValueError('expected a program and its arguments such as ["/usr/local/lib/balance", "{organization}"]')
    if not value[0].startswith("/") or variables(value[0]):
        raise _Within(("1",), "expected the absolute path of a program")
    return tuple(value)


def _variable_name(value: Any) -> str:
    name = fields.text(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError('expected the name of an environment variable such as "OPENROUTER_API_KEY"')
    return name


def _samples(value: Any) -> tuple[Sample, ...]:
    if not isinstance(value, list):
        raise ValueError('expected a list such as [{ body = \'…\', expect = [["", "74.75", "USD"]] }]')
    return tuple(_sample(number, entry) for number, entry in enumerate(value, start=1))


def _sample(number: int, entry: Any) -> Sample:
    place = (str(number),)
    if not isinstance(entry, Mapping) or set(entry) != {"body", "expect"} or not isinstance(entry["body"], str):
        raise _Within(place, 'expected { body = \'…\', expect = [["", "74.75", "USD"]] }')
    try:
        return Sample(entry["body"], tuple(_expected(*row) for row in entry["expect"]))
    except (TypeError, ValueError, ArithmeticError):
        raise _Within((*place, "expect"), 'expected rows such as ["", "74.75", "USD"]: id, balance, unit') from None


def _expected(id_: str, balance: Any, unit: str) -> tuple[str, Decimal | None, str]:
    """Return a row of `expect`; a balance without limit is "unlimited"."""
    if not isinstance(id_, str) or not isinstance(unit, str):
        raise TypeError
    return id_, None if balance == "unlimited" else Decimal(balance), unit
