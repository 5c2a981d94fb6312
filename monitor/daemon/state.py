"""What lives as long as the daemon's process, in one place; the watchdog and the database alert read it."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from monitor.channels import Template
from monitor.config import Settings
from monitor.counters import Counters
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.leadership import Leadership
from monitor.errors import DatabaseError
from monitor.model import Check
from monitor.notify.outcomes import Unwritten
from monitor.poll import Ages, RunningClock
from monitor.store.leader_lock import LeaderLock
from monitor.store.writer import Store, Trouble

ALERT_AFTER: Final = timedelta(minutes=5)  # without a database until the channels are told
LONGEST_TURN: Final = 5.0  # seconds between turns of the event loop beyond which this process was stopped
STANDBY_ALERTS_AFTER: Final = 3 * ALERT_AFTER  # by then the daemon that leads would have told them

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ProcessState:
    """State of the daemon's process; `leadership` is the state of one leadership, and None while it stands by."""

    settings: Settings
    store: Store
    leader_lock: LeaderLock
    heartbeat: Heartbeat
    clock: Callable[[], datetime]
    installation: str  # its id
    counters: Counters = field(default_factory=Counters)
    template: Template = field(default_factory=Template)  # of every process that sends
    ages: Ages = field(default_factory=lambda: Ages(RunningClock(LONGEST_TURN)))
    leadership: Leadership | None = None
    proven: Settings | None = None  # those of the last leadership that could begin
    refused: str | None = None  # why the configuration that was read last is not in force
    led_last: bool = False  # no other daemon was seen to lead since this one did
    mended: frozenset[str] = frozenset()  # channels whose URL a reload has changed
    renamed: dict[str, str] = field(default_factory=dict)  # channels, by a reload: old name → new
    carried_over: list[Check] = field(default_factory=list)  # fetched as the leader, and not stored yet
    unwritten: Unwritten = field(default_factory=Unwritten)  # outcomes of messages that were sent
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _is_trouble_told: bool = False  # by this process itself
    _trouble: Trouble | None = None  # of the database, seen while this process does not lead or cannot begin to

    @property
    def can_stand_by(self) -> bool:
        """Whether several daemons can share this database, one of which leads."""
        return self.leader_lock.can_stand_by

    def hanging(self) -> str | None:
        """Return the part of the leader that hangs; None while all turn, and while another one leads.

        What was stopped with the whole process has to have its turn first.
        """
        if self.ages.clock.just_woke:
            return None
        return self.leadership.hanging(time.monotonic()) if self.leadership else None

    # --- a database that cannot be used -------------------------------------------------------------------------------

    @property
    def is_database_away(self) -> bool:
        """Whether this process, which does not lead or cannot begin to, could not use the database."""
        return self._trouble is not None

    def database_failed(self, error: DatabaseError, what: str = "the database cannot be used") -> None:
        """Keep that the database cannot be used, since when, and why; a cause is logged once."""
        if self._trouble is None or self._trouble.cause != str(error):
            log.error("%s: %s", what, error)
        self._trouble = Trouble(str(error), self._trouble.since if self._trouble else time.monotonic())

    def database_works(self) -> None:
        """Keep that the database can be used."""
        if self._trouble:
            log.warning("the database is back")
        self._trouble = None

    def tell_trouble(self) -> None:
        """Log once that the leader can write nothing, and once that it can again.

        What is held, because it was fetched meanwhile, says both itself.
        """
        trouble = self.store.trouble if self.leader_lock.leads else None
        if self.leadership is not None and self.leadership.holds_results:
            self._is_trouble_told = False
        elif trouble and not self._is_trouble_told:
            log.error("the database cannot be used: %s", trouble.cause)
            self._is_trouble_told = True
        elif trouble is None and self._is_trouble_told:
            log.warning("the database is back")
            self._is_trouble_told = False

    def database_trouble(self) -> Trouble | None:
        """Return why nothing can be written, else what cannot be, for the longest time; None while all can."""
        if trouble := (self.store.trouble if self.leader_lock.leads else None) or self._trouble:
            return trouble
        troubles = self.leadership.troubles() if self.leadership else []
        return min(troubles, key=lambda trouble: trouble.since, default=None)

    def began_at(self, trouble: Trouble) -> datetime:
        """Return since when there is trouble."""
        return self.clock() - timedelta(seconds=time.monotonic() - trouble.since)

    def unready(self) -> list[str]:
        """Return what cannot be written, without its causes: anybody may ask."""
        trouble = self.database_trouble()
        if trouble is None:
            return []
        what = trouble.what.partition(" (")[0]  # without names
        return [f"database: {what} cannot be written" if what else "database: nothing can be written"]

    @property
    def alert_after(self) -> timedelta:
        """How long the database may be away until the channels are told."""
        return ALERT_AFTER if self.led_last else STANDBY_ALERTS_AFTER
