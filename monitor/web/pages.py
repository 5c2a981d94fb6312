"""The pages: /healthz, /readyz and /metrics, each made anew for every request.

Refuses to tell figures without the token, and to tell everybody more of a trouble than its kind; the log says more.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from monitor import durations
from monitor.config import Poll, Web
from monitor.counters import Counters
from monitor.errors import DatabaseError, SchemaOutdated
from monitor.web.guard import Guard, plain
from monitor.web.metrics import Scrape, render
from monitor.web.reader import Reader

log = logging.getLogger(__name__)


def open_app(
    web: Web,
    reader: Reader,
    counters: Counters,
    *,
    token: str | None,
    clock: Callable[[], datetime],
    leading: Callable[[], bool],
    hanging: Callable[[], str | None],
) -> ASGIApp:
    """Everything behind its guard, ready to be served."""
    pages = _Pages(reader, counters, token=token, clock=clock, leading=leading, hanging=hanging)
    routes = [
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/metrics", pages.metrics),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unknown})
    app.router.redirect_slashes = False
    return Guard(app, web, clock=clock)


class _Pages:
    """What the pages have in common."""

    def __init__(
        self,
        reader: Reader,
        counters: Counters,
        *,
        token: str | None,
        clock: Callable[[], datetime],
        leading: Callable[[], bool],
        hanging: Callable[[], str | None],
    ) -> None:
        self._reader = reader
        self._counters = counters
        self._token = token
        self._clock = clock
        self._leading = leading
        self._hanging = hanging
        self._trouble: str | None = None  # of the database, as it was logged

    async def healthz(self, _request: Request) -> Response:
        """Alive: this answer came through the event loop, and no part hangs."""
        part = self._hanging()
        return _verdict([f"{part} hangs"] if part else [])

    async def readyz(self, _request: Request) -> Response:
        """Ready: the database can be read, has our schema, and somebody polls."""
        try:
            polled = await self._reader.polled()
        except SchemaOutdated as error:
            self._complain(error)
            return _verdict(["database: its schema is not the one of this version"])
        except DatabaseError as error:
            self._complain(error)
            return _verdict(["database: it cannot be read"])
        self._trouble = None
        return _verdict(late_polls(polled, self._reader.settings.poll, now=self._clock()))

    async def metrics(self, request: Request) -> Response:
        """The figures; those of the database are left out while it cannot be read."""
        if not self._is_allowed(request.headers.get("authorization", "")):
            return plain(401, "the token of web.token_file is needed", {"WWW-Authenticate": "Bearer"})
        try:
            figures = await self._reader.figures()
            self._trouble = None
        except DatabaseError as error:
            self._complain(error)
            figures = None
        scrape = Scrape(self._reader.settings, self._counters.copy(), figures, self._leading(), self._clock())
        body, kind = await asyncio.to_thread(render, scrape, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind, "Vary": "Accept"})

    def _is_allowed(self, authorization: str) -> bool:
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())

    def _complain(self, error: DatabaseError) -> None:
        """A line for each trouble, not for each request that meets it."""
        if str(error) != self._trouble:
            log.warning("not ready: %s", error)
        self._trouble = str(error)


def _verdict(reasons: list[str]) -> Response:
    return PlainTextResponse("".join(f"{one}\n" for one in reasons or ["ok"]), 503 if reasons else 200)


async def _unknown(_request: Request, _error: Exception) -> Response:
    return plain(404, "there is /healthz, /readyz and /metrics")


# --- readiness --------------------------------------------------------------------------------------------------------


def late_polls(polled: Mapping[str, datetime | None], poll: Poll, *, now: datetime) -> list[str]:
    """The accounts without a completed poll for longer than three intervals and a deadline, counted."""
    limit = 3 * poll.every + poll.deadline
    late = [at for at in polled.values() if at is None or now - at > limit]
    if not late:
        return []
    return [f"polls: {len(late)} of {len(polled)} account(s) without a completed poll within {durations.write(limit)}"]
