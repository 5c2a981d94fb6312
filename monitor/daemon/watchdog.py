"""Tells the service manager how the daemon stands, and that it turns for as long as it does.

A daemon that hangs is not ended here: what stays silent is restarted by the service manager.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from monitor.daemon.state import ProcessState
from monitor.daemon.systemd import ServiceManager
from monitor.message import away_line, leads_line, refused_line, stands_by_line, wedged_line

EVERY: Final = timedelta(seconds=5)  # or oftener, when the service manager allows less

log = logging.getLogger(__name__)


class Watchdog:
    """`run` it beside the daemon; `report` says at once how it stands."""

    def __init__(self, manager: ServiceManager, state: ProcessState) -> None:
        self._manager = manager
        self._state = state
        self._hanging: str | None = None

    async def run(self) -> None:
        """Report again and again, until cancelled."""
        timeout = self._manager.watchdog_timeout
        every = min(EVERY, timeout / 2) if timeout else EVERY
        while True:
            self._look()
            if not self._hanging:
                self._manager.alive()
            self.report()
            await asyncio.sleep(every.total_seconds())

    def report(self) -> None:
        """Say how things stand now."""
        self._manager.status(wedged_line(self._hanging) if self._hanging else self._sentence())

    def _look(self) -> None:
        before, self._hanging = self._hanging, self._state.hanging()
        if self._hanging and self._hanging != before:
            log.critical("%s", wedged_line(self._hanging))

    def _sentence(self) -> str:
        refused = self._state.refused
        return "; ".join([refused_line(refused), self._role()] if refused else [self._role()])

    def _role(self) -> str:
        state = self._state
        if trouble := state.database_trouble():
            return away_line(*trouble)
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
