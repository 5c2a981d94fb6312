"""The pages: HTML that works without scripts, each with an ETag."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import query
from monitor.config import Web
from monitor.model import DeliveryState
from monitor.rows.status import Standing
from monitor.store.writer import Engine
from monitor.web import organization, overview
from monitor.web.answer import FOR_EVER, plain, revalidated
from monitor.web.reader import Reader
from monitor.web.templating import Words, assets, render

HTML: Final = "text/html; charset=utf-8"
SHOWN: Final = 200  # incidents or deliveries on a page
LEAST_PAUSE: Final = timedelta(seconds=10)  # between two refreshes of a page


def site_routes(reader: Reader, web: Web, *, clock: Callable[[], datetime]) -> list[Route]:
    """Return the routes."""
    site = _Site(reader, web, clock)
    return [
        Route("/", site.overview),
        Route("/incidents", site.incidents),
        Route("/deliveries", site.deliveries),
        Route("/channels", site.channels),
        Route("/static/{name}", site.static),
        Route("/organizations/{name:path}", site.organization),
    ]


@dataclass(frozen=True, slots=True)
class _Site:
    reader: Reader
    web: Web
    clock: Callable[[], datetime]
    figures: overview.Figures = field(default_factory=overview.Figures)

    async def overview(self, request: Request) -> Response:
        """Answer with all organizations."""
        view = overview.View.of(request.query_params)
        template = "wall.html" if view.wall else "overview.html"

        def make(engine: Engine, standing: Standing) -> dict[str, Any]:
            return overview.overview(engine, standing, view, self.figures)

        return await self._page(request, template, make)

    async def organization(self, request: Request) -> Response:
        """Answer with one organization."""
        view = organization.View.of(request.query_params, self.reader.settings)

        def make(engine: Engine, standing: Standing) -> dict[str, Any] | None:
            return organization.organization(engine, standing, request.path_params["name"], view)

        return await self._page(request, "organization.html", make)

    async def incidents(self, request: Request) -> Response:
        """Answer with the newest incidents."""
        before, only_open = _number(request.query_params.get("skip")), "open" in request.query_params

        def make(engine: Engine, standing: Standing) -> dict[str, Any]:
            rows = query.incidents(engine, open_only=only_open, limit=before + SHOWN + 1)
            newest = rows[::-1][before:]
            return {
                "incidents": newest[:SHOWN],
                "next": before + SHOWN if len(newest) > SHOWN else None,
                "only_open": only_open,
                "first_lines": standing.first_lines(),
            }

        return await self._page(request, "incidents.html", make)

    async def deliveries(self, request: Request) -> Response:
        """Answer with the newest deliveries."""
        given = request.query_params.get("state", "")
        state = DeliveryState(given) if given in set(DeliveryState) else None
        before = _number(request.query_params.get("before")) or None

        def make(engine: Engine, standing: Standing) -> dict[str, Any]:
            asked = query.DeliveryQuestion(state=state, before=before, limit=SHOWN + 1)
            newest = query.deliveries(engine, asked)[::-1]
            return {
                "deliveries": newest[:SHOWN],
                "next": newest[SHOWN - 1].id if len(newest) > SHOWN else None,
                "state": state,
                "states": list(DeliveryState),
                "first_lines": standing.first_lines(),
            }

        return await self._page(request, "deliveries.html", make)

    async def channels(self, request: Request) -> Response:
        """Answer with every channel, what waits there and what does not work."""

        def make(_engine: Engine, standing: Standing) -> dict[str, Any]:
            queues = {queue.channel: queue for queue in standing.queues}
            down = {channel["channel"]: channel for channel in standing.down}
            settings = standing.settings
            return {
                "channels": [
                    {"name": name, "settings": channel, "queue": queues.get(name), "down": down.get(name)}
                    for name, channel in settings.channels.items()
                ],
                "lines": list(standing.lines()),
                "first_lines": standing.first_lines(),
            }

        return await self._page(request, "channels.html", make)

    async def static(self, request: Request) -> Response:
        """Answer with a file, which a browser may keep for ever."""
        asset = next((each for each in assets().values() if each.name == request.path_params["name"]), None)
        if asset is None:
            return plain(404, "there is no such file in this version")
        return Response(asset.body, headers={"Cache-Control": FOR_EVER, "Content-Type": asset.kind})

    async def _page(
        self, request: Request, template: str, make: Callable[[Engine, Standing], Mapping[str, Any] | None]
    ) -> Response:
        now = self.clock()
        words = Words(self.reader.settings.timezone, self.web.prefix, now)
        every = max(self.reader.settings.poll.every, LEAST_PAUSE)

        def page(engine: Engine) -> bytes | None:
            standing = self.reader.standing_now(engine, now)
            context = make(engine, standing)
            if context is None:
                return None
            common = {"path": request.url.path, "every": int(every.total_seconds()), "worst": _worst(standing)}
            return render(template, words, **common, **context)

        body = await self.reader.kept(("page", request.url.path, request.url.query, self.figures.known), now, page)
        if body is None:
            return plain(404, "there is no such organization")
        return revalidated(request, body, HTML)


def _worst(standing: Standing) -> str:
    """Return the worst state there is, for the icon and the title."""
    states = {row.state for row in standing.organizations}
    return next((state for state in ("critical", "warning", "unknown") if state in states), "ok")


def _number(written: str | None) -> int:
    return int(written) if written and written.isascii() and written.isdecimal() and len(written) <= 9 else 0  # noqa: PLR2004
