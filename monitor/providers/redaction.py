"""Takes secrets out of text that others wrote, and makes the rest fit to show.

Refuses to decide what may be shown at all: callers pass only what people need.
"""

import re
from urllib.parse import quote

_MARK = "[redacted]"
_KEY_SHAPED = re.compile(r"sk-[\w*…-]{16,}|(?<![A-Za-z0-9])sk-[\w*…-]+", re.IGNORECASE)
_PIECE = 8  # so many characters of a secret in a row are too many
_SENDABLE = re.compile(r"[!-~]{1,200}")
_CONSIDERED = 4000  # characters of a foreign text that are looked at before it is cut short


def redact(text: str, *secrets: str) -> str:
    """The text without the secrets (also URL-encoded, in any case, or in pieces) and without anything shaped `sk-…`."""
    for secret in filter(None, secrets):
        for form in {secret, quote(secret, safe=""), quote(secret)}:
            text = re.sub(re.escape(form), _MARK, text, flags=re.IGNORECASE)
    text = _KEY_SHAPED.sub(_MARK, text)
    for secret in secrets:
        text = _without_pieces(text, secret)
    return text


def _without_pieces(text: str, secret: str) -> str:
    pieces = {secret[i : i + _PIECE] for i in range(len(secret) - _PIECE + 1)}
    kept: list[str] = []
    at = 0
    while at < len(text):
        length = _piece_length(text, at, pieces)
        kept.append(_MARK if length else text[at])
        at += length or 1
    return "".join(kept)


def _piece_length(text: str, begin: int, pieces: set[str]) -> int:
    """How many characters from `begin` on repeat the secret."""
    end = begin
    while text[end : end + _PIECE] in pieces:
        end += 1
    return end - begin + _PIECE - 1 if end > begin else 0


def is_sendable(vendor_id: str) -> bool:
    """Whether an id fits into a header, and cannot become two."""
    return _SENDABLE.fullmatch(vendor_id) is not None


def quotable(text: str, *secrets: str, limit: int = 200) -> str:
    """A foreign text as one short printable line without secrets."""
    printable = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text[:_CONSIDERED])
    line = redact(" ".join(printable.split()), *secrets)
    return line if len(line) <= limit else line[: limit - 1] + "…"
