"""Redaction: no secret that this process holds leaves it in foreign text.

A vendor, a proxy, a database or a service may repeat what it was sent, whole or in pieces, as it was or encoded.  Every
secret is remembered here when it is read, and `redact` is called where foreign text enters.  What is remembered is
never forgotten: a vendor may repeat the key of yesterday.
"""

import base64
import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from monitor.text import print_on_one_line

MARK: Final = "[redacted]"
PIECE: Final = 8  # so many letters and digits of a long secret in a row are too many
LONG: Final = 16  # characters of a secret that is looked for in pieces, too
_SHORTEST: Final = 4  # characters: a shorter secret would be found in any text
_HEAD: Final = 6  # letters and digits by which a secret is found; one with fewer is looked for as it stands
_LONGEST_INPUT: Final = 4000  # characters of a foreign text that are looked at before it is cut short
_KEY_SHAPED: Final = re.compile(r"sk-[\w*…-]{16,}|(?<![A-Za-z0-9])sk-[\w*…-]+", re.IGNORECASE)
_SIGNS: Final = re.compile(r"[\W_]+")
_ENCODED: Final = re.compile(
    r"(?:%[0-9a-f]{2})+|&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]+\d*);|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}", re.IGNORECASE
)


class Secrets:
    """Every secret that this process holds, in each form in which it may come back.

    A text and the secrets are compared without case, signs and spaces, so that a key in pieces with dashes is one; what
    is percent-encoded, or escaped as in HTML or JSON, is read first.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._whole: dict[str, set[str]] = {}  # by their first `_HEAD` letters
        self._pieces: set[str] = set()
        self._short: set[str] = set()

    def add(self, secret: str) -> None:
        """Remember a secret; one of under four characters is not looked for."""
        if secret in self._known or len(secret) < _SHORTEST:
            return
        self._known.add(secret)
        plain = _plain(secret)
        if len(plain) < _HEAD:
            self._short.add(secret.casefold())
        for form in {plain, plain[::-1], *_encodings(secret)}:
            if len(form) >= _HEAD:
                self._whole.setdefault(form[:_HEAD], set()).add(form)
        if len(secret) >= LONG:
            self._pieces |= {plain[at : at + PIECE] for at in range(len(plain) - PIECE + 1)}

    def redact(self, text: str) -> str:
        """Return a text without any of the secrets, and without anything like `sk-…`."""
        text = _KEY_SHAPED.sub(MARK, text)
        if not self._known or not text:
            return text
        return self._without(text) if _ENCODED.search(text) or self._may_hold(text) else text

    def _may_hold(self, text: str) -> bool:
        folded, plain = text.casefold(), _plain(text)
        heads = (plain[at : at + _HEAD] for at in range(len(plain) - _HEAD + 1))
        pieces = (plain[at : at + PIECE] for at in range(len(plain) - PIECE + 1))
        return (
            any(secret in folded for secret in self._short)
            or not self._whole.keys().isdisjoint(heads)
            or not self._pieces.isdisjoint(pieces)
        )

    def _without(self, text: str) -> str:
        shown: list[str] = []
        upto = 0
        for begin, end in sorted({*self._places(*_read(text)), *self._places(*_read(text, decoded=False))}):
            if begin > upto or not shown:
                shown += [text[upto:begin], MARK]
            upto = max(upto, end)
        return "".join([*shown, text[upto:]])

    def _places(self, letters: list[str], places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Yield where in a text something secret is written."""
        kept = [at for at, letter in enumerate(letters) if letter.isalnum()]
        for begin, end in self._spans("".join(letters[at] for at in kept)):
            yield places[kept[begin]][0], places[kept[end - 1]][1]
        folded = "".join(letters)
        for secret in self._short:
            for found in re.finditer(re.escape(secret), folded):
                yield places[found.start()][0], places[found.end() - 1][1]

    def _spans(self, plain: str) -> Iterator[tuple[int, int]]:
        """Yield where secrets and pieces of them stand in a text of letters and digits alone."""
        for at in range(len(plain) - _HEAD + 1):
            for form in self._whole.get(plain[at : at + _HEAD], ()):
                if plain.startswith(form, at):
                    yield at, at + len(form)
            if plain[at : at + PIECE] in self._pieces:
                yield at, at + PIECE


def _plain(text: str) -> str:
    """Return the letters and digits of a text, without case."""
    return _SIGNS.sub("", text.casefold())


def _encodings(secret: str) -> Iterator[str]:
    """Yield what a secret becomes in hexadecimal digits and in base64, which depends on what stands before it."""
    raw = secret.encode("utf-8", "surrogatepass")
    yield raw.hex()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        whole = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]  # without what neighbours change
        yield _plain(whole)  # base64url differs in signs alone


def _read(text: str, *, decoded: bool = True) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the characters of a text, or those it stands for, without case, and where each is written (begin, end)."""
    letters: list[str] = []
    places: list[tuple[int, int]] = []

    def put(characters: str, begin: int, end: int) -> None:
        for letter in characters.casefold():
            letters.append(letter)
            places.append((begin, end))

    upto = 0
    for found in _ENCODED.finditer(text) if decoded else ():
        for at in range(upto, found.start()):
            put(text[at], at, at + 1)
        upto = found.end()
        if found[0].startswith("%"):
            at = found.start()
            for character in unquote(found[0], errors="surrogateescape"):
                length = 3 * len(character.encode("utf-8", "surrogateescape"))
                put(character, at, at + length)
                at += length
        else:
            escaped = found[0][0] == "\\"
            put(
                chr(int(found[0].lstrip("\\ux"), 16)) if escaped else html.unescape(found[0]),
                found.start(),
                found.end(),
            )
    for at in range(upto, len(text)):
        put(text[at], at, at + 1)
    return letters, places


# --- what of a URL is secret ------------------------------------------------------------------------------------------

_SECRET_NAMES: Final = re.compile(r"pass|pw|secret|token|key|auth|sig|code|cred", re.IGNORECASE)
_WEB_HOOKS: Final = re.compile(r"(?:json|xml|form|https?)s?:", re.IGNORECASE)  # any part of their path may be a secret
_DATABASE: Final = re.compile(r"(?:postgres|sqlite)", re.IGNORECASE)  # their paths are names
_TOKEN: Final = 8  # characters of a part of a path or a query that may be one
_LONG_TOKEN: Final = 16  # … of what stands for a user or a host: those have names with digits, too


def parts_of(url: str) -> Iterator[str]:
    """Yield what of a URL is secret: its password, and what in its path and query may be a token.

    Never its scheme, host, port, user or mailboxes, which people must see; where no host can be, a token stands there.
    """
    if _DATABASE.match(url):
        yield from _parts_of_database(url)
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        yield url
        return
    login, _, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if password:
        yield from {password, unquote(password)}
    yield from (unquote(part) for part in (user, *_beside_host(place)) if _is_token(part, _LONG_TOKEN))
    is_hook = bool(_WEB_HOOKS.match(url))
    for part in parts.path.split("/"):
        segment = unquote(part)
        if _is_token(segment) or (is_hook and len(segment) >= _TOKEN and "@" not in segment):
            yield from {part, segment}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        is_header = name[:1] in "+-:"
        if is_header or _SECRET_NAMES.search(name) or _is_token(value):
            yield value


def _parts_of_database(url: str) -> Iterator[str]:
    """Yield the passwords of a database's URL, whose path is a name; a driver takes one with "/" or "?" in it, too."""
    login, _, place = url.partition("://")[2].rpartition("@")
    password = login.partition(":")[2]
    yield from filter(None, {password, unquote(password)})
    for name, value in parse_qsl(place.partition("?")[2]):
        if _SECRET_NAMES.search(name):
            yield value


def _beside_host(place: str) -> Iterator[str]:
    """Yield what stands where a host and a port would, when it is none."""
    host, _, port = place.partition(":")
    if "." not in host and "[" not in host:
        yield from (host, port)


def _is_token(part: str, shortest: int = _TOKEN) -> bool:
    """Whether a part of a URL looks like a key and not like a name, a room, a phone or a mailbox."""
    part = unquote(part)
    if len(part) < shortest or "@" in part or part[0] in "#!+" or part.isdecimal():
        return False
    return any(c.isdigit() for c in part) and any(c.isalpha() for c in part)


# --- of this process --------------------------------------------------------------------------------------------------

SECRETS: Final = Secrets()


def remember(secret: str) -> None:
    """Let a secret be redacted from now on; of a URL its secret parts."""
    if "://" not in secret:
        SECRETS.add(secret)
        return
    for part in parts_of(secret):
        SECRETS.add(part)


def redact(text: str) -> str:
    """Return foreign text without any secret that this process holds, and without anything like `sk-…`."""
    return SECRETS.redact(text)


def sanitize(text: str, *, limit: int = 200) -> str:
    """Return a foreign text as one short printable line without secrets."""
    line = redact(print_on_one_line(text[:_LONGEST_INPUT]))
    return line if len(line) <= limit else line[: limit - 1] + "…"
