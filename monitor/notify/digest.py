"""A channel's daily or weekly summary: written when it is due, once, also over restarts; late when it was missed.

Refuses to send, and to alarm: what it tells of is decided elsewhere.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Final

from monitor import query
from monitor.config import DigestTime, Settings
from monitor.errors import DatabaseError
from monitor.forecast import Runway
from monitor.message import render_digest
from monitor.model import Digest, DigestLine, Message, OpenLine, Subject
from monitor.notify import fallback
from monitor.notify.routing import channels_of, is_paused
from monitor.query import OrganizationStatus
from monitor.store import engines, outbox
from monitor.store.writer import Engine, Store, Transaction

DAYS: Final = 9  # to look back for the last due time: a week, and a day on either side
MOMENT: Final = timedelta(microseconds=1)

log = logging.getLogger(__name__)


def last_due(when: DigestTime, at: datetime) -> datetime:
    """The last instant, at or before `at`, at which a digest was due; one a day or week, whatever the clocks do.

    A local time that is skipped comes as much later, one that occurs twice counts the first time.
    """
    today = at.astimezone(when.timezone).date()
    for back in range(DAYS):
        day = today - timedelta(days=back)
        due = datetime.combine(day, when.at, when.timezone).astimezone(UTC)
        if due <= at and when.weekday in (None, day.weekday()):
            return due
    raise AssertionError("every weekday comes within nine days")


class Digests:
    """Writes the digests of the configured channels into the outbox; `tick` once a minute."""

    def __init__(self, store: Store, settings: Settings, *, started_at: datetime) -> None:
        self._store = store
        self._settings = settings
        self._started_at = started_at
        self._last: dict[str, datetime | None] = {}  # as the outbox has it

    async def tick(self, now: datetime) -> None:
        """Write every digest that is due now."""
        for name, channel in self._settings.channels.items():
            if channel.digest is None:
                continue
            try:
                await self._tick(name, channel.digest, now)
            except DatabaseError as error:
                log.warning("%s: the digest has to wait: %s", name, error)

    async def _tick(self, channel: str, when: DigestTime, now: datetime) -> None:
        if channel not in self._last:
            self._last[channel] = await self._store.write(lambda tx: outbox.last_digest_at(tx, channel))
        last, due = self._last[channel], last_due(when, now)
        # The very first one is the next that comes due, not the one before the daemon knew of it.
        if due <= (last or self._started_at):
            return
        since = last or last_due(when, due - MOMENT)
        message = await asyncio.to_thread(self._compose, channel, when, since, now)
        self._last.pop(channel)  # until it is certain that it was written
        await self._store.write(lambda tx: _enqueue(tx, self._settings, channel, message, due=due, at=now))
        self._last[channel] = now
        log.info("%s: digest written, due since %s", channel, due.isoformat())

    def _compose(self, channel: str, when: DigestTime, since: datetime, until: datetime) -> Message:
        reader = engines.open_reader(self._settings.database.url)
        try:
            found = gather(reader, self._settings, channel, weekly=when.weekday is not None, since=since, until=until)
        finally:
            reader.dispose()
        return render_digest(found, timezone=when.timezone)


def _enqueue(
    tx: Transaction, settings: Settings, channel: str, message: Message, *, due: datetime, at: datetime
) -> None:
    """Keep it, unless a transaction that was thought lost did."""
    last = outbox.last_digest_at(tx, channel)
    if last is None or last < due:
        key = secrets.token_hex(8)
        outbox.enqueue_message(tx, key, message, channel, at=at)
        fallback.cover(tx, settings, at=at, notification_ids=[key])


# --- what it says -----------------------------------------------------------------------------------------------------


def gather(
    reader: Engine, settings: Settings, channel: str, *, weekly: bool, since: datetime, until: datetime
) -> Digest:
    """What the database knows of a channel's organizations, over a period; paused ones are left out."""
    organization = Subject.ORGANIZATION
    mine = [
        row
        for row in query.status(reader)
        if channel in channels_of(settings, organization, row.name) and not is_paused(settings, organization, row.name)
    ]
    queues = query.channels(reader, since=since)
    return Digest(
        channel=channel,
        weekly=weekly,
        since=since,
        until=until,
        organizations=tuple(_lines(reader, mine, since=since, until=until)),
        incidents=tuple(chain(_account_incidents(reader, settings, channel), *map(_open, mine))),
        lost={queue.channel: queue.given_up for queue in queues if queue.given_up},
        waiting={queue.channel: queue.retrying for queue in queues if queue.retrying},
    )


def _lines(reader: Engine, mine: list[OrganizationStatus], *, since: datetime, until: datetime) -> Iterator[DigestLine]:
    ids = [one.id for one in mine]
    runways = query.runways(reader, ids)
    uses = query.used_within(reader, ids, since=since, until=until)
    for one in mine:
        found, used = runways.get(one.id), uses.get(one.id)
        runway = found if isinstance(found, Runway) else None
        yield DigestLine(
            name=one.name,
            credits=one.credits,
            taken_at=one.taken_at,
            used=used.used if used else None,
            topped_up=used.topped_up if used else None,
            runway_low=runway.low if runway else None,
            runway_likely=runway.likely if runway else None,
            runway_high=runway.high if runway else None,
            failing=one.failure is not None,
            unit=one.unit,
            unlimited=one.unlimited,
        )


def _open(one: OrganizationStatus) -> Iterator[OpenLine]:
    return (OpenLine(one.name, incident.rule, incident.severity, incident.opened_at) for incident in one.incidents)


def _account_incidents(reader: Engine, settings: Settings, channel: str) -> Iterator[OpenLine]:
    for one in query.account_incidents(reader):
        if one.incident.calm_since:
            continue
        if one.account is None or channel in channels_of(settings, Subject.ACCOUNT, one.account):
            incident = one.incident
            yield OpenLine(one.account or "every account", incident.rule, incident.severity, incident.opened_at)
