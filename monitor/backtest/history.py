"""Leads organizations through what was recorded of them: from the database, or from a list of snapshots."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Final

from monitor import query
from monitor.backtest.course import Course, ReplayedMessage
from monitor.config import Settings
from monitor.model import Check, Snapshot
from monitor.notify.routing import rules_of
from monitor.poll.assignment import Placement
from monitor.poll.forecast_cache import MEMORY
from monitor.store import organizations, writer
from monitor.store.writer import Engine

EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + MEMORY


def courses(engine: Engine, settings: Settings, organization: str | None = None) -> dict[int, Course]:
    """Return a course for each recorded organization that is watched, or for the one of a name or vendor's id, by id.

    Each has the name and the rules that the configuration gives it.  A configuration without accounts watches all.
    Raise `UsageError` with the nearest names for an unknown organization.
    """
    placement = Placement(settings)
    rows = {row.id: row for row in writer.read(engine, organizations.organization_rows)}
    placed = {id_: placement.of_known(row) for id_, row in rows.items()}
    if organization is None:
        wanted = [id_ for id_, (_, _, watched) in placed.items() if watched or not settings.accounts]
    else:
        renamed = [id_ for id_, (name, _, _) in placed.items() if name == organization]
        wanted = renamed or [row.id for row in query.find_organizations(engine, organization)]
    names = sorted((placed[id_][0], id_) for id_ in wanted)
    several = writer.read(engine, lambda tx: organizations.mixed_accounts(tx, {row.account for row in rows.values()}))

    def as_placed(id_: int) -> organizations.OrganizationRow:
        name, account, _ = placed[id_]
        return replace(rows[id_], name=name, account=account, mixed=account in several)

    return {id_: Course.begin(name, rules_of(settings, as_placed(id_)), unit=rows[id_].unit) for name, id_ in names}


def replay(
    engine: Engine, led: Mapping[int, Course], *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[ReplayedMessage]:
    """Yield what would have been sent of checks with `since` <= instant < `until`, by time.

    The four weeks before `since` are known to the forecast, as they would be to a daemon.
    """
    recorded = query.recorded(engine, list(led), since=_known_from(since), until=until)
    for _, stretch in groupby(recorded, key=itemgetter(0)):
        messages = [message for _, id_, checks in stretch for message in _follow(led[id_], checks, since)]
        yield from sorted(messages, key=attrgetter("at"))


def replay_snapshots(
    course: Course, snapshots: Iterable[Snapshot], *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[ReplayedMessage]:
    """Return the same of one organization's snapshots, which come by time."""
    begins = _known_from(since)
    checks = (
        Check(0, 0, snapshot.taken_at, snapshot)
        for snapshot in snapshots
        if (begins is None or snapshot.taken_at >= begins) and (until is None or snapshot.taken_at < until)
    )
    return _follow(course, checks, since)


def _known_from(since: datetime | None) -> datetime | None:
    """Return from when on history feeds the forecast of what begins at `since`."""
    return max(since, EARLIEST) - MEMORY if since else None


def _follow(course: Course, checks: Iterable[Check], since: datetime | None) -> Iterator[ReplayedMessage]:
    for check in checks:
        if since is not None and check.ended_at < since:
            course.foresee(check)
        else:
            yield from course.settle(check)
