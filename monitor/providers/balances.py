"""Balances out of the answer of a described vendor: strictly, or an error that says what is there instead.

Whatever a description does not find exactly is an error, never zero.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

from monitor.errors import UnexpectedAnswer
from monitor.model import Balance, FailureKind, VendorOrganization
from monitor.providers.answers import (
    Meaning,
    gateways_page,
    is_html,
    is_page,
    parse,
    read_error,
    require_body,
    six_places,
)
from monitor.providers.description import Conditions, Description, Figure, is_unit
from monitor.providers.http import Answer
from monitor.providers.paths import (
    EXACT,
    Summand,
    Unreadable,
    parse_path,
    parse_terms,
    read_number,
    read_sum,
    without_sign,
)
from monitor.providers.redaction import redact, sanitize
from monitor.text import fits_header

LONGEST_TEXT: Final = 16 * 1024  # characters of a text in which a pattern is looked for
LONGEST_ID: Final = 200
LONGEST_REASON: Final = 500
MILLISECONDS: Final = Decimal(10) ** 11  # an instant as large as this is not in seconds
_OK: Final = range(200, 300)
_NOTHING: Final = object()  # no JSON

T = TypeVar("T")


def read_answer(description: Description, answer: Answer, *, secret: str, meaning: Meaning) -> tuple[Balance, ...]:
    """Return every balance of an answer of any status; raise `FetchError`."""
    body = accepted(description, answer, secret=secret, meaning=meaning)
    with_secret = _Reason(secret, answer.status)
    if description.pattern is not None:
        return (with_secret(lambda: _text_balance(description, answer)),)
    if unmet := _unmet(description, body):
        raise UnexpectedAnswer(sanitize(_with_words(unmet, answer, secret), secret, limit=LONGEST_REASON))
    if isinstance(body, dict | list) and not body:
        raise UnexpectedAnswer("the answer is empty", status=answer.status)
    return with_secret(lambda: tuple(_balances(description, body, secret=secret)))


def accepted(description: Description, answer: Answer, *, secret: str, meaning: Meaning) -> Any:
    """Return the JSON of an answer that is no refusal (None of a text); raise `FetchError`."""
    is_text = description.pattern is not None
    parsed = _NOTHING if is_text else _parsed(answer)
    kind = _by_words(description, answer, parsed)
    if kind is not None or answer.status in meaning.statuses or answer.status not in _OK:
        raise read_error(answer, secret=secret, meaning=meaning, kind=kind)
    require_body(answer)
    if is_page(answer.body) if is_text else (parsed is _NOTHING and is_html(answer)):
        raise gateways_page(answer.status)
    if parsed is _NOTHING and not is_text:
        what = "empty" if not answer.body.strip() else "no JSON"
        raise UnexpectedAnswer(f"the answer is {what}, where JSON was described", status=answer.status)
    return None if is_text else parsed


class _Reason(NamedTuple):
    """Turns what could not be read into an `UnexpectedAnswer` without secrets."""

    secret: str
    status: int

    def __call__(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except Unreadable as error:
            reason = sanitize(str(error), self.secret, limit=LONGEST_REASON)
        raise UnexpectedAnswer(reason, status=self.status or None)


# --- refusals ---------------------------------------------------------------------------------------------------------


def _parsed(answer: Answer) -> Any:
    """Return the JSON of a body; `_NOTHING` when it has none."""
    parsed = parse(answer.body)
    return _NOTHING if parsed is None and answer.body.strip() != b"null" else parsed


def _by_words(description: Description, answer: Answer, parsed: Any) -> FailureKind | None:
    """Return what words in an answer of any status mean."""
    if description.pattern is not None:
        text = answer.body.decode("utf-8", "replace")[:LONGEST_TEXT]
        kinds = (
            kind for kind, patterns in description.patterns.items() if any(re.search(each, text) for each in patterns)
        )
        return next(kinds, None)
    if parsed is _NOTHING:
        return None
    return next((kind for kind, words in description.words.items() if any(_meets(parsed, words))), None)


def _meets(parsed: Any, conditions: Conditions) -> Iterator[bool]:
    """Yield whether each condition holds: the path leads to one of its values, of the same type."""
    for path, allowed in conditions:
        found = parse_path(path).found(parsed)
        yield any(_is_equal(value, wanted) for value in found for wanted in allowed)


def _is_equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool) or isinstance(value, str) or isinstance(wanted, str):
        return type(value) is type(wanted) and value == wanted
    return isinstance(value, Decimal) and value == wanted


def _unmet(description: Description, parsed: Any) -> str | None:
    """Return which of `ok` and `absent` does not hold; None when all do."""
    for (path, _), is_met in zip(description.ok, _meets(parsed, description.ok), strict=True):
        if not is_met:
            return f"ok: {path} is not what it has to be"
    for path in description.absent:
        if any(value not in (None, "", [], {}) for value in parse_path(path).found(parsed)):
            return f"absent: {path} is there"
    return None


def _with_words(problem: str, answer: Answer, secret: str) -> str:
    """Return a problem with the vendor's own words behind it."""
    words = str(read_error(answer, secret=secret, kind=FailureKind.ACCESS_DENIED)).partition("): ")[2]
    return f"{problem}{f'; the vendor says: {words}' if words else ''}"


# --- figures ----------------------------------------------------------------------------------------------------------


def _balances(description: Description, body: Any, *, secret: str) -> Iterator[Balance]:
    if description.each is None:
        id_ = description.id and _id(description.id, body, secret=secret)
        for figure in description.figures:
            yield _balance(figure, body, id_=figure.id or id_ or "")
        return
    seen: set[str] = set()
    for number, entry in enumerate(_entries(description.each, body)):
        try:
            id_ = _id(description.id or "", entry, secret=secret)
            balance = _balance(description.figures[0], entry, id_=id_)
        except Unreadable as error:
            raise Unreadable(f"{description.each}[{number}]: {error}") from None
        if id_ in seen:
            raise Unreadable(f"{description.each}: has the id {id_} twice")
        seen.add(id_)
        yield balance


def _entries(each: str, body: Any) -> Sequence[Any]:
    entries = parse_path(each).value(body)
    if not isinstance(entries, list) or not entries:
        raise Unreadable(f"{each}: is {'an empty list' if entries == [] else 'no list'}, expected one with entries")
    return entries


def _id(path: str, entry: Any, *, secret: str) -> str:
    """Return the id of an entry: text, or a whole number."""
    value = parse_path(path).value(entry)
    if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < MILLISECONDS**2:
        value = f"{value:.0f}"
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"{path}: is no id; expected text or a whole number")
    if len(value) > LONGEST_ID or not value.isprintable() or redact(value, secret) != value or value != value.strip():
        raise Unreadable(f"{path}: is an id that cannot be kept: expected up to {LONGEST_ID} printable characters")
    return value


def _balance(figure: Figure, body: Any, *, id_: str) -> Balance:
    unit = figure.unit if figure.unit_path is None else _unit(figure.unit_path, body)
    resets_at, note = _reset(figure.resets_at, body)
    if figure.unlimited is not None and _is_unlimited(figure.unlimited, body):
        return Balance(id_, Decimal(0), unit, resets_at=resets_at, unlimited=True, note=note)
    amount = _finished(read_sum(parse_terms(figure.balance), body, strip=figure.strip), figure)
    return Balance(id_, amount, unit, resets_at=resets_at, note=note)


def _is_unlimited(path: str, body: Any) -> bool:
    """Return whether there is null instead of a limit."""
    limit = parse_path(path).value(body)
    try:
        return limit is None or not read_number(limit).is_finite()
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}, or null") from None


def _finished(amount: Decimal, figure: Figure) -> Decimal:
    """Return an amount in our unit, with six places."""
    divided = EXACT.divide(amount, figure.divide) if figure.divide else amount
    try:
        return six_places(divided, status=None)
    except UnexpectedAnswer as error:
        raise Unreadable(f"{figure.balance or 'balance'}: {error}") from None


def _unit(path: str, body: Any) -> str:
    value = parse_path(path).value(body)
    if not isinstance(value, str) or not is_unit(value):
        raise Unreadable(f"{path}: is no unit; expected a short word such as USD")
    return value


def _text_balance(description: Description, answer: Answer) -> Balance:
    try:
        text = answer.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("the answer is no text in UTF-8") from None
    if len(text) > LONGEST_TEXT:
        raise Unreadable(f"the answer is longer than {LONGEST_TEXT} characters")
    if not text.strip():
        raise Unreadable("the answer is empty")
    found = re.search(description.pattern or "", text)
    if found is None:
        raise Unreadable(f"pattern: does not fit the answer, which begins with: {text[:80]}")
    figure = description.figures[0]
    groups = found.groupdict()
    unit = groups.get("unit") or figure.unit
    if figure.unit and unit != figure.unit:
        raise Unreadable(f"the unit is {unit} and not {figure.unit}, as described")
    if not unit:
        raise Unreadable("there is no unit behind the number, and none is described")
    if not is_unit(unit):
        raise Unreadable("pattern: its unit is none; expected a short word such as USD")
    return Balance("", _finished(_number_of(groups["balance"], figure), figure), unit)


def _number_of(text: str | None, figure: Figure) -> Decimal:
    try:
        return read_number(without_sign(text or "", figure.strip) if figure.strip else text or "")
    except Unreadable as error:
        raise Unreadable(f"pattern: balance {error}") from None


# --- instants ---------------------------------------------------------------------------------------------------------


def _reset(path: str | None, body: Any) -> tuple[datetime | None, str | None]:
    """Return when a quota refills, and what is odd about that: it never makes a balance fail."""
    values = [] if path is None else [value for value in parse_path(path).found(body) if value is not None]
    if not values:
        return None, None
    at = read_instant(values[0]) if len(values) == 1 else None
    return at, None if at else f"{path}: is no instant; expected ISO 8601, or seconds or milliseconds since 1970"


def read_instant(value: Any) -> datetime | None:
    """Return an instant of ISO 8601 (UTC where it has no offset), or of seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]{9,14}(?:\.[0-9]{1,9})?", value, re.ASCII):
            at = datetime.fromisoformat(value.strip())
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        if not isinstance(value, str | Decimal):
            return None
        seconds = Decimal(value)
        seconds = seconds / 1000 if abs(seconds) >= MILLISECONDS else seconds
        return datetime.fromtimestamp(float(seconds), UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError, ArithmeticError):
        return None


# --- organizations ----------------------------------------------------------------------------------------------------


def read_listing(
    description: Description, answer: Answer, *, secret: str, meaning: Meaning
) -> tuple[tuple[VendorOrganization, ...], tuple[str, ...]]:
    """Return the organizations that a vendor lists, and a line for each that cannot be watched; raise `FetchError`."""
    listed = description.organizations
    if listed is None:
        raise AssertionError
    body = accepted(description, answer, secret=secret, meaning=meaning)
    entries = _Reason(secret, answer.status)(lambda: _listed(listed.each, body))
    organizations: dict[str, VendorOrganization] = {}
    unusable: list[str] = []
    for number, entry in enumerate(entries):
        try:
            id_ = _id(listed.id, entry, secret=secret)
        except Unreadable as error:
            unusable.append(sanitize(f"{listed.each}[{number}]: {error}", secret))
            continue
        if not fits_header(id_) or id_ in {".", ".."}:
            unusable.append(f"{listed.each}[{number}]: has an id that no request can name")
            continue
        names = parse_path(listed.name).found(entry) if listed.name else []
        name = names[0] if len(names) == 1 and isinstance(names[0], str) else ""
        organizations.setdefault(id_, VendorOrganization(id_, sanitize(name, secret) or None, is_default=False))
    if unusable and not organizations:
        raise UnexpectedAnswer(f"of what the key sees nothing can be watched: {unusable[0]}", status=answer.status)
    return tuple(organizations.values()), tuple(unusable)


def _listed(each: str, body: Any) -> Sequence[Any]:
    entries = parse_path(each).value(body)
    if not isinstance(entries, list):
        raise Unreadable(f"{each}: is no list")
    return entries


# --- which value came from which path ---------------------------------------------------------------------------------


def trace(description: Description, answer: Answer) -> Iterator[tuple[str, str, object]]:
    """Yield key, path and value of everything that was read from an answer."""
    if description.pattern is not None:
        found = re.search(description.pattern, answer.body.decode("utf-8-sig", "replace"))
        yield from (("pattern", name, value) for name, value in (found.groupdict() if found else {}).items())
        return
    body = _parsed(answer)
    yield from (("ok", path, _shown(path, body)) for path, _ in description.ok)
    entries = [body] if description.each is None else _entries(description.each, body)
    for number, entry in enumerate(entries):
        place = "" if description.each is None else f"{description.each}[{number}]."
        if description.id:
            yield "id", f"{place}{description.id}", _shown(description.id, entry)
        for figure in description.figures:
            yield from _figure_trace(figure, entry, place)


def _figure_trace(figure: Figure, entry: Any, place: str) -> Iterator[tuple[str, str, object]]:
    terms: tuple[Summand, ...] = parse_terms(figure.balance)
    yield from (("balance", f"{place}{term.path.written}", _shown(term.path.written, entry)) for term in terms)
    for key, path in (("unit", figure.unit_path), ("unlimited", figure.unlimited), ("resets_at", figure.resets_at)):
        if path:
            yield key, f"{place}{path}", _shown(path, entry)


def _shown(path: str, entry: Any) -> object:
    found = parse_path(path).found(entry)
    return found[0] if len(found) == 1 else found
