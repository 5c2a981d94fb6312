"""The rules that judge, made of those that are written: defaults, ladders, and the mistakes in them."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from pydantic import ValidationError

from monitor.config.fields import LEVELS, OFF, Share
from monitor.config.problems import hint
from monitor.config.schema import (
    NO_RULES,
    Account,
    AccountRules,
    AccountRulesTable,
    Key,
    Ladder,
    RulesTable,
    Spend,
)
from monitor.judge import flapping_window
from monitor.model import NOTHING_LEFT, Rules, Rung, Severity, SpendLimit, Vendor

BANDS: Final = {"credits": Decimal("1.05"), "runway": Decimal("1.25")}  # the clear level where none is given
SHORTEST_STALE: Final = timedelta(minutes=30)
SPLIT: Final = "credits_by_unit"  # a part of `credits`
STABILITYS_OWN: Final = ("credits", "spend")  # of the general rules: figures in its credits
WORST_FIRST: Final = sorted(Severity, reverse=True)


def default_rules(every: timedelta, *, vendor: Vendor | None = None) -> Rules:
    """Return the rules where the file names none.

    Levels of credits and use are Stability's (None): elsewhere they are the description's, else the balance is critical
    when nothing is left.
    """
    credits_ladder = Ladder[Decimal](warning=Decimal(1000), critical=Decimal(200))
    rungs = _rungs(credits_ladder, BANDS["credits"]) if vendor is None else vendor_rungs(vendor.levels)
    runway_ladder = Ladder[Decimal](warning=Decimal(7 * 24), critical=Decimal(2 * 24))
    return Rules(
        credits=rungs,
        runway=_rungs(runway_ladder, BANDS["runway"]),
        stale_after=max(SHORTEST_STALE, 3 * every),
        quiet=flapping_window(every),
    )


def level_mistakes(levels: Any) -> Iterator[tuple[Key, str]]:
    """Yield the mistakes in a description's `credits`: key within it, problem."""
    try:
        table = RulesTable.model_validate({"credits": levels})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            key = tuple(str(part) for part in detail["loc"][1:])
            if detail["type"] == "extra_forbidden":
                yield key, f"unknown setting; {hint(key[-1], sorted(LEVELS))}"
            else:
                yield key, detail["msg"].removeprefix("Value error, ")
        return
    yield from ((key[1:], problem) for key, problem in mistakes_in(table, None))


def vendor_rungs(levels: Any) -> tuple[Rung, ...]:
    """Return the ladder of a description's `credits`; without any the balance is critical when nothing is left."""
    if levels == OFF:
        return ()
    try:
        ladder = RulesTable.model_validate({"credits": levels}).credits
    except ValidationError:
        return NOTHING_LEFT  # it is a mistake of the description
    return _rungs(ladder, BANDS["credits"]) if ladder else NOTHING_LEFT


def account_rules(base: Rules, table: AccountRulesTable) -> AccountRules:
    """Return the rules of an account's organizations: `base` with those that its table names in their place."""
    plain, mixed = rules_over(base, table), rules_over(base, table, without=("credits",))
    by_unit = {
        unit.lower(): replace(plain, credits=_rungs(ladder, BANDS["credits"]))
        for unit, ladder in table.credits_by_unit.items()
    }
    return AccountRules(plain, mixed, by_unit)


def rules_in_force(account: Account, unit: str, table: RulesTable, *, mixed: bool = False) -> Rules:
    """Return the rules of an organization with this table of its own, whose balance is in a unit."""
    base = account.rules.of(unit, mixed=mixed)
    return not_too_young(rules_over(base, table), account.every) if table is not NO_RULES else base


def not_too_young(rules: Rules, every: timedelta) -> Rules:
    """Return the same with `stale_after` raised to two intervals where one late poll would alarm."""
    if rules.stale_after is None or rules.stale_after >= 2 * every:
        return rules
    return replace(rules, stale_after=2 * every)


def rules_over(base: Rules, table: RulesTable, *, without: Collection[str] = ()) -> Rules:
    """Return rules with those that a table names in their place, each whole; but for the names in `without`."""
    named: dict[str, Any] = {}
    for rule in table.model_fields_set - {SPLIT, *without}:
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
    ladders: dict[Key, Any] = {(rule,): getattr(table, rule) for rule in BANDS}
    if isinstance(table, AccountRulesTable):
        ladders |= {("credits", unit): ladder for unit, ladder in table.credits_by_unit.items()}
    for place, ladder in ladders.items():
        for key, problem in _ladder_mistakes(ladder) if ladder else ():
            yield (*place, *key), problem
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
