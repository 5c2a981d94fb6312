"""Tells the service manager how the daemon stands, and that it turns for as long as it does.

Refuses to end a daemon that hangs: what stays silent is restarted.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from monitor.daemon.leadership import Leadership
from monitor.daemon.systemd import ServiceManager
from monitor.errors import DatabaseError
from monitor.message import away_line, leads_line, refused_line, stands_by_line, wedged_line
from monitor.store.leader_lock import LeaderLock
from monitor.store.writer import Store, Trouble

EVERY: Final = timedelta(seconds=5)  # or oftener, when the service manager's patience is short

log = logging.getLogger(__name__)


class DatabaseOutage:
    """That the database cannot be used, as a daemon sees it: since when, and why; logged once."""

    def __init__(self, hold: LeaderLock, opened: Store, *, clock: Callable[[], datetime]) -> None:
        self.found: Trouble | None = None  # of one that does not lead, or cannot begin to
        self._hold = hold
        self._store = opened
        self._clock = clock

    def seen(self, error: DatabaseError) -> None:
        """It cannot be used now."""
        if self.found is None:
            log.error("the database cannot be used: %s", error)
        self.found = Trouble(str(error), self.found.since if self.found else time.monotonic())

    def over(self) -> None:
        """It can be used."""
        if self.found:
            log.warning("the database is back")
        self.found = None

    def now(self) -> tuple[datetime, str] | None:
        """Since when it is away, and why; None while it is not."""
        found = (self._store.trouble if self._hold.leads else None) or self.found
        if found is None:
            return None
        return self._clock() - timedelta(seconds=time.monotonic() - found.since), found.cause


class Report:
    """`run` it beside the daemon; `refused` says why the configuration that was read last is not in force."""

    def __init__(
        self,
        manager: ServiceManager,
        hold: LeaderLock,
        *,
        term: Callable[[], Leadership | None],
        outage: DatabaseOutage,
        clock: Callable[[], datetime],
    ) -> None:
        """`term` is the present one, of a leader."""
        self.refused: str | None = None
        self._manager = manager
        self._hold = hold
        self._term = term
        self._outage = outage
        self._clock = clock
        self._hanging: str | None = None

    async def run(self) -> None:
        """Tell again and again, until cancelled."""
        patience = self._manager.patience
        every = min(EVERY, patience / 2) if patience else EVERY
        while True:
            self._look()
            if not self._hanging:
                self._manager.alive()
            self.tell()
            await asyncio.sleep(every.total_seconds())

    def hanging(self) -> str | None:
        """The part of the leader that hangs now; None while all turn, and while another one leads."""
        term = self._term()
        return term.hanging(time.monotonic()) if term else None

    def tell(self) -> None:
        """How things stand now."""
        self._manager.status(wedged_line(self._hanging) if self._hanging else self._sentence())

    def _look(self) -> None:
        before, self._hanging = self._hanging, self.hanging()
        if self._hanging and self._hanging != before:
            log.critical("%s", wedged_line(self._hanging))

    def _sentence(self) -> str:
        return "; ".join([refused_line(self.refused), self._state()] if self.refused else [self._state()])

    def _state(self) -> str:
        if found := self._outage.now():
            return away_line(*found)
        if not self._hold.leads and self._hold.leader:
            return stands_by_line(self._hold.leader)
        term = self._term()
        if term is None or term.counts is None:
            return "starting"
        due = term.next_poll()
        return leads_line(
            term.counts.organizations,
            failing=term.counts.failing,
            troubled=term.counts.troubled,
            next_poll=due - self._clock() if due else None,
        )
