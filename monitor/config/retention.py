"""How long balances are kept, checked against each other and against what still looks back at them."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Final

from monitor import durations
from monitor.config.fields import DigestAt
from monitor.config.schema import RetentionTable
from monitor.config.settings import Retention
from monitor.model import Rules

DAY: Final = timedelta(days=1)
LAYERS: Final = ("raw", "hourly", "daily")  # each is made of the one before it


def retention(table: RetentionTable) -> Retention:
    """The table as the rooms use it."""
    return Retention(table.raw, table.hourly, table.daily)


def retention_mistakes(
    table: RetentionTable, every: Iterable[Rules], digests: Iterable[DigestAt]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the table: setting, problem.  `every` are all rules that are in force anywhere."""
    ages = {name: getattr(table, name) for name in LAYERS}
    for finer, coarser in pairwise(LAYERS):
        if _is_shorter(ages[coarser], ages[finer]):
            yield coarser, f"must be at least retention.{finer}, from which it is made"
    shortest, why = max(_needs(every, digests), key=lambda need: need[0])
    if _is_shorter(table.raw, shortest):
        yield "raw", f"must be at least {durations.write(shortest)}{why}"


def _is_shorter(age: timedelta | None, least: timedelta | None) -> bool:
    """Whether an age is shorter than another; None is the longest."""
    return age is not None and (least is None or age < least)


def _needs(every: Iterable[Rules], digests: Iterable[DigestAt]) -> Iterator[tuple[timedelta, str]]:
    """How far back single balances are looked at, and what for."""
    yield DAY, ""
    for rules in every:
        if rules.spend:
            yield rules.spend.window, ", the window of a spend rule"
        if rules.stale_after:
            yield rules.stale_after, ", as stale_after is"
    for digest in digests:
        if digest.weekday is None:
            yield 2 * DAY, ", for a daily digest tells what was used since the last one"
        else:
            yield 8 * DAY, ", for a weekly digest tells what was used since the last one"
