"""The verdict: who wrote what while who led, and what the receivers got, against what the script demanded."""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field

from monitor.model import Rules
from tests.proofs.crash.evidence import Arrival
from tests.proofs.crash.script import demanded
from tests.proofs.crash.verdict import FAULTS as OF_WORDS
from tests.proofs.crash.verdict import Counts, doubles, is_same, tracebacks, weigh_words
from tests.proofs.standby.evidence import CLOSE, DISAGREEING, TWICE
from tests.proofs.standby.stage import CHANNELS, Disturbance, Stage, name_of
from tests.proofs.standby.strikes import TIMEOUT

TAKEOVER_WITHIN = 30.0  # seconds
NEAR = 2.0  # seconds after a strike is over, in which a message may still be lost to it
LATE = 1.0  # seconds after another has begun to lead


@dataclass
class Verdict:
    """The figures of one proof beside the `words`.  All of `FAULTS` must be zero."""

    words: Counts
    strikes: Counter[str] = field(default_factory=Counter)
    terms: int = 0
    incidents: int = 0
    alert_writes: int = 0
    snapshots: int = 0
    snapshots_within_a_second: int = 0
    doubles: Counter[str] = field(default_factory=Counter)
    # faults
    opened_twice: int = 0
    written_by_another: int = 0  # an incident or notification, by one who did not lead when it was committed
    sent_late: int = 0  # a message of one after whom another had begun to lead
    doubles_unexplained: int = 0
    slow_takeovers: int = 0  # or one after which nothing was recorded any more
    days_that_disagree: int = 0
    notes: list[str] = field(default_factory=list)

    def faults(self) -> dict[str, int]:
        """What must not be, and was."""
        mine = {name: count for name in FAULTS if (count := getattr(self, name))}
        return mine | {name: count for name in OF_WORDS if (count := getattr(self.words, name))}


FAULTS = (
    *("opened_twice", "written_by_another", "sent_late", "doubles_unexplained", "slow_takeovers"),
    "days_that_disagree",
)


def weigh(stage: Stage, rules: Rules) -> Verdict:
    """Everything that can be counted, and everything that is wrong."""
    words = Counts(balances=sum(len(scripted.answers) for scripted in stage.script))
    demands = {scripted.name: demanded(scripted, rules, CHANNELS) for scripted in stage.script}
    weigh_words(words, demands, stage.records, stage.arrivals)
    words.tracebacks = tracebacks(stage.folder)
    verdict = Verdict(words, strikes=Counter(hit.kind for hit in stage.disturbances))
    _weigh_database(verdict, stage)
    _weigh_writes(verdict, stage)
    _weigh_senders(verdict, stage)
    _weigh_doubles(verdict, stage)
    for hit in stage.disturbances:
        if (hit.takeover or 0) > TAKEOVER_WITHIN or hit.recorded > 2 * TIMEOUT:
            verdict.slow_takeovers += 1
            verdict.notes.append(f"{hit.kind}: led after {hit.takeover} s, recorded after {hit.recorded:.0f} s")
    return verdict


def _weigh_database(verdict: Verdict, stage: Stage) -> None:
    ask = stage.evidence.count
    verdict.incidents = ask("SELECT count(*) FROM incidents")
    verdict.snapshots = ask("SELECT count(*) FROM snapshots")
    verdict.snapshots_within_a_second = ask(CLOSE)
    verdict.opened_twice = ask(TWICE)
    verdict.days_that_disagree = ask(DISAGREEING)


def _weigh_writes(verdict: Verdict, stage: Stage) -> None:
    """Whoever wrote an alert led at that transaction's end."""
    for what, writer, pid in stage.evidence.writes():
        verdict.alert_writes += 1
        if writer not in map(name_of, stage.lives.get(pid, ())):
            verdict.written_by_another += 1
            verdict.notes.append(f"{what} by {writer} while process {pid} led")


def _weigh_senders(verdict: Verdict, stage: Stage) -> None:
    """Nobody sends once another has begun to lead."""
    terms = stage.evidence.terms()
    verdict.terms = len(terms)
    began = [term.at.timestamp() for term in terms]
    for arrival in stage.arrivals:
        place = bisect_right(began, arrival.at - LATE) - 1
        after = {life for term in terms[max(place, 0) :][:2] for life in stage.lives.get(term.pid, ())}
        if arrival.life not in after:
            verdict.sent_late += 1
            verdict.notes.append(f"sent late: {arrival.named}")


def _weigh_doubles(verdict: Verdict, stage: Stage) -> None:
    """A double is the same message; its sender, or the database, was struck before it was marked."""
    folded = stage.records.folded()
    for before, after in doubles(stage.arrivals):
        hit = _explanation(before, after, stage.disturbances)
        verdict.doubles[hit.kind if hit else "unexplained"] += 1
        if hit is None:
            verdict.doubles_unexplained += 1
            verdict.notes.append(f"a double without a cause: {before.named}, {after.named}")
        if not is_same(before, after, folded):
            verdict.words.doubles_changed += 1
            verdict.notes.append(f"a double that changed: {before.named}, {after.named}")


def _explanation(before: Arrival, after: Arrival, disturbances: list[Disturbance]) -> Disturbance | None:
    for hit in disturbances:
        concerned = hit.life in {None, before.life}
        waiting = any((before.channel, key) in hit.unmarked for key in before.ids) and before.at < hit.began
        meanwhile = hit.began <= before.at <= hit.ended + NEAR
        if concerned and (waiting or meanwhile) and after.at >= hit.began:
            return hit
    return None
