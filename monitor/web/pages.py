"""Everything that is answered: health, readiness and metrics here, the pages in `site`, JSON in `api`.

/healthz and /readyz name only the kind of a problem; its details are in the log.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from monitor import durations
from monitor.config import Web
from monitor.counters import Counters
from monitor.errors import DatabaseError, SchemaOutdated
from monitor.web.answer import plain
from monitor.web.api import api_routes
from monitor.web.guard import Guard
from monitor.web.metrics import Scrape, render
from monitor.web.reader import Reader
from monitor.web.site import site_routes

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
    unready: Callable[[], list[str]] = list,
) -> ASGIApp:
    """Return the application with all pages, behind its guard."""
    pages = _Pages(reader, counters, clock=clock, leading=leading, hanging=hanging, unready=unready)
    routes = [
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/metrics", pages.metrics),
        *api_routes(reader, web, clock=clock),
        *site_routes(reader, web, clock=clock),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_found, DatabaseError: _no_database})
    app.router.redirect_slashes = False
    return Guard(app, web, token=token, clock=clock)


class _Pages:
    """The pages and what they share."""

    def __init__(
        self,
        reader: Reader,
        counters: Counters,
        *,
        clock: Callable[[], datetime],
        leading: Callable[[], bool],
        hanging: Callable[[], str | None],
        unready: Callable[[], list[str]],
    ) -> None:
        self._reader = reader
        self._counters = counters
        self._clock = clock
        self._leading = leading
        self._hanging = hanging
        self._unready = unready
        self._logged: str | None = None  # the problem of the database that was logged last

    async def healthz(self, _request: Request) -> Response:
        """Answer 200 unless a part of the process hangs; that the event loop turns is proven by any answer."""
        part = self._hanging()
        return _verdict([f"{part} hangs"] if part else [])

    async def readyz(self, _request: Request) -> Response:
        """Answer 200 when the database can be read and written, has our schema, and accounts are polled."""
        try:
            polled = await self._reader.polled()
        except SchemaOutdated as error:
            self._log_once(error)
            return _verdict(["database: its schema is not the one of this version"])
        except DatabaseError as error:
            self._log_once(error)
            return _verdict(["database: it cannot be read"])
        self._logged = None
        return _verdict([*self._unready(), *late_polls(polled, self._limits(), now=self._clock())])

    def _limits(self) -> dict[str, timedelta]:
        """Return within what time each account has to have completed a poll."""
        settings = self._reader.settings
        return {name: 3 * account.every + settings.poll.deadline for name, account in settings.accounts.items()}

    async def metrics(self, request: Request) -> Response:
        """Answer with the metrics; those of the database are left out while it cannot be read."""
        try:
            figures = await self._reader.figures()
            self._logged = None
        except DatabaseError as error:
            self._log_once(error)
            figures = None
        scrape = Scrape(self._reader.settings, self._counters.copy(), figures, self._leading(), self._clock())
        body, kind = await asyncio.to_thread(render, scrape, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind, "Vary": "Accept"})

    def _log_once(self, error: DatabaseError) -> None:
        """Log a problem once, not at each request that meets it."""
        if str(error) != self._logged:
            log.warning("not ready: %s", error)
        self._logged = str(error)


def _verdict(reasons: list[str]) -> Response:
    return PlainTextResponse("".join(f"{reason}\n" for reason in reasons or ["ok"]), 503 if reasons else 200)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return plain(404, "there is /, /api/v1/status, /healthz, /readyz and /metrics")


async def _no_database(request: Request, error: Exception) -> Response:
    log.warning("%s could not be answered: %s", request.url.path, error)
    return plain(503, "the database cannot be read; the log of the daemon says why", {"Retry-After": "10"})


# --- readiness --------------------------------------------------------------------------------------------------------


def late_polls(polled: Mapping[str, datetime | None], limits: Mapping[str, timedelta], *, now: datetime) -> list[str]:
    """Return a reason when accounts had no completed poll for longer than three intervals and a deadline, else none."""
    late = [name for name, at in polled.items() if name in limits and (at is None or now - at > limits[name])]
    if not late:
        return []
    within = durations.write(max(limits[name] for name in late))
    return [f"polls: {len(late)} of {len(polled)} account(s) without a completed poll within {within}"]
