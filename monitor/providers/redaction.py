"""Redaction of secrets in foreign text, and sanitizing of what is shown of it."""

import re
from urllib.parse import quote

from monitor.text import print_on_one_line

_MARK = "[redacted]"
_KEY_SHAPED = re.compile(r"sk-[\w*…-]{16,}|(?<![A-Za-z0-9])sk-[\w*…-]+", re.IGNORECASE)
_FRAGMENT = 8  # so many characters of a secret in a row are too many
_LONGEST_INPUT = 4000  # characters of a foreign text that are looked at before it is cut short


def redact(text: str, *secrets: str) -> str:
    """Return the text without the secrets (URL-encoded, in any case, in fragments) and without anything like `sk-…`."""
    for secret in filter(None, secrets):
        for form in {secret, quote(secret, safe=""), quote(secret)}:
            text = re.sub(re.escape(form), _MARK, text, flags=re.IGNORECASE)
    text = _KEY_SHAPED.sub(_MARK, text)
    for secret in secrets:
        text = _redact_fragments(text, secret)
    return text


def _redact_fragments(text: str, secret: str) -> str:
    fragments = {secret[i : i + _FRAGMENT] for i in range(len(secret) - _FRAGMENT + 1)}
    kept: list[str] = []
    at = 0
    while at < len(text):
        length = _fragment_length(text, at, fragments)
        kept.append(_MARK if length else text[at])
        at += length or 1
    return "".join(kept)


def _fragment_length(text: str, begin: int, fragments: set[str]) -> int:
    """Return how many characters from `begin` on repeat the secret."""
    end = begin
    while text[end : end + _FRAGMENT] in fragments:
        end += 1
    return end - begin + _FRAGMENT - 1 if end > begin else 0


def sanitize(text: str, *secrets: str, limit: int = 200) -> str:
    """Return a foreign text as one short printable line without secrets."""
    line = redact(print_on_one_line(text[:_LONGEST_INPUT]), *secrets)
    return line if len(line) <= limit else line[: limit - 1] + "…"
