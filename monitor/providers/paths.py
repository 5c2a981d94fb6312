"""Paths into a vendor's JSON (RFC 9535), and the arithmetic between them, which is ours.

The home of jsonpath-rfc9535: 34 ms and 4 MiB, imported only where a description reads JSON.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from functools import lru_cache
from typing import Any, Final

from jsonpath_rfc9535 import JSONPathEnvironment
from jsonpath_rfc9535.exceptions import JSONPathError
from jsonpath_rfc9535.filter_expressions import Expression, FloatLiteral
from jsonpath_rfc9535.node import JSONPathNode
from jsonpath_rfc9535.parse import Parser
from jsonpath_rfc9535.segments import JSONPathChildSegment, JSONPathSegment
from jsonpath_rfc9535.selectors import IndexSelector, NameSelector, WildcardSelector
from jsonpath_rfc9535.tokens import TokenStream

EXACT: Final = Context(
    prec=400, Emax=MAX_EMAX, Emin=MIN_EMIN
)  # whatever the context of the thread is; more digits than any balance has
_MOST_KEYS: Final = 20  # of an object that are named
_LONGEST_KEY: Final = 40
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?", re.ASCII)

Segments = tuple[JSONPathSegment, ...]


class Unreadable(Exception):
    """An answer does not hold what a description looks for; says which path, and what is there instead."""


class _Parser(Parser):
    """Numbers in filters are decimals, as those of answers are: 1.1 is 1.1."""

    def parse_float_literal(self, stream: TokenStream) -> Expression:
        super().parse_float_literal(stream)
        return FloatLiteral(stream.current, value=Decimal(stream.current.value))  # type: ignore[arg-type]


class _Environment(JSONPathEnvironment):
    parser_class = _Parser


_ENVIRONMENT: Final = _Environment()


# --- one path ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Path:
    """A path as written; `tail` is what follows its one `[*]`, None where it has none."""

    written: str
    head: Segments
    tail: Segments | None = None

    def nodes(self, answer: object) -> list[JSONPathNode]:
        """Return every value that it leads to, with its place."""
        whole = self.head if self.tail is None else (*self.head, _WILDCARD, *self.tail)
        return _resolve(_root(answer), whole)

    def found(self, answer: object) -> list[Any]:
        """Return every value that it leads to."""
        return [node.value for node in self.nodes(answer)]

    def value(self, answer: object) -> Any:
        """Return the one value that it leads to, of a sum the one that all entries have; raise `Unreadable`."""
        values = self.values(answer)
        if any(not _is_same(value, values[0]) for value in values):
            raise Unreadable(f"{self.written}: differs from entry to entry")
        return values[0]

    def values(self, answer: object) -> list[Any]:
        """Return the one value, or of a sum one for each entry; raise `Unreadable`."""
        node = _single(_root(answer), self.head, self.written)
        if self.tail is None:
            return [node.value]
        entries = _children(node)
        if not entries:
            empty = "an empty list" if node.value == [] else _kind(node.value)
            raise Unreadable(f"{self.written}: {_spelt(self.head)} is {empty}, expected a list with entries")
        return [_single(entry, self.tail, self.written).value for entry in entries]


@lru_cache(maxsize=1024)
def parse_path(written: str) -> Path:
    """Return a path; raise `ValueError` that says what is wrong with it."""
    text = written.strip()
    if text.startswith("$"):
        whole = text
    elif text.startswith("["):
        whole = f"${text}"
    else:
        whole = f"$.{text}"
    try:
        segments = _ENVIRONMENT.compile(whole).segments
    except (JSONPathError, ValueError, RecursionError) as error:
        raise ValueError(_syntax(text, error)) from None
    wild = [at for at, segment in enumerate(segments) if _is_wildcard(segment)]
    if not wild:
        return Path(text, segments)
    if len(wild) > 1:
        raise ValueError(f"{text}: has more than one [*]; expected one at most, which makes it a sum")
    return Path(text, segments[: wild[0]], segments[wild[0] + 1 :])


_WILDCARD: Final = _ENVIRONMENT.compile("$[*]").segments[0]


def _syntax(text: str, error: Exception) -> str:
    if re.search(r"(?:^|[.\]])[\w]+-[\w-]*", text) and "'" not in text:
        return f"{text}: is no path; a name with other signs than letters, digits and _ is written ['odd-name']"
    if re.search(r"\S[+-]\s|\s[+-]\S", text):
        return f"{text}: is no path; + and - between paths have a space on both sides"
    where = re.search(r", line \d+, column (\d+)$", str(error))
    what = str(error)[: where.start()] if where else "wrong form"
    return f"{text}: is no path ({what}); expected one such as data.total or list[0].amount"


def _is_wildcard(segment: JSONPathSegment) -> bool:
    return isinstance(segment, JSONPathChildSegment) and isinstance(segment.selectors[0], WildcardSelector)


def _root(answer: Any) -> JSONPathNode:
    return JSONPathNode(value=answer, location=(), parent=None, root=answer)


def _resolve(node: JSONPathNode, segments: Segments) -> list[JSONPathNode]:
    nodes: Iterable[JSONPathNode] = [node]
    for segment in segments:
        nodes = segment.resolve(nodes)
    try:
        return list(nodes)
    except (JSONPathError, RecursionError):  # too deep
        return []


def _children(node: JSONPathNode) -> list[JSONPathNode]:
    return list(_WILDCARD.resolve([node]))


def _single(node: JSONPathNode, segments: Segments, written: str) -> JSONPathNode:
    """Return the one node; raise `Unreadable` with what is there when there is none, or more."""
    nodes = _resolve(node, segments)
    if len(nodes) == 1:
        return nodes[0]
    if nodes:
        raise Unreadable(f"{written}: leads to {len(nodes)} values, expected one")
    raise Unreadable(f"{written}: leads nowhere: {_what_is_there(node, segments)}")


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


# --- what is there instead --------------------------------------------------------------------------------------------


def _what_is_there(node: JSONPathNode, segments: Segments) -> str:
    """Return where a path ends, and what keys are there."""
    at, here = 0, node
    for length in range(1, len(segments) + 1):
        nodes = _resolve(node, segments[:length])
        if len(nodes) != 1:
            break
        at, here = length, nodes[0]
    place = _spelt(segments[:at]) if at else ("the entry" if node.location else "the answer")
    wanted = segments[at].selectors[0] if at < len(segments) else None
    if isinstance(wanted, NameSelector) and isinstance(here.value, dict):
        return f"{place} {_keys(here.value, wanted.name)}"
    if isinstance(here.value, dict):
        return f"{place} {_keys(here.value, '')}"
    return f"{place} is {_kind(here.value)}"


def _keys(members: dict[str, Any], wanted: str) -> str:
    if not members:
        return "has no keys"
    names = [name if len(name) <= _LONGEST_KEY else f"{name[:_LONGEST_KEY]}…" for name in list(members)[:_MOST_KEYS]]
    more = f" and {len(members) - _MOST_KEYS} more" if len(members) > _MOST_KEYS else ""
    near = difflib.get_close_matches(wanted, names, 1, 0.6)
    return f"has {', '.join(names)}{more}" + (f"; did you mean {near[0]}?" if near else "")


def _kind(value: object) -> str:
    """Return what a value is, without repeating it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, str):
        return "text" if value else "empty text"
    return "a number"


def _spelt(segments: Segments) -> str:
    """Return segments as people write them."""
    text = ""
    for segment in segments:
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector) and _PLAIN_NAME.fullmatch(selector.name):
            text += f".{selector.name}"
        elif isinstance(selector, IndexSelector):
            text += f"[{selector.index}]"
        else:
            text += str(segment)
    return text.removeprefix(".") or "the answer"


# --- numbers ----------------------------------------------------------------------------------------------------------


def read_number(value: object, *, strip: str = "") -> Decimal:
    """Return a JSON number, or the number of a decimal string; raise `Unreadable` that says what it is instead."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Unreadable("is no number")
        return value
    if not isinstance(value, str):
        raise Unreadable(f"is {_kind(value)}, expected a number")
    text = without_sign(value, strip) if strip else value
    if not _NUMBER.fullmatch(text):
        raise Unreadable(f"is {'empty text' if not value.strip() else 'text that is no number'}, expected a number")
    return Decimal(text.replace(",", ""))


def without_sign(text: str, sign: str) -> str:
    """Return text without a sign (of a currency, for example) before or after the number: -$5, $-5, 5 $."""
    text = text.strip()
    minus = text.startswith("-") and text[1:].lstrip().startswith(sign)
    text = text[1:].lstrip() if minus else text
    if text.startswith(sign):
        text = text.removeprefix(sign).lstrip()
    elif text.endswith(sign):
        text = text.removesuffix(sign).rstrip()
    return f"-{text}" if minus else text


@dataclass(frozen=True, slots=True)
class Summand:
    """One path of a balance: added or taken away; an optional one counts 0 where it is absent or null."""

    path: Path
    is_negative: bool = False
    is_optional: bool = False

    def read(self, answer: object, *, strip: str) -> Decimal | None:
        """Return its figure, None where it is absent and may be; raise `Unreadable`."""
        if self.is_optional and not [value for value in self.path.found(answer) if value is not None]:
            if self.path.tail is not None and [] in Path(self.path.written, self.path.head).found(answer):
                raise Unreadable(f"{self.path.written}: an empty list, expected entries")
            return None
        total = Decimal(0)
        for value in self.path.values(answer) if not self.is_optional else self._present(answer):
            try:
                total = EXACT.add(total, read_number(value, strip=strip))
            except Unreadable as error:
                raise Unreadable(f"{self.path.written}: {error}") from None
        return EXACT.minus(total) if self.is_negative else total

    def _present(self, answer: object) -> list[Any]:
        """Return what there is of an optional term; several values are a sum only with a `[*]`."""
        values = [value for value in self.path.found(answer) if value is not None]
        if self.path.tail is None and len(values) > 1:
            raise Unreadable(f"{self.path.written}: leads to {len(values)} values, expected one")
        return values


@lru_cache(maxsize=1024)
def parse_terms(written: str) -> tuple[Summand, ...]:
    """Return the terms of a balance such as `data.total - data.used`; raise `ValueError`."""
    return tuple(_term(text, is_negative=is_negative) for is_negative, text in _split(written))


def _term(text: str, *, is_negative: bool) -> Summand:
    if not text:
        raise ValueError("has an empty term; expected paths with + or - between them")
    is_optional = text.endswith("?")
    path = parse_path(text[:-1] if is_optional else text)
    return Summand(path, is_negative, is_optional)


def _split(written: str) -> Iterator[tuple[bool, str]]:
    """Yield the terms of an expression with their signs; what stands in quotes or brackets is no sign."""
    text = written.strip()
    is_negative = text.startswith("-")
    text = text[1:].lstrip() if is_negative else text
    depth, quote, begin, at = 0, "", 0, 0
    while at < len(text):
        character = text[at]
        if quote:
            at += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'\"" and depth:
            quote = character
        elif character in "[(":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif not depth and text[at : at + 3] in {" + ", " - "}:
            yield is_negative, text[begin:at].strip()
            is_negative, begin, at = text[at + 1] == "-", at + 3, at + 2
        at += 1
    yield is_negative, text[begin:].strip()


def read_sum(terms: Sequence[Summand], answer: object, *, strip: str) -> Decimal:
    """Return the sum of the terms; raise `Unreadable`, also when none of them is there."""
    figures = [figure for term in terms if (figure := term.read(answer, strip=strip)) is not None]
    if not figures:
        first = terms[0].path
        if len(terms) == 1:
            first.values(answer)  # says what is there instead
        named = ", ".join(term.path.written for term in terms)
        raise Unreadable(f"{named}: none of these is there: {_what_is_there(_root(answer), first.head)}")
    total = Decimal(0)
    for figure in figures:
        total = EXACT.add(total, figure)
    return total
