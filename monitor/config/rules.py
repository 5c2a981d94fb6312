"""The rules that judge, made of those that are written: defaults, ladders, and the mistakes in them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from monitor.config.fields import Share
from monitor.config.schema import Key, Ladder, RulesTable, Spend
from monitor.judge import flapping_window
from monitor.model import Rules, Rung, Severity, SpendLimit

BANDS: Final = {"credits": Decimal("1.05"), "runway": Decimal("1.25")}  # the clear level where none is given
SHORTEST_STALE: Final = timedelta(minutes=30)
WORST_FIRST: Final = sorted(Severity, reverse=True)


def default_rules(every: timedelta) -> Rules:
    """Return the rules where the file names none."""
    credits_ladder = Ladder[Decimal](warning=Decimal(1000), critical=Decimal(200))
    runway_ladder = Ladder[Decimal](warning=Decimal(7 * 24), critical=Decimal(2 * 24))
    return Rules(
        credits=_rungs(credits_ladder, BANDS["credits"]),
        runway=_rungs(runway_ladder, BANDS["runway"]),
        stale_after=max(SHORTEST_STALE, 3 * every),
        quiet=flapping_window(every),
    )


def rules_over(base: Rules, table: RulesTable) -> Rules:
    """Return rules with those that a table names in their place, each whole."""
    named: dict[str, Any] = {}
    for rule in table.model_fields_set:
        value = getattr(table, rule)
        if rule == "spend":
            named["spend"] = _limit(value)
        elif rule == "remind_every":
            named["remind"] = {severity: gaps for severity in Severity if (gaps := getattr(value, severity.label))}
        else:
            named[rule] = _rungs(value, BANDS[rule]) if rule in BANDS else value
    return replace(base, **named) if named else base  # shared: there may be thousands of organizations


def mistakes_in(table: RulesTable, every: timedelta | None) -> Iterator[tuple[Key, str]]:
    """Yield the mistakes in the rules of a table: key within it, problem.  `every` None is not known."""
    for rule in BANDS:
        if ladder := getattr(table, rule):
            for key, problem in _ladder_mistakes(ladder):
                yield (rule, *key), problem
    if table.spend and table.spend.clear is not None and table.spend.clear > table.spend.credits:
        yield ("spend", "clear"), "must not be higher than the limit itself"
    if every and table.stale_after and table.stale_after < 2 * every:
        yield ("stale_after",), "must be at least twice poll.every, or one late poll would alarm"


def _ladder_mistakes(ladder: Ladder[Decimal]) -> Iterator[tuple[Key, str]]:
    levels = {
        severity.label: level for severity in WORST_FIRST if (level := getattr(ladder, severity.label)) is not None
    }
    if not levels:
        yield (), 'has no level; expected { warning = …, critical = … }, or "off"'
    for worse, milder in pairwise(levels):
        if _alike(levels[worse], levels[milder]) and levels[worse] >= levels[milder]:
            yield (worse,), f"must be lower than {milder}"
    for label, clear in ladder.clear:
        if clear is not None and label not in levels:
            yield ("clear", label), "there is no level of that name to clear"
        elif clear is not None and not _alike(clear, levels[label]):
            yield ("clear", label), "must be a share like the level itself, or a figure like it"
        elif clear is not None and clear < levels[label]:
            yield ("clear", label), "must not be lower than the level itself"


def _rungs(ladder: Ladder[Decimal] | None, band: Decimal) -> tuple[Rung, ...]:
    rungs = []
    for severity in WORST_FIRST:
        if ladder and (level := getattr(ladder, severity.label)) is not None:
            clear = getattr(ladder.clear, severity.label)
            share = isinstance(level, Share)
            rungs.append(Rung(severity, +level, level * band if clear is None else +clear, of_top_up=share))
    return tuple(rungs)


def _alike(one: Decimal, other: Decimal) -> bool:
    return isinstance(one, Share) == isinstance(other, Share)


def _limit(table: Spend | None) -> SpendLimit | None:
    if table is None:
        return None
    return SpendLimit(table.credits, table.window, table.credits if table.clear is None else table.clear)
