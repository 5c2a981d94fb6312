"""How everything stands: the rows and sentences of `status`, which the API and the pages show, too."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import Any, Final

from monitor import query
from monitor.config import Settings
from monitor.message import format_runway
from monitor.model import OpenIncident, Rule, Runway, Subject, Unknown
from monitor.notify.fallback import stand_in
from monitor.notify.routing import channels_of
from monitor.query import AccountIncident, ChannelQueue, DaemonRow, OrganizationStatus, SilenceRow
from monitor.rows.encode import format_hours, format_local
from monitor.store import engines, leader_lock
from monitor.store.channels import ChannelState
from monitor.store.writer import Engine
from monitor.text import mask

RECENT: Final = timedelta(days=7)  # deliveries given up longer ago are history
Show = Callable[[datetime], str]  # an instant in the configured zone
Runways = Mapping[int, Runway | Unknown]  # by organization


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that `status` says, as read at one instant."""

    settings: Settings
    now: datetime
    organizations: list[OrganizationStatus]
    runways: Runways
    silences: list[SilenceRow]
    accounts: list[AccountIncident]
    queues: list[ChannelQueue]
    daemons: list[DaemonRow] | None
    down: list[dict[str, Any]]
    recorded_at: datetime | None
    standstill: str | None

    def rows(self, *, with_ages: bool = True) -> Iterator[dict[str, Any]]:
        """Yield the row of each organization; its age changes every second, so that an answer with an ETag has none."""
        for organization in self.organizations:
            row = _row(organization, self.now)
            if not with_ages:
                del row["age_seconds"]
            more = hours_of(self.runways.get(organization.id)) | self.quiet(organization)
            yield row | more | {"unit": organization.unit or None}

    def quiet(self, organization: OrganizationStatus) -> dict[str, Any]:
        """Return what keeps an organization's messages back."""
        return _quiet(self.silences, organization) | {
            "paused": _is_paused(self.settings, organization.name),
            "channels_down": _down_for(self.settings, organization.name, self.down),
        }

    def first_lines(self) -> list[str]:
        """Return what everybody has to know first: that nobody polls, or that nothing is recorded."""
        if self.standstill:
            return [self.standstill]
        return list(_unrecorded(self.settings, self.recorded_at, self.daemons, self.now, self._show))

    def lines(self) -> Iterator[str]:
        """Yield what is wrong or kept quiet beside the organizations."""
        show = self._show
        for line in (
            *_accounts(self.accounts, show),
            *_flapping(self.organizations, show),
            *(f"{one.name}: the vendor says that there is no limit" for one in self.organizations if one.unlimited),
            *(_is_down(channel, show) for channel in self.down),
            *_channels(self.queues, {channel["channel"] for channel in self.down}, self.now, show),
            *_kept_quiet(self.settings, self.silences, show),
            *_leader(self.daemons, show),
        ):
            yield mask(line)
        if not self.settings.channels:
            yield "NOBODY WILL BE TOLD: no channel is configured; add [channels.NAME] with url_file"

    @property
    def _show(self) -> Show:
        return partial(format_local, zone=self.settings.timezone)


def read_standing(
    engine: Engine,
    settings: Settings,
    *,
    at: datetime,
    runways: Callable[[list[OrganizationStatus]], Runways] | None = None,
) -> Standing:
    """Read how everything stands; `runways` where somebody remembers forecasts."""
    organizations = query.status(engine)
    ids = [organization.id for organization in organizations]
    return Standing(
        settings=settings,
        now=at,
        organizations=organizations,
        runways=runways(organizations) if runways else query.runways(engine, ids),
        silences=query.silences(engine, at=at),
        accounts=query.account_incidents(engine),
        queues=query.channels(engine, since=at - RECENT),
        daemons=query.daemons(engine),
        down=_down(settings, query.down_channels(engine)),
        recorded_at=query.recorded_at(engine),
        standstill=query.standstill_line(engine, every=settings.shortest_every, limits=settings.rate_limits, at=at),
    )


def _row(one: OrganizationStatus, now: datetime) -> dict[str, Any]:
    return {
        "organization": one.name,
        "id": one.vendor_id,
        "title": one.title,
        "account": one.account,
        "credits": one.credits,
        "change": one.change,
        "taken_at": one.taken_at,
        "age_seconds": int((now - one.taken_at).total_seconds()) if one.taken_at else None,
        "state": one.state,
        "severity": one.incidents[0].severity.label if one.incidents else None,
        "open": [i.rule.value for i in one.incidents],
        "flapping": [incident.rule.value for incident in one.flapping],
        "checked_at": one.checked_at,
        "failure": one.failure.value if one.failure else None,
        "failure_message": one.failure_message,
        "failing_since": one.failing_since,
        "unlimited": one.unlimited,
        "resets_at": one.resets_at,
    }


def hours_of(runway: Runway | Unknown | None) -> dict[str, Any]:
    """Return the forecast as rows have it, in hours."""
    low, likely, high = (getattr(runway, key, None) for key in ("low", "likely", "high"))
    return {
        "runway_hours": format_hours(likely),
        "runway_low_hours": format_hours(low),
        "runway_high_hours": format_hours(high),
    }


def runway_in_words(runway: Runway | Unknown | None) -> str:
    """Return the forecast as a table has it: `3.1 d (2.4-4.0)`, `unknown (20 h more)`, `none`."""
    low, likely, high = (getattr(runway, key, None) for key in ("low", "likely", "high"))
    missing = getattr(runway, "missing", None)
    if missing is not None:
        return f"unknown ({ceil(missing / timedelta(hours=1))} h more)"
    return "none" if format_hours(likely) == "none" else format_runway(likely, low, high)


def _quiet(silences: Sequence[SilenceRow], one: OrganizationStatus) -> dict[str, Any]:
    """Whether any silence stands, and until when; `silenced_until` is null for an acknowledgement."""
    mine = [row for row in silences if (row.subject, row.subject_id) == (Subject.ORGANIZATION, one.id)]
    ends = [row.until for row in mine]
    last = max((end for end in ends if end), default=None)
    return {"silenced": bool(mine), "silenced_until": None if None in ends else last}


def _is_paused(settings: Settings, name: str) -> bool:
    configured = settings.organizations.get(name)
    return configured is not None and configured.paused


# --- below the rows ---------------------------------------------------------------------------------------------------


def _unrecorded(
    settings: Settings,
    recorded_at: datetime | None,
    daemons: Sequence[DaemonRow] | None,
    now: datetime,
    show: Show,
) -> Iterator[str]:
    """Whether a daemon runs that has recorded nothing for three polls: the database does not take what it fetches."""
    limit = 3 * settings.shortest_every + settings.poll.deadline
    if recorded_at is None or now - recorded_at <= limit or not _daemon_runs(settings, daemons):
        return
    at = show(recorded_at)
    yield f"NOTHING HAS BEEN RECORDED since {at}, though a daemon runs; `credit-monitor doctor` and its log say why"


def _daemon_runs(settings: Settings, daemons: Sequence[DaemonRow] | None) -> bool:
    path = engines.sqlite_file(settings.database.url)
    if path is None:
        return any(daemon.leads_since for daemon in daemons or ())
    try:
        holder = leader_lock.look_at_file_lock(path).holder
    except OSError:
        return False
    return holder is not None and holder.is_daemon


def _accounts(incidents: Sequence[AccountIncident], show: Show) -> Iterator[str]:
    for one in incidents:
        if one.incident.calm_since:
            who = f"account {one.account}" if one.account else "every account"
            yield _flaps(who, one.incident, show)
            continue
        what = "the key is rejected" if one.incident.rule is Rule.CREDENTIAL else "no organization's balance can be had"
        who = f"account {one.account}" if one.account else "every account"
        yield f"{one.incident.severity.label.upper()}: {who}: {what} since {show(one.incident.opened_at)}"


def _flapping(organizations: Sequence[OrganizationStatus], show: Show) -> Iterator[str]:
    for organization in organizations:
        for incident in organization.flapping:
            yield _flaps(organization.name, incident, show)


def _flaps(who: str, incident: OpenIncident, show: Show) -> str:
    times = "once" if incident.returns == 1 else f"{incident.returns} times"
    now = f"clear since {show(incident.calm_since)}" if incident.calm_since else incident.severity.label
    return f"flapping: {who}: {incident.rule.value} came back {times} since {show(incident.opened_at)}, {now}"


def _down(settings: Settings, states: Sequence[ChannelState]) -> list[dict[str, Any]]:
    """The channels that are down, since when, why, and who stands in."""
    names = {state.name for state in states}
    return [
        {
            "channel": state.name,
            "since": state.down_since,
            "reason": state.reason,
            "stand_in": stand_in(settings, state.name, names),
        }
        for state in states
        if state.name in settings.channels
    ]


def _down_for(settings: Settings, organization: str, down: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of them that are to hear of an organization."""
    concerned = channels_of(settings, Subject.ORGANIZATION, organization)
    return [channel for channel in down if channel["channel"] in concerned]


def _is_down(channel: dict[str, Any], show: Show) -> str:
    stands_in = f"{channel['stand_in']} stands in" if channel["stand_in"] else "nobody stands in"
    return f"channel {channel['channel']}: DOWN since {show(channel['since'])}: {channel['reason']}; {stands_in}"


UNTRIED_AFTER: Final = timedelta(minutes=2)  # a daemon looks every second


def _channels(queues: Sequence[ChannelQueue], down: set[str], now: datetime, show: Show) -> Iterator[str]:
    """What did not reach its receivers, and what waits."""
    for queue in queues:
        channel, tried = f"channel {queue.channel}", queue.pending - queue.held
        if queue.refusal:
            yield f"{channel}: refused for good: {queue.refusal} ({tried} waiting, tried on every hour at least)"
        elif queue.retrying:
            yield f"{channel}: {tried} waiting, last error: {queue.last_error}"
        if queue.untried_since and now - queue.untried_since > UNTRIED_AFTER and queue.channel not in down:
            since = show(queue.untried_since)
            yield (
                f"{channel}: {queue.untried} waiting since {since}, no attempt recorded: no daemon runs, or it cannot "
                "write what becomes of a message (its log says so)"
            )
        for target in queue.missing:
            kind = "refused for good" if target.refused else "not reached"
            yield f"{channel}: {target.name} is {kind}, others have it: {target.error}"
        if queue.folded:
            yield f"{channel}: {queue.folded} older told with what waits"
        if queue.given_up:
            yield f"{channel}: {queue.given_up} given up in the last 7 days: {queue.last_error}"
        if queue.held_until:
            yield f"{channel}: {queue.held} held until quiet hours end at {show(queue.held_until)}"


def _leader(daemons: Sequence[DaemonRow] | None, show: Show) -> Iterator[str]:
    """Who leads and who stands by, where several daemons can."""
    if daemons is None:
        return
    leader = next((one for one in daemons if one.leads_since), None)
    if leader and leader.leads_since:
        yield f"leader: {leader.host} (process {leader.pid}) since {show(leader.leads_since)}"
    elif daemons:
        yield "NOBODY LEADS: no daemon polls and delivers now"
    if standbys := ", ".join(f"{one.host} (process {one.pid})" for one in daemons if one is not leader):
        yield f"standing by: {standbys}"


def _kept_quiet(settings: Settings, silences: Sequence[SilenceRow], show: Show) -> Iterator[str]:
    for row in silences:
        who = row.organization or f"account {row.account}"
        what = f" {row.rule.value}" if row.rule else ""
        until = f"until {show(row.until)}" if row.until else "until resolved or worse"
        yield mask(f"silence {row.id}: {who}{what}, up to {row.up_to.label}, {until}, by {row.author}: {row.reason}")
    for name, organization in settings.organizations.items():
        if organization.paused:
            yield f"paused in the configuration: {name}"
