"""Answers: one line of text, and what a browser may keep until the data changes."""

import hashlib
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

REVALIDATE: Final = "private, no-cache"
FOR_EVER: Final = "private, max-age=31536000, immutable"  # its name changes with it


def plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """Return an answer of one line."""
    return PlainTextResponse(f"{text}\n", status, headers)


def revalidated(request: Request, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with an ETag of its content, or 304 where the reader has it already."""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    more = {"ETag": etag, "Cache-Control": REVALIDATE, "Vary": "Authorization"} | dict(headers or {})
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=more)
    return Response(body, headers=more, media_type=kind)
