"""Looks for secrets in anything, whole and in parts, plain and encoded."""

import base64
from collections.abc import Iterable, Iterator

PIECE = 8  # so many characters in a row are a leak


class Hunt:
    """Knows secrets, and finds any piece of them in bytes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = {form: name for secret in secrets for name, form in _forms(secret.encode())}
        self._heads = {form[:PIECE] for form in self._forms}

    def found_in(self, content: bytes | str) -> set[str]:
        """The pieces found, by how they are written; letters in any case."""
        raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        folded = raw.lower()
        wide = folded.replace(b"\0", b"")  # UTF-16
        texts = [text for text in dict.fromkeys((folded, wide)) if self._may_hold(text)]
        return {f"{name} {form!r}" for form, name in self._forms.items() if any(form in text for text in texts)}

    def _may_hold(self, text: bytes) -> bool:
        """Whether the beginning of any form is in it: one pass, where there are thousands of forms."""
        return any(text[at : at + PIECE] in self._heads for at in range(len(text) - PIECE + 1))


def _forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    for piece in _pieces(secret, PIECE):
        yield "plain", piece.lower()
        yield "hex", piece.hex().encode()
        yield "percent", "".join(f"%{byte:02x}" for byte in piece).encode()
        yield "reversed", piece[::-1].lower()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + secret)
        yield from (("base64", piece.lower()) for piece in _pieces(whole[4:-4], PIECE * 2))


def _pieces(text: bytes, length: int) -> Iterator[bytes]:
    return (text[at : at + length] for at in range(len(text) - length + 1))
