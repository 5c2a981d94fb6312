"""Read what the pages show, in a thread of its own, through an engine that cannot write.

An answer is waited for no longer than `ANSWER_TIMEOUT`, and requests that ask the same at the same time share it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from monitor import query
from monitor.config import Settings
from monitor.errors import DatabaseError
from monitor.model import Runway, Unknown
from monitor.proration import EPOCH
from monitor.query import AccountIncident, Backlog, OrganizationStatus
from monitor.rows.status import Standing, read_standing
from monitor.store import engines, migrate
from monitor.store.writer import Engine

ANSWER_TIMEOUT: Final = 8.0  # seconds; Prometheus gives up after ten
FORECAST_TIME: Final = 1.0  # seconds of one answer for new forecasts: each takes milliseconds of the daemon's
FIRST_FORECASTS: Final = 3.0  # seconds of one page for them: less than `ANSWER_TIMEOUT`, and only after a start
AT_ONCE: Final = 20  # organizations in one query
MOST_KEPT: Final = 24  # answers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figures:
    """The present state in the database."""

    schema: str | None
    organizations: list[OrganizationStatus]  # those that are watched
    runways: dict[int, float]  # hours, by organization; infinite when nothing is used, left out while unknown
    accounts: list[AccountIncident]
    polled: dict[str, datetime | None]  # account -> when its last completed poll began
    backlogs: list[Backlog]


class Reader:
    """The queries of the pages; each answers within `ANSWER_TIMEOUT` or with `DatabaseError`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._engine = engines.open_reader(settings.database.url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="web")
        self._pending: dict[Hashable, asyncio.Future[Any]] = {}
        # By organization, with the instant of the snapshot they start from.
        self._runways: dict[int, tuple[datetime, Runway | Unknown | None]] = {}
        self.knows_all = True  # every forecast was made since the start
        self._kept: OrderedDict[Hashable, tuple[tuple[str, int], Any]] = OrderedDict()

    async def figures(self) -> Figures:
        """Return the present state."""
        return await self._ask(self._figures)

    async def polled(self) -> dict[str, datetime | None]:
        """Return when the last completed poll of each configured account began; `SchemaOutdated` for another schema."""
        return await self._ask(self._polled)

    async def kept(self, key: Hashable, at: datetime, make: Callable[[Engine], T]) -> T:
        """Return what `make` makes of the database, made anew when something was written or a minute is over.

        Requests that ask the same at the same time share it.  `SchemaOutdated` for another schema.
        """
        return await self._ask(partial(self._made, key, at, make), key=key)

    def standing_now(self, engine: Engine, at: datetime) -> Standing:
        """Return the same, in the reader's thread."""
        return self._made(
            "standing", at, lambda _: read_standing(engine, self.settings, at=at, runways=self._forecasts)
        )

    def close(self) -> None:
        """Close the engine; a query under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def _ask(self, question: Callable[[], T], *, key: Hashable = None) -> T:
        """Return the answer of a query, shared by all requests that ask meanwhile."""
        key = key or question
        future = self._pending.get(key)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._thread, question)
            self._pending[key] = future
            future.add_done_callback(lambda done: self._forget(key, done))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await asyncio.shield(future)
        except TimeoutError:
            raise DatabaseError(
                f"{self.settings.database.shown_url}: no answer within {ANSWER_TIMEOUT:.0f} s"
            ) from None

    def _forget(self, key: Hashable, done: asyncio.Future[T]) -> None:
        del self._pending[key]
        if not done.cancelled():
            done.exception()  # retrieved: whoever still waited got it

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _made(self, key: Hashable, at: datetime, make: Callable[[Engine], T]) -> T:
        migrate.require_current(self._engine)
        mark = query.newest_write(self._engine), int(at.timestamp() // 60)
        known = self._kept.get(key)
        if known and known[0] == mark:
            self._kept.move_to_end(key)
            return known[1]  # type: ignore[no-any-return]
        made = make(self._engine)
        if not self.knows_all:
            return made  # forecasts are missing: the next one has more
        self._kept[key] = mark, made
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return made

    def _figures(self) -> Figures:
        organizations = query.status(self._engine)
        return Figures(
            schema=migrate.current(self._engine),
            organizations=organizations,
            runways=self._runways_of(organizations),
            accounts=query.account_incidents(self._engine),
            polled=self._of_configured(query.last_polls(self._engine)),
            backlogs=query.outbox(self._engine),
        )

    def _polled(self) -> dict[str, datetime | None]:
        migrate.require_current(self._engine)
        return self._of_configured(query.last_polls(self._engine))

    def _of_configured(self, polled: dict[str, datetime | None]) -> dict[str, datetime | None]:
        return {name: polled.get(name) for name in self.settings.accounts}

    def _forecasts(self, organizations: list[OrganizationStatus]) -> dict[int, Runway | Unknown]:
        """Return the forecasts; of thousands that were never made, those for which there was time."""
        self._forecast(organizations, until=time.monotonic() + FIRST_FORECASTS)
        return {id_: runway for id_, (_, runway) in self._runways.items() if runway is not None}

    def _runways_of(self, organizations: list[OrganizationStatus]) -> dict[int, float]:
        """Return the likely hours; those that are the most outdated are forecast again, for `FORECAST_TIME`."""
        self._forecast(organizations, until=time.monotonic() + FORECAST_TIME)
        return {id_: runway.likely for id_, (_, runway) in self._runways.items() if isinstance(runway, Runway)}

    def _forecast(self, organizations: list[OrganizationStatus], *, until: float) -> None:
        taken = {row.id: row.taken_at for row in organizations if row.taken_at}
        self._runways = {id_: known for id_, known in self._runways.items() if id_ in taken}
        known_at = {id_: at for id_, (at, _) in self._runways.items()}
        outdated = [id_ for id_, at in taken.items() if known_at.get(id_) != at]
        outdated.sort(key=lambda id_: known_at.get(id_, EPOCH))
        self.knows_all = True
        for begin in range(0, len(outdated), AT_ONCE):
            ids = outdated[begin : begin + AT_ONCE]
            runways = query.runways(self._engine, ids)
            self._runways |= {id_: (taken[id_], runways.get(id_)) for id_ in ids}
            if time.monotonic() > until:
                self.knows_all = begin + AT_ONCE >= len(outdated)
                break
