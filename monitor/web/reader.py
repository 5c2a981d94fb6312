"""Reads what the pages tell, in a thread of its own, through an engine that cannot write.

Refuses to wait for a database that does not answer, and to ask it the same question twice at the same time.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from monitor import query
from monitor.config import Settings
from monitor.errors import DatabaseError
from monitor.query import AccountIncident, Backlog, OrganizationStatus
from monitor.store import engines, migrate

PATIENCE: Final = 8.0  # seconds; Prometheus gives up after ten
FORECAST_TIME: Final = 1.0  # seconds of one answer that go into new forecasts: each costs milliseconds of the daemon's
AT_ONCE: Final = 20  # organizations in one question
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figures:
    """How everything stands in the database now."""

    schema: str | None
    organizations: list[OrganizationStatus]  # those watched
    runways: dict[int, float]  # hours, by organization; infinite when nothing is used, left out while unknown
    accounts: list[AccountIncident]
    polled: dict[str, datetime | None]  # account -> when its last completed poll began
    backlogs: list[Backlog]


class Reader:
    """The questions that the pages ask of the database; each answers within `PATIENCE` or with `DatabaseError`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._engine = engines.open_reader(settings.database.url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="web")
        self._under_way: dict[Callable[[], Any], asyncio.Future[Any]] = {}
        self._runways: dict[int, tuple[datetime, float | None]] = {}  # with the snapshot they start from

    async def figures(self) -> Figures:
        """How everything stands."""
        return await self._ask(self._figures)

    async def polled(self) -> dict[str, datetime | None]:
        """When the last completed poll of each configured account began; `SchemaOutdated` for another schema."""
        return await self._ask(self._polled)

    def close(self) -> None:
        """Let go of the database; a question that it has not answered is left to itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def _ask(self, question: Callable[[], T]) -> T:
        """The answer, shared by all who ask meanwhile."""
        asked = self._under_way.get(question)
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(self._thread, question)
            self._under_way[question] = asked
            asked.add_done_callback(lambda done: self._answered(question, done))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(asked)
        except TimeoutError:
            raise DatabaseError(f"{self.settings.database.shown_url}: no answer within {PATIENCE:.0f} s") from None

    def _answered(self, question: Callable[[], T], done: asyncio.Future[T]) -> None:
        del self._under_way[question]
        if not done.cancelled():
            done.exception()  # it was told to whoever still waited

    # --- in the thread ------------------------------------------------------------------------------------------------

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

    def _runways_of(self, organizations: list[OrganizationStatus]) -> dict[int, float]:
        """Forecasts, of which those are made anew that are the furthest behind, for so long as there is time."""
        taken = {one.id: one.taken_at for one in organizations if one.taken_at}
        self._runways = {id_: known for id_, known in self._runways.items() if id_ in taken}
        known_at = {id_: at for id_, (at, _) in self._runways.items()}
        behind = [id_ for id_, at in taken.items() if known_at.get(id_) != at]
        behind.sort(key=lambda id_: known_at.get(id_, EPOCH))
        until = time.monotonic() + FORECAST_TIME
        for begin in range(0, len(behind), AT_ONCE):
            ids = behind[begin : begin + AT_ONCE]
            found = query.runways(self._engine, ids)
            self._runways |= {id_: (taken[id_], getattr(found.get(id_), "likely", None)) for id_ in ids}
            if time.monotonic() > until:
                break
        return {id_: likely for id_, (_, likely) in self._runways.items() if likely is not None}
