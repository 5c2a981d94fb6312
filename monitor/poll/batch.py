"""Gathers the results of all accounts and settles them in batches: every second or every hundred, in one transaction.

Results that a database in trouble did not take are held, within a bound, and settled when it is back.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

from monitor.errors import DatabaseError, LeaseLost
from monitor.model import Check, Notification
from monitor.store.accounts import mark_polled
from monitor.store.writer import Store, Transaction

BATCH: Final = 100
LONGEST_WAIT: Final = 1.0  # seconds
HELD_AT_MOST: Final = 20_000  # checks; about 10 MiB

log = logging.getLogger(__name__)


class Batch:
    """Where polls leave their results.  `on_settled` is told what each batch enqueued."""

    def __init__(
        self,
        store: Store,
        settle: Callable[[Transaction, Sequence[Check]], list[Notification]],
        on_settled: Callable[[list[Notification]], None],
        *,
        carried_over: Sequence[Check] = (),
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """`carried_over` are results from before, which come first; `on_idle` is called when no poll is under way."""
        self._store = store
        self._settle = settle
        self._on_settled = on_settled
        self._on_idle = on_idle
        self._polls = 0  # under way
        self._held = list(carried_over)
        self._polled: dict[int, datetime] = {}
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failing = False  # the database did not take the last batch
        self._is_closed = False
        self._doubtful = 0  # of those held: so many are settled one by one, because one of them cannot be judged

    def add(self, check: Check) -> None:
        """Take a result; it is settled within a second."""
        self._held.append(check)
        if len(self._held) >= HELD_AT_MOST:
            del self._held[: HELD_AT_MOST // 10]
            log.error("the database has been away for too long: the oldest results were dropped")
        if len(self._held) % BATCH == 0:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_WAIT, self._begin)

    async def give_up(self) -> list[Check]:
        """Settle nothing more; return what could not be settled, in order of arrival, for whoever settles it later."""
        self._is_closed = True
        async with self._turn:  # what is being written comes back if it was not
            if self._timer is not None:
                self._timer.cancel()
            held, self._held = self._held, []
        return [replace(check, carried_over=True) for check in held]

    @contextmanager
    def polling(self) -> Iterator[None]:
        """A poll is under way: more may come to be told in a moment."""
        self._polls += 1
        try:
            yield
        finally:
            self._polls -= 1
            if not self._polls:
                self._on_idle()

    @property
    def is_polling(self) -> bool:
        """Whether any poll is under way."""
        return self._polls > 0

    def polled(self, account_id: int, began: datetime) -> None:
        """A poll that began then is complete: kept with the last of its results, for the next start."""
        self._polled[account_id] = began

    async def flush(self) -> None:
        """Settle what has been gathered, in order of arrival."""
        # A poll that is cancelled meanwhile must not take along what is just being written.
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._settle_held())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _settle_held(self) -> None:
        async with self._turn:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            while (self._held or self._polled) and not self._is_closed:
                if not await self._settle_batch():
                    self._timer = asyncio.get_running_loop().call_later(LONGEST_WAIT, self._begin)
                    return

    async def _settle_batch(self) -> bool:
        """Settle the oldest of what is held; False while the database is away."""
        batch = self._held[: 1 if self._doubtful else BATCH]
        del self._held[: len(batch)]
        # A poll is complete when the last of its results is kept: in the same transaction.
        polled, self._polled = ({}, self._polled) if self._held else (self._polled, {})
        try:
            notifications = await self._store.write(lambda tx: self._keep(tx, batch, polled))
        except LeaseLost:
            self._put_back(batch, polled)
            return False
        except DatabaseError as error:
            self._put_back(batch, polled)
            if not self.failing:
                log.error("results are held until the database is back: %s", error)  # noqa: TRY400 -- it is one line
            self.failing = True
            return False
        except Exception:
            log.exception("%d result(s) could not be judged", len(batch))
            self._doubt(batch, polled)
            return True
        if self.failing:
            log.warning("the database is back")
        self.failing = False
        self._doubtful = max(self._doubtful - len(batch), 0)
        self._on_settled(notifications)
        return True

    def _put_back(self, batch: list[Check], polled: dict[int, datetime]) -> None:
        self._held[:0] = batch
        self._polled = polled | self._polled

    def _doubt(self, batch: list[Check], polled: dict[int, datetime]) -> None:
        """One result that cannot be judged must not take others with it: try each alone, drop the one."""
        if len(batch) > 1:
            self._doubtful = len(batch)
            self._put_back(batch, polled)
            return
        log.error("it was dropped")
        self._doubtful = max(self._doubtful - 1, 0)
        if batch:
            self._put_back([], polled)

    def _keep(self, tx: Transaction, batch: list[Check], polled: dict[int, datetime]) -> list[Notification]:
        for account_id, began in polled.items():
            mark_polled(tx, account_id, began)
        return self._settle(tx, batch) if batch else []
