"""What every request passes: known host, GET or HEAD, no body; and every answer: strict headers, no stack trace."""

import ipaddress
import logging
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.config import Web
from monitor.web.access import Access
from monitor.web.answer import plain

METHODS: Final = ("GET", "HEAD")
STRICT: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}
_BODY: Final = "bad request\n"
BAD_REQUEST: Final = "".join(  # the answer to what is no HTTP, as bytes
    [
        f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(_BODY)}\r\n",
        *(f"{name}: {value}\r\n" for name, value in STRICT.items()),
        f"\r\n{_BODY}",
    ]
).encode()

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware that rejects requests which must not reach the app, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, web: Web, *, token: str | None, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._web = web
        self._access = Access(web, token)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                kept = {"Cache-Control": headers.get("cache-control", STRICT["Cache-Control"])}
                headers.update(STRICT | kept | {"Date": format_datetime(self._clock(), usegmt=True)})
            await send(message)

        scope = self._without_prefix(scope)
        try:
            await (self._rejection(scope) or self._app)(scope, receive, send_with_headers)
        except Exception:
            log.exception("%s could not be answered", scope["path"])
            if not started:
                await plain(500, "this is a fault of the program; its log says more")(scope, receive, send_with_headers)

    def _rejection(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not is_ours(headers.get("host", ""), self._web):
            return plain(421, "this is not the host that was asked for; web.hosts names those that are")
        if scope["method"] not in METHODS:
            return plain(405, "only GET and HEAD are answered", {"Allow": ", ".join(METHODS)})
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return plain(413, "no request here has a body")
        return self._access.refusal(scope, scope["path"])

    def _without_prefix(self, scope: Scope) -> Scope:
        """Return the request without the path of `public_url`, for a proxy may leave it or take it away."""
        prefix, path = self._web.prefix, scope["path"]
        if not prefix or not (path == prefix or path.startswith(f"{prefix}/")):
            return scope
        # Starlette wants the root path in front of the path; ours is in every link instead.
        return dict(scope) | {"path": path.removeprefix(prefix) or "/", "raw_path": b"", "root_path": ""}


def is_ours(host: str, web: Web) -> bool:
    """Return whether a Host header names this server: against DNS rebinding, whose requests name another host."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    if name in web.names:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # DNS rebinding needs a name: whoever sends an address has typed it.
    return address.is_loopback or not web.is_loopback
