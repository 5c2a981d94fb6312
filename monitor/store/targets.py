"""Whom of a channel a delivery is still for, attempt after attempt: those who got it do not get it again.

Pure, but for the form in which it is stored.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from monitor.model import Attempt, TargetOutcome, Targets, WaitingTarget

REST: Final = ""  # the key that stands for all that are not known
MOST_UNKNOWN: Final = 3  # times that a recipient may have got a message; then it counts as told

Pause = Callable[[WaitingTarget], timedelta]


def advance(before: Targets | None, attempt: Attempt, *, salt: str, at: datetime, pause: Pause) -> Targets | None:
    """Return whom a delivery is for after an attempt; None: there is one outcome for the whole of it.

    That is so while nobody has got it: then it goes, the next time, to whomever the channel has.
    """
    if before is None and not _splits(attempt):
        return None
    before = before or Targets(salt, (), ())
    waiting = {target.key: target for target in before.waiting}
    taken = [*before.taken, *attempt.parts]
    for outcome in attempt.targets:
        known = waiting.pop(outcome.key, None)
        after = _after(outcome, known, at=at, pause=pause)
        if after is None:
            taken.append(outcome.key)
        else:
            waiting[outcome.key] = after
    if attempt.seen is not None:  # who has left the channel does not get it any more
        waiting = {key: target for key, target in waiting.items() if key in attempt.seen}
    elif not before.waiting:  # some were never asked
        rest = WaitingTarget(REST, "", attempt.error or "not asked yet")
        waiting[REST] = replace(rest, due_at=at + pause(rest))
    return Targets(before.salt, tuple(dict.fromkeys(taken)), tuple(waiting.values()))


def _splits(attempt: Attempt) -> bool:
    """Whether its recipients fared differently."""
    if attempt.error is None or not attempt.targets:
        return False
    return attempt.reached or any(target.unknown for target in attempt.targets)


def _after(outcome: TargetOutcome, before: WaitingTarget | None, *, at: datetime, pause: Pause) -> WaitingTarget | None:
    """Return a recipient that still waits; None when it has got the message, or may have too often."""
    unknowns = (before.unknowns if before else 0) + outcome.unknown
    if outcome.error is None or (outcome.unknown and unknowns >= MOST_UNKNOWN):
        return None
    waiting = WaitingTarget(outcome.key, outcome.name, outcome.error, refused=not outcome.retryable, unknowns=unknowns)
    return replace(waiting, due_at=at + pause(waiting))


def due(targets: Targets, now: datetime, paused_at: datetime | None) -> frozenset[str]:
    """Return the keys of those whose pause is over; where none's is, somebody ended the pause of them all.

    A pause that begins after now is over as well: the clock was stepped back.
    """
    back = paused_at is not None and now < paused_at
    over = frozenset(target.key for target in targets.waiting if back or target.due_at is None or target.due_at <= now)
    return over or frozenset(target.key for target in targets.waiting)


def next_at(targets: Targets) -> datetime | None:
    """Return when the first of those that wait is due."""
    return min((target.due_at for target in targets.waiting if target.due_at is not None), default=None)


def error(targets: Targets) -> str | None:
    """Return why some still wait: each reason once, with their names."""
    names: dict[str, list[str]] = {}
    for target in targets.waiting:
        names.setdefault(target.error, []).append(target.name)
    return "; ".join(_named(those, reason) for reason, those in names.items()) or None


def _named(names: list[str], reason: str) -> str:
    those = ", ".join(dict.fromkeys(filter(None, names)))
    return f"{those}: {reason}" if those and not reason.startswith(f"{those}: ") else reason


# --- stored -----------------------------------------------------------------------------------------------------------


def dump(targets: Targets | None) -> str | None:
    """Return what is stored."""
    if targets is None:
        return None
    waiting = [dict(_fields(target)) for target in targets.waiting]
    return json.dumps({"salt": targets.salt, "taken": targets.taken, "waiting": waiting})


def _fields(target: WaitingTarget) -> Iterator[tuple[str, Any]]:
    yield from (("key", target.key), ("name", target.name), ("error", target.error))
    yield from (("refused", target.refused), ("unknowns", target.unknowns))
    yield "due_at", target.due_at.isoformat() if target.due_at else None


def load(stored: str | None) -> Targets | None:
    """Return what was stored."""
    if stored is None:
        return None
    content = json.loads(stored)
    waiting = tuple(
        WaitingTarget(**{**target, "due_at": datetime.fromisoformat(target["due_at"]) if target["due_at"] else None})
        for target in content["waiting"]
    )
    return Targets(content["salt"], tuple(content["taken"]), waiting)
