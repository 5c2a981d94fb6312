"""Looks for organizations that nobody asks for: a check that never comes cannot fail, and nobody would notice."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from monitor.config import Settings
from monitor.errors import DatabaseError
from monitor.model import Notification
from monitor.notify.routing import rules_of
from monitor.poll.ages import Ages
from monitor.poll.poller import Poller
from monitor.store.writer import Store, Transaction

LOOK_EVERY: Final = timedelta(minutes=1)  # or more often, where `stale_after` is short
LEAST: Final = timedelta(seconds=1)
AT_ONCE: Final = 100  # organizations in one transaction


class Judge(Protocol):
    """Judges organizations that nobody asked for; returns what that enqueued."""

    def __call__(self, tx: Transaction, ids: Sequence[int]) -> list[Notification]: ...


class AgeWatch:
    """`look` at intervals of `every`."""

    def __init__(
        self,
        polls: Sequence[Poller],
        ages: Ages,
        settings: Settings,
        store: Store,
        judge: Judge,
        on_settled: Callable[[list[Notification]], None],
    ) -> None:
        """`judge` is given organizations that nobody asked for; `on_settled` is told what that enqueued."""
        self._polls = polls
        self._ages = ages
        self._settings = settings
        self._store = store
        self._judge = judge
        self._on_settled = on_settled

    @property
    def every(self) -> timedelta:
        """How often to look: often enough that `stale` is not late by more than a quarter."""
        accounts = self._settings.accounts.values()
        rules = [self._settings.rules, *(each.rules for each in self._settings.organizations.values())]
        rules += [account.rules.plain for account in accounts]
        limits = [rule.stale_after for rule in rules if rule.stale_after is not None]
        return max(min([LOOK_EVERY, *(limit / 4 for limit in limits)]), LEAST)

    async def look(self, _at: datetime) -> None:
        """Judge the organizations that nobody asked for within their `stale_after`."""
        unasked = self._unasked()
        for start in range(0, len(unasked), AT_ONCE):
            ids = unasked[start : start + AT_ONCE]
            try:
                self._on_settled(await self._store.write(partial(self._judge, ids=ids)))
            except DatabaseError:
                return  # which is said by whoever records

    def _unasked(self) -> list[int]:
        unasked = []
        for poll in self._polls:
            for row in poll.organizations:
                limit = rules_of(self._settings, row).stale_after
                if limit is not None and self._ages.is_unasked(row.id, limit):
                    unasked.append(row.id)
        return unasked
