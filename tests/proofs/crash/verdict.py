"""The verdict: what the script demanded, against what the database holds and what the receivers got."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from monitor.model import Reason, Rules, Severity
from tests.proofs.crash.evidence import Arrival, Records
from tests.proofs.crash.script import Demand, demanded
from tests.proofs.crash.stage import OUTLIVE, Stage

Held = dict[str, Demand]  # what each notification of the database says, by id
NO_MORE: Mapping[str, list[Demand]] = MappingProxyType({})


@dataclass
class Counts:
    """The figures of one proof.  All of `FAULTS` must be zero."""

    kills: int = 0
    kills_by_way: Counter[str] = field(default_factory=Counter)
    kills_in_flight: int = 0  # (kill, channel): a message was out and not marked
    balances: int = 0
    demanded: int = 0
    notifications: int = 0
    deliveries: int = 0
    arrivals: int = 0  # deliveries that arrived, doubles included
    messages: int = 0
    unanswered: int = 0  # messages taken without an answer
    doubles_after_kill: int = 0
    doubles_after_silence: int = 0
    after_death: float = 0.0  # the longest that a process outlived its daemon, seconds
    seconds: float = 0.0
    # faults
    lost: int = 0
    invented: int = 0
    out_of_order: int = 0
    undelivered: int = 0
    doubles_unexplained: int = 0
    doubles_changed: int = 0  # sent again with other words or other ids
    wrong_words: int = 0
    orphans: int = 0
    tracebacks: int = 0
    notes: list[str] = field(default_factory=list)

    def faults(self) -> dict[str, int]:
        """What must not be, and was."""
        return {name: count for name in FAULTS if (count := getattr(self, name))}


FAULTS = (
    *("lost", "invented", "out_of_order", "undelivered", "doubles_unexplained", "doubles_changed", "wrong_words"),
    *("orphans", "tracebacks"),
)


def weigh(
    stage: Stage,
    rules: Mapping[str, Rules],
    hearing: Mapping[str, Mapping[str, Severity]],
    *,
    more: Mapping[str, list[Demand]] = NO_MORE,
) -> Counts:
    """Everything that can be counted, and everything that is wrong; `more` is demanded beside the script."""
    counts = Counts(balances=sum(len(scripted.answers) for scripted in stage.script))
    demands = {
        scripted.name: demanded(scripted, rules[scripted.name], hearing[scripted.name]) for scripted in stage.script
    } | dict(more)
    weigh_words(counts, demands, stage.records, stage.seen.arrivals)
    _weigh_doubles(counts, stage)
    _weigh_lives(counts, stage)
    counts.tracebacks = tracebacks(stage.folder)
    return counts


def weigh_words(counts: Counts, demands: Mapping[str, list[Demand]], records: Records, arrivals: list[Arrival]) -> None:
    """What was demanded, against what the database holds and what arrived."""
    held = held_by(records.notifications())
    deliveries = records.deliveries()
    _weigh_notifications(counts, demands, held)
    _weigh_deliveries(counts, demands, held, deliveries, forgotten=records.forgotten)
    _weigh_arrivals(counts, arrivals, held, deliveries)


def tracebacks(folder: Path) -> int:
    """How many the daemons' logs hold."""
    logs = (path.read_text(errors="replace") for path in folder.glob("life-*.log"))
    return sum(log.count("Traceback") for log in logs)


def held_by(rows: list[Any]) -> Held:
    held: Held = {}
    for row in rows:
        credits_then = json.loads(row.facts, parse_float=Decimal, parse_int=Decimal).get("credits")
        name = row.name if row.subject == "organization" else row.subject
        severity = Severity.of(row.severity)
        held[row.id] = Demand(name, Reason(row.reason), severity, Decimal(credits_then or 0), frozenset())
    return held


def _weigh_notifications(counts: Counts, demands: Mapping[str, list[Demand]], held: Held) -> None:
    """The database holds exactly what was demanded, in its order."""
    counts.demanded = sum(map(len, demands.values()))
    counts.notifications = len(held)
    said: dict[str, list[Demand]] = defaultdict(list)
    for demand in held.values():
        said[demand.organization].append(demand)
    for name in demands.keys() | said.keys():
        wanted, got = demands.get(name, []), said[name]
        lost, invented = Counter(wanted) - Counter(got), Counter(got) - Counter(wanted)
        counts.lost += lost.total()
        counts.invented += invented.total()
        counts.notes += [f"lost: {demand}" for demand in lost] + [f"invented: {demand}" for demand in invented]
        if not lost and not invented and wanted != got:
            counts.out_of_order += 1
            counts.notes.append(f"{name}: notifications are out of order")


def _weigh_deliveries(
    counts: Counts,
    demands: Mapping[str, list[Demand]],
    held: Held,
    deliveries: list[Any],
    *,
    forgotten: Collection[tuple[str, str]],
) -> None:
    """Each notification is on its way to exactly those who are to hear it, and was marked as taken once.

    What was folded is told with its successor; what was never answered was sent three times.  Of what is `forgotten`
    only its arrival is seen.
    """
    counts.deliveries = len(deliveries)
    channels: dict[str, set[str]] = defaultdict(set)
    ended = {(row.channel, row.notification_id) for row in deliveries if row.state in {"delivered", "unknown"}}
    for row in deliveries:
        channels[row.notification_id].add(row.channel)
        if (row.channel, row.notification_id) in forgotten:
            continue
        told = (row.channel, row.folded_into if row.state == "folded" else row.notification_id) in ended
        if not told or row.taken != (row.state == "delivered"):
            counts.undelivered += 1
            counts.notes.append(f"delivery {row.id}: {row.state}, taken {row.taken} times, {row.last_error}")
    wanted = {name: iter(of_one) for name, of_one in demands.items()}
    for key, demand in held.items():
        expected = next(wanted.get(demand.organization, iter(())), None)
        if expected == demand and expected.channels != channels[key]:
            counts.lost += len(expected.channels - channels[key])
            counts.invented += len(channels[key] - expected.channels)
            counts.notes.append(f"{key} went to {channels[key]}, not {set(expected.channels)}")


def _weigh_arrivals(counts: Counts, arrivals: list[Arrival], held: Held, deliveries: list[Any]) -> None:
    """Every delivery arrived, in order of its incident, and nothing else did."""
    counts.messages = len(arrivals)
    counts.arrivals = sum(len(arrival.ids) for arrival in arrivals)
    counts.unanswered = sum(not arrival.answered for arrival in arrivals)
    first: dict[tuple[str, str], int] = {}
    for place, arrival in enumerate(arrivals):
        for key in arrival.ids:
            first.setdefault((arrival.channel, key), place)
        counts.wrong_words += sum(held[key].organization not in arrival.words for key in arrival.ids if key in held)
        counts.wrong_words += not arrival.ids
    wanted = {(row.channel, row.notification_id) for row in deliveries}
    counts.lost += len(wanted - first.keys())
    counts.invented += len(first.keys() - wanted)
    counts.notes += [f"never arrived: {sent}" for sent in wanted - first.keys()]
    counts.notes += [f"arrived uninvited: {sent}" for sent in first.keys() - wanted]
    latest: dict[tuple[str, int], int] = {}
    for row in deliveries:
        way, sent = (row.channel, row.incident_id), (row.channel, row.notification_id)
        if sent not in first:
            continue
        place = first[sent]
        if place < latest.get(way, -1):
            counts.out_of_order += 1
            counts.notes.append(f"incident {row.incident_id} on {row.channel}: {row.notification_id} is out of order")
        latest[way] = max(place, latest.get(way, -1))


def _weigh_doubles(counts: Counts, stage: Stage) -> None:
    """A double is the same message, or what was folded since, and is there for one of two causes."""
    folded = stage.records.folded()
    unmarked = {(life.number, *sent) for life in stage.seen.lives for sent in life.unmarked}
    for before, after in doubles(stage.seen.arrivals):
        same = is_same(before, after, folded)
        counts.doubles_changed += not same
        in_flight = any((before.life, before.channel, key) in unmarked for key in before.ids)
        if not before.answered:
            counts.doubles_after_silence += 1
        elif in_flight and before.life != after.life:
            counts.doubles_after_kill += 1
        else:
            counts.doubles_unexplained += 1
            counts.notes.append(f"a double without a cause: {before.named} {after.named}")
        if not same:
            counts.notes.append(f"a double that changed: {before.named} {after.named}")


def is_same(before: Arrival, after: Arrival, folded: Collection[tuple[str, str]]) -> bool:
    """Whether a double is the same message, but for what was folded into something newer in between."""
    if (before.ids, before.words) == (after.ids, after.words):
        return True
    return any((before.channel, key) in folded for key in before.ids)


def doubles(arrivals: list[Arrival]) -> Iterator[tuple[Arrival, Arrival]]:
    """Each message that shares an id with one before it on its channel, and the last of those."""
    last: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        before = [last[arrival.channel, key] for key in arrival.ids if (arrival.channel, key) in last]
        if before:
            yield max(before, key=lambda arrival: arrival.at), arrival
        last |= {(arrival.channel, key): arrival for key in arrival.ids}


def _weigh_lives(counts: Counts, stage: Stage) -> None:
    killed = [life for life in stage.seen.lives if life.death]
    counts.kills = len(killed)
    counts.kills_by_way = Counter(life.way for life in killed)
    counts.kills_in_flight = sum(len({sent[0] for sent in life.unmarked}) for life in killed)
    counts.orphans = sum(life.orphans for life in killed)
    counts.after_death = max((life.outlived for life in killed), default=0.0)
    deaths = {life.number: life.death for life in killed}
    late = [
        arrival for arrival in stage.seen.arrivals if arrival.at - (deaths.get(arrival.life) or arrival.at) > OUTLIVE
    ]
    counts.orphans += len(late)
