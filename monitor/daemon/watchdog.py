"""Tells the service manager the daemon's status, and that it is alive for as long as none of its parts hangs.

A daemon that hangs is not ended here: the service manager restarts it when it stays silent.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from monitor.daemon.state import ProcessState
from monitor.daemon.systemd import ServiceManager
from monitor.message import away_line, leads_line, refused_line, stands_by_line, wedged_line

EVERY: Final = timedelta(seconds=5)  # or more often, where the service manager's time-out is short

log = logging.getLogger(__name__)


class Watchdog:
    """`run` it beside the daemon; `report` tells the status at once."""

    def __init__(self, manager: ServiceManager, state: ProcessState) -> None:
        self._manager = manager
        self._state = state
        self._hanging: str | None = None

    async def run(self) -> None:
        """Report at intervals, until cancelled."""
        timeout = self._manager.watchdog_timeout
        every = min(EVERY, timeout / 2) if timeout else EVERY
        while True:
            self._find_hanging()
            if not self._hanging:
                self._manager.alive()
            self.report()
            await asyncio.sleep(every.total_seconds())

    def report(self) -> None:
        """Tell the service manager the status now."""
        self._manager.status(wedged_line(self._hanging) if self._hanging else self._sentence())

    def _find_hanging(self) -> None:
        before, self._hanging = self._hanging, self._state.hanging()
        if self._hanging and self._hanging != before:
            log.critical("%s", wedged_line(self._hanging))

    def _sentence(self) -> str:
        refused = self._state.refused
        return "; ".join([refused_line(refused), self._role()] if refused else [self._role()])

    def _role(self) -> str:
        state = self._state
        if trouble := state.database_trouble():
            return away_line(state.began_at(trouble), trouble.cause, what=trouble.what)
        if not state.leader_lock.leads and state.leader_lock.leader:
            return stands_by_line(state.leader_lock.leader)
        if state.leadership is None or state.leadership.counts is None:
            return "starting"
        counts, due = state.leadership.counts, state.leadership.next_poll()
        return leads_line(
            counts.organizations,
            failing=counts.failing,
            troubled=counts.troubled,
            next_poll=due - state.clock() if due else None,
        )
