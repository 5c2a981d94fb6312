"""Gathers the results of all accounts and settles them in batches: every second or every hundred, in one transaction.

While the database fails, results are held, up to a limit, and settled when it works again.  A single result that it
rejects while it takes others is set aside and tried again; the others are settled.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

from monitor.counters import Counters
from monitor.errors import DatabaseError, LeaseLost
from monitor.model import Check, Failure, Notification
from monitor.store.accounts import mark_polled
from monitor.store.writer import Store, Transaction, Trouble
from monitor.text import escape_beyond

BATCH: Final = 100
LONGEST_WAIT: Final = 1.0  # seconds
MAX_HELD: Final = 20_000  # checks; about 10 MiB
TRY_AGAIN_EVERY: Final = 60.0  # seconds, for what was set aside
FAILURES_AT_ONCE: Final = 10  # of what was set aside
SAY_AGAIN_EVERY: Final = 3600.0  # seconds, that results are dropped

log = logging.getLogger(__name__)


class Batch:
    """Takes the results of polls.  `on_settled` is called with what each batch put into the outbox."""

    def __init__(
        self,
        store: Store,
        settle: Callable[[Transaction, Sequence[Check]], list[Notification]],
        on_settled: Callable[[list[Notification]], None],
        *,
        carried_over: Sequence[Check] = (),
        on_idle: Callable[[], None] = lambda: None,
        counters: Counters | None = None,
    ) -> None:
        """`carried_over` are results from before, which come first; `on_idle` is called when no poll is under way."""
        self._store = store
        self._settle = settle
        self._on_settled = on_settled
        self._on_idle = on_idle
        self._counters = counters or Counters()
        self._polls = 0  # under way
        self._held = list(carried_over)
        self._polled: dict[int, datetime] = {}
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failing = False  # the database did not take the last batch
        self._is_closed = False
        self._size = BATCH  # smaller while the result is looked for that makes a batch fail
        self._aside: list[Check] = []
        self._aside_since = 0.0  # by `time.monotonic`, as the next ones
        self._aside_tried_at = 0.0
        self._aside_cause = ""
        self._drop_said_at: float | None = None

    def add(self, check: Check) -> None:
        """Take a result; it is settled within a second."""
        self._held.append(check)
        self._drop_excess()
        if len(self._held) % BATCH == 0:
            self._begin()
        elif self._timer is None:
            self._begin_within(LONGEST_WAIT)

    async def give_up(self) -> list[Check]:
        """Settle nothing more; return what could not be settled, oldest first, for whoever settles it later."""
        self._is_closed = True
        async with self._turn:  # a batch under way is put back if it was not written
            if self._timer is not None:
                self._timer.cancel()
            held, self._held, self._aside = [*self._aside, *self._held], [], []
        return [replace(check, carried_over=True) for check in held]

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Mark that a poll is under way: more notifications may follow in a moment."""
        self._polls += 1
        try:
            yield
        finally:
            self._polls -= 1
            if not self._polls:
                self._on_idle()

    @property
    def is_polling(self) -> bool:
        """Return whether any poll is under way."""
        return self._polls > 0

    def announce(self, notifications: list[Notification]) -> None:
        """Pass on the notifications that another transaction put into the outbox."""
        if notifications:
            self._on_settled(notifications)

    @property
    def trouble(self) -> Trouble | None:
        """Return how many results are set aside, since when, and why; None where there are none."""
        if not self._aside:
            return None
        what = f"{len(self._aside)} result{'s' * (len(self._aside) != 1)}"
        return Trouble(self._aside_cause, self._aside_since, what)

    def polled(self, account_id: int, began: datetime) -> None:
        """Record that a poll which began at that instant is complete, in the transaction of its last result."""
        self._polled[account_id] = began

    async def flush(self) -> None:
        """Settle what has been gathered, in order of arrival."""
        # A poll that is cancelled meanwhile must not cancel the transaction under way.
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._settle_held())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin_within(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    async def _settle_held(self) -> None:
        async with self._turn:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            await self._settle_all()
            self._counters.held, self._counters.set_aside = len(self._held) + len(self._aside), len(self._aside)

    async def _settle_all(self) -> None:
        while (self._held or self._polled) and not self._is_closed:
            if not await self._settle_batch():
                self._begin_within(LONGEST_WAIT)
                return
        if self._aside and not self._is_closed:
            if time.monotonic() - self._aside_tried_at >= TRY_AGAIN_EVERY:
                await self._try_again()
            self._begin_within(TRY_AGAIN_EVERY)

    async def _settle_batch(self) -> bool:
        """Settle the oldest results; return False while nothing can be written."""
        batch = self._held[: self._size]
        del self._held[: len(batch)]
        # A poll is complete when the last of its results is written: in the same transaction.
        polled, self._polled = ({}, self._polled) if self._held else (self._polled, {})
        try:
            await self._write(batch, polled)
        except LeaseLost:
            self._put_back(batch, polled)
            return False
        except Exception as error:  # noqa: BLE001 -- a fault in judging one must not stop the others, either
            self._put_back(batch, polled)
            return await self._narrow_down(batch, error)
        self._size = min(2 * self._size, BATCH)
        return True

    async def _write(self, batch: Sequence[Check], polled: dict[int, datetime]) -> None:
        notifications = await self._store.write(lambda tx: self._keep(tx, batch, polled))
        if self.failing:
            log.warning("the database is back")
        self.failing = False
        self._on_settled(notifications)

    def _put_back(self, batch: list[Check], polled: dict[int, datetime]) -> None:
        self._held[:0] = batch
        self._polled = polled | self._polled

    def _keep(self, tx: Transaction, batch: Sequence[Check], polled: dict[int, datetime]) -> list[Notification]:
        for account_id, began in polled.items():
            mark_polled(tx, account_id, began)
        return self._settle(tx, batch) if batch else []

    # --- what the database does not take ------------------------------------------------------------------------------

    async def _narrow_down(self, batch: list[Check], error: Exception) -> bool:
        """Return False while nothing can be written; else halve the batch until the failing result is alone in it.

        That result is then written alone, then with its foreign text escaped, and else set aside.
        """
        if not batch or await self._concerns_all(error):
            self._hold(error)
            return False
        if len(batch) > 1:
            self._size = len(batch) // 2
            return True
        (check,) = batch
        del self._held[0]
        for candidate in (check, escaped(check)):
            failure = await self._try_alone(candidate)
            if failure is None:
                return True
            if isinstance(failure, LeaseLost) or await self._concerns_all(failure):
                self._put_back(batch, {})
                return False
            error = failure
        self._set_aside(check, error)
        return True

    async def _concerns_all(self, error: Exception) -> bool:
        """Return whether the database takes nothing at all, rather than not this result."""
        if not isinstance(error, DatabaseError):
            return False
        return error.concerns_all or not await self._store.is_writable()

    def _hold(self, error: Exception) -> None:
        if not self.failing:
            log.error("results are held until the database is back (%d at most): %s", MAX_HELD, error)
        self.failing = True

    async def _try_alone(self, check: Check) -> Exception | None:
        """Settle one result; return the exception where that fails, else None."""
        try:
            await self._write([check], {})
        except Exception as error:  # noqa: BLE001 -- as above
            return error
        return None

    def _set_aside(self, check: Check, error: Exception) -> None:
        """Set a result aside, to be tried again later, when newer ones may have been judged."""
        known = isinstance(error, DatabaseError)
        cause = str(error) if known else f"it cannot be judged: {type(error).__name__}: {error}"
        if not self._aside:
            self._aside_since = self._aside_tried_at = time.monotonic()
        if not self._aside or cause != self._aside_cause:
            words = "the result of organization %s cannot be recorded, others can; it is set aside and tried again: %s"
            log.error(words, check.organization_id, cause, exc_info=None if known else error)
        self._aside_cause = cause
        self._aside.append(replace(check, carried_over=True))

    async def _try_again(self) -> None:
        """Try the results that were set aside, oldest first; after ten failures the rest wait for the next time."""
        waiting, failures = list(self._aside), list[Check]()
        self._aside_tried_at = time.monotonic()
        while waiting and len(failures) < FAILURES_AT_ONCE:
            check = waiting.pop(0)
            failure = await self._try_alone(check)
            if failure is not None:
                failures.append(check)
        recorded = len(self._aside) - len(waiting) - len(failures)
        self._aside = [*waiting, *failures]
        if recorded:
            log.warning("%d result(s) that were set aside are recorded, %d are left", recorded, len(self._aside))

    def _drop_excess(self) -> None:
        if len(self._held) + len(self._aside) < MAX_HELD:
            return
        oldest = self._held if len(self._held) >= len(self._aside) else self._aside
        count = MAX_HELD // 10
        del oldest[:count]
        self._counters.dropped += count
        now = time.monotonic()
        if self._drop_said_at is None or now - self._drop_said_at >= SAY_AGAIN_EVERY:
            self._drop_said_at = now
            log.error(
                "the database has been away for too long: %d results are held, %d of the oldest were dropped so far",
                MAX_HELD,
                self._counters.dropped,
            )


def escaped(check: Check) -> Check:
    """Return a check in which the vendor's text is plain ASCII, which any database holds."""
    if not isinstance(check.outcome, Failure):
        return check
    failure = check.outcome
    error_id = failure.vendor_error_id
    return replace(
        check,
        outcome=replace(
            failure,
            message=escape_beyond(failure.message),
            vendor_error_id=escape_beyond(error_id) if error_id is not None else None,
        ),
    )
