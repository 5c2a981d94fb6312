"""Read what the pages show, in a thread of its own, through an engine that cannot write.

An answer is waited for no longer than `ANSWER_TIMEOUT`, and requests that ask the same at the same time share it.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from monitor import query
from monitor.config import Settings
from monitor.errors import DatabaseError
from monitor.proration import EPOCH
from monitor.query import AccountIncident, Backlog, OrganizationStatus
from monitor.store import engines, migrate

ANSWER_TIMEOUT: Final = 8.0  # seconds; Prometheus gives up after ten
FORECAST_TIME: Final = 1.0  # seconds of one answer for new forecasts: each takes milliseconds of the daemon's
AT_ONCE: Final = 20  # organizations in one query

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
        self._pending: dict[Callable[[], Any], asyncio.Future[Any]] = {}
        self._runways: dict[
            int, tuple[datetime, float | None]
        ] = {}  # by organization, with the instant of the snapshot they start from

    async def figures(self) -> Figures:
        """Return the present state."""
        return await self._ask(self._figures)

    async def polled(self) -> dict[str, datetime | None]:
        """Return when the last completed poll of each configured account began; `SchemaOutdated` for another schema."""
        return await self._ask(self._polled)

    def close(self) -> None:
        """Close the engine; a query under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def _ask(self, question: Callable[[], T]) -> T:
        """Return the answer of a query, shared by all requests that ask meanwhile."""
        future = self._pending.get(question)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._thread, question)
            self._pending[question] = future
            future.add_done_callback(lambda done: self._forget(question, done))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await asyncio.shield(future)
        except TimeoutError:
            raise DatabaseError(
                f"{self.settings.database.shown_url}: no answer within {ANSWER_TIMEOUT:.0f} s"
            ) from None

    def _forget(self, question: Callable[[], T], done: asyncio.Future[T]) -> None:
        del self._pending[question]
        if not done.cancelled():
            done.exception()  # retrieved: whoever still waited got it

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
        """Return the runways; those that are the most outdated are forecast again, for `FORECAST_TIME`."""
        taken = {row.id: row.taken_at for row in organizations if row.taken_at}
        self._runways = {id_: known for id_, known in self._runways.items() if id_ in taken}
        known_at = {id_: at for id_, (at, _) in self._runways.items()}
        outdated = [id_ for id_, at in taken.items() if known_at.get(id_) != at]
        outdated.sort(key=lambda id_: known_at.get(id_, EPOCH))
        until = time.monotonic() + FORECAST_TIME
        for begin in range(0, len(outdated), AT_ONCE):
            ids = outdated[begin : begin + AT_ONCE]
            runways = query.runways(self._engine, ids)
            self._runways |= {id_: (taken[id_], getattr(runways.get(id_), "likely", None)) for id_ in ids}
            if time.monotonic() > until:
                break
        return {id_: likely for id_, (_, likely) in self._runways.items() if likely is not None}
