"""`/api/v1/…`: the rows that commands print with `--format json`, a thousand at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import durations, query
from monitor.config import Web
from monitor.config.fields import zone as parse_zone
from monitor.errors import UsageError
from monitor.model import DeliveryState
from monitor.rows.encode import encode, format_instant
from monitor.rows.recorded import Asked, Row, delivery_rows, history_rows, incident_rows, usage_row
from monitor.store.writer import Engine
from monitor.web.answer import plain, revalidated
from monitor.web.reader import Reader

ROWS: Final = 1000  # an answer
JSON: Final = "application/json"
LONGEST: Final = timedelta(days=3660)
SINCE: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of an answer, and what the next one is asked with; None: there is none."""

    body: bytes
    following: dict[str, str] | None


def page(rows: Iterable[Row], following: Callable[[Row], dict[str, str]]) -> Page:
    """Return the first rows, and the parameters that lead behind the last of them."""
    given = list(islice(rows, ROWS + 1))
    more = following(given[ROWS - 1]) if len(given) > ROWS else None
    return Page("".join(encode(given[:ROWS])).encode(), more)


def api_routes(reader: Reader, web: Web, *, clock: Callable[[], datetime]) -> list[Route]:
    """Return the routes."""
    api = _Api(reader, web, clock)
    one = "/api/v1/organizations/{name:path}"
    return [
        Route("/api/v1/status", api.status),
        Route(f"{one}/history", api.history),
        Route(f"{one}/usage", api.usage),
        Route("/api/v1/incidents", api.incidents),
        Route("/api/v1/deliveries", api.deliveries),
    ]


@dataclass(frozen=True, slots=True)
class _Api:
    reader: Reader
    web: Web
    clock: Callable[[], datetime]

    async def status(self, request: Request) -> Response:
        """Answer like `status`, without ages."""

        def make(engine: Engine) -> Page:
            skip = _number(request, "offset")
            rows = islice(self.reader.standing_now(engine, self.clock()).rows(with_ages=False), skip, None)
            return page(rows, lambda _: {"offset": str(skip + ROWS)})

        return await self._answer(request, make)

    async def history(self, request: Request) -> Response:
        """Answer like `history NAME`."""

        def make(engine: Engine) -> Page:
            every = _duration(request, "every")
            period = {name: _instant(request, name) for name in SINCE}
            if _is_empty(engine, request, period["since"], period["until"]):
                return page([], lambda _: {})
            asked = Asked(request.path_params["name"], period, every)
            skip = _number(request, "offset")

            def following(_row: Row) -> dict[str, str]:
                return {"offset": str(skip + ROWS)}

            return page(islice(history_rows(engine, asked), skip, None), following)

        return await self._answer(request, make)

    async def usage(self, request: Request) -> Response:
        """Answer like `usage NAME`."""

        def make(engine: Engine) -> Page:
            settings, skip = self.reader.settings, _number(request, "offset")
            question = query.UsageQuestion(
                by=_by(request),
                zone=_zone(request) or settings.timezone,
                price=lambda row: settings.price(row.account, row.provider),
                now=self.clock(),
                since=_instant(request, "since"),
                until=_instant(request, "until"),
            )
            if _is_empty(engine, request, question.since, question.until):
                return page([], lambda _: {})
            with query.usage(engine, question, request.path_params["name"]) as answer:
                rows = map(usage_row, islice(answer.rows, skip, None))
                return page(rows, lambda _: {"offset": str(skip + ROWS)})

        return await self._answer(request, make)

    async def incidents(self, request: Request) -> Response:
        """Answer like `incidents [NAME] [--open]`."""

        def make(engine: Engine) -> Page:
            skip = _number(request, "offset")
            wanted = _flag(request, "open")
            of = request.query_params.get("organization") or None
            rows = incident_rows(engine, open_only=wanted, organization=of, limit=ROWS + 1, skip=skip)
            return page(rows, lambda _: {"offset": str(skip + ROWS)})

        return await self._answer(request, make)

    async def deliveries(self, request: Request) -> Response:
        """Answer like `deliveries [NAME] [--state] [--since]`."""

        def make(engine: Engine) -> Page:
            asked = query.DeliveryQuestion(
                organization=request.query_params.get("organization") or None,
                state=_state(request),
                since=_instant(request, "since"),
                after=_number(request, "after"),
                limit=ROWS + 1,
            )
            return page(delivery_rows(engine, asked), lambda row: {"after": str(row["id"])})

        return await self._answer(request, make)

    async def _answer(self, request: Request, make: Callable[[Engine], Page]) -> Response:
        key = ("api", request.url.path, request.url.query)
        try:
            answer = await self.reader.kept(key, self.clock(), make)
        except UsageError as error:
            unknown = "no such organization" in str(error)
            return plain(404 if unknown else 400, str(error).splitlines()[0])
        if request.url.path == "/api/v1/status" and not self.reader.knows_all:
            return plain(503, "the first forecasts are being made; ask again", {"Retry-After": "2"})
        headers = {}
        if answer.following:
            asked = dict(request.query_params) | answer.following
            headers["Link"] = f'<{self.web.prefix}{request.url.path}?{urlencode(asked)}>; rel="next"'
        return revalidated(request, answer.body, JSON, headers)


# --- parameters -------------------------------------------------------------------------------------------------------


def _number(request: Request, name: str) -> int:
    written = request.query_params.get(name, "0")
    if not (written.isascii() and written.isdecimal() and len(written) <= 15):  # noqa: PLR2004 -- a database's integer
        raise UsageError(f"{name}: expected a number from 0 on")
    return int(written)


def _flag(request: Request, name: str) -> bool:
    written = request.query_params.get(name, "0")
    if written not in {"0", "1"}:
        raise UsageError(f"{name}: expected 0 or 1")
    return written == "1"


def _is_empty(engine: Engine, request: Request, since: datetime | None, until: datetime | None) -> bool:
    """Return whether nothing can lie in a period; `UsageError` for an unknown organization all the same."""
    query.find_organizations(engine, request.path_params["name"])
    return since is not None and until is not None and since >= until


def _duration(request: Request, name: str) -> timedelta | None:
    written = request.query_params.get(name)
    if written is None:
        return None
    try:
        return durations.parse(written, longest=LONGEST)
    except ValueError:
        raise UsageError(f"{name}: expected a length of time such as 90s, 5m, 1h30m or 7d") from None


def _instant(request: Request, name: str) -> datetime | None:
    written = request.query_params.get(name)
    if written is None:
        return None
    try:
        at = datetime.fromisoformat(written.replace(" ", "+"))
        return at.replace(tzinfo=parse_zone("UTC")) if at.tzinfo is None else at.astimezone(parse_zone("UTC"))
    except (ValueError, OverflowError):
        raise UsageError(f"{name}: expected an instant such as {format_instant(EXAMPLE)}") from None


EXAMPLE: Final = datetime(2026, 11, 27, tzinfo=parse_zone("UTC"))


def _by(request: Request) -> query.By:
    try:
        return query.By(request.query_params.get("by", "day"))
    except ValueError:
        raise UsageError("by: expected hour, day, week or month") from None


def _zone(request: Request) -> Any:
    written = request.query_params.get("tz")
    try:
        return None if written is None else parse_zone(written)
    except ValueError:
        raise UsageError("tz: expected a time zone such as Europe/Berlin") from None


def _state(request: Request) -> DeliveryState | None:
    written = request.query_params.get("state")
    try:
        return None if written is None else DeliveryState(written)
    except ValueError:
        raise UsageError(f"state: expected one of {', '.join(DeliveryState)}") from None
