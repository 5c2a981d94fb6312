"""Every setting in force, as the file would have it, for `config show`; secrets are shown as `***`."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from monitor import durations
from monitor.config.fields import OFF
from monitor.config.rules import default_rules
from monitor.config.schema import (
    NO_ACCOUNT_RULES,
    Account,
    AnyTable,
    FileSettings,
    Key,
    RulesTable,
    Settings,
    Shown,
    entries,
)
from monitor.config.sources import Origin
from monitor.model import NOTHING_LEFT, STABILITY, RateLimit, Rules, Rung, Severity, SpendLimit


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting in force, for people; secrets are shown as `***`."""

    key: str
    value: str
    source: str


def effective(written: FileSettings, settings: Settings, origin: Callable[[Key], Origin | None]) -> Iterator[Effective]:
    """Yield a row for every setting, in the order of the schema."""
    as_written = {name: getattr(written, name) for name in ("web", "channels")}
    as_written["accounts"] = {
        name: replace(account, ca_file=written.accounts[name].ca_file) for name, account in settings.accounts.items()
    }
    for key, value in _table_rows((), FileSettings, settings.model_copy(update=as_written), settings):
        is_rule_of_one = key[2:3] == ("rules",)
        where = origin(key) or (origin(key[2:]) if is_rule_of_one else None)
        yield Effective(".".join(key), _shown(value), where.source if where else "default")


def _table_rows(place: Key, kind: AnyTable, table: Any, settings: Settings) -> Iterator[tuple[Key, Any]]:
    """Yield key and value of everything in a table."""
    keys = entries(kind)
    for key, entry in keys.items():
        here = (*place, key)
        if isinstance(table, Account) and key == "rules":
            yield from _account_rules(here, table)
        elif key == "providers":
            described = getattr(table, entry.attribute).items()
            yield from (
                ((*here, name, inner), _written(value)) for name, made in described for inner, value in made.items()
            )
        elif key == "rules":
            yield from ((((*here, rule), value) for rule, value in _rules(table.rules).items()))
        elif entry.by_name and entry.table:
            for name, inner in getattr(table, entry.attribute).items():
                yield from _table_rows((*here, name), entry.table, inner, settings)
        elif entry.table:
            yield from _table_rows(here, entry.table, getattr(table, entry.attribute), settings)
        elif f"{key}_file" in keys:
            yield from _secret_row(here, entry.shown, settings)
        elif key.removesuffix("_file") not in keys or key == key.removesuffix("_file"):
            yield from _value_row(here, entry.shown, getattr(table, f"shown_{key}", getattr(table, entry.attribute)))


def _account_rules(place: Key, account: Account) -> Iterator[tuple[Key, Any]]:
    """Yield the rules of an account where they are not simply the general ones."""
    if account.provider == STABILITY and account.written_rules is NO_ACCOUNT_RULES:
        return
    yield from (((*place, rule), value) for rule, value in _rules(account.rules.plain).items())
    for unit, rules in account.rules.by_unit.items():
        yield (*place, "credits", unit), rules.credits or None


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _secret_row(key: Key, shown: Shown, settings: Settings) -> Iterator[tuple[Key, str]]:
    """Yield a secret by the way it is given."""
    secret = settings.secret(key)
    if secret.is_given or shown.unset is not None:
        value = "missing" if secret.value is None else "***"
        yield (*key[:-1], secret.key.rpartition(".")[2]), str(secret.path or value)


def _value_row(key: Key, shown: Shown, value: Any) -> Iterator[tuple[Key, Any]]:
    if value is not None and value != {}:
        yield key, "***" if shown.hidden else value
    elif value is None and shown.unset is not None:
        yield key, shown.unset


def _rules(rules: Rules) -> Mapping[str, Any]:
    """Return the rules in force by their keys; an empty one is off."""
    in_hours = (
        Rung(rung.severity, timedelta(hours=float(rung.below)), timedelta(hours=float(rung.clear)))  # type: ignore[arg-type]
        for rung in rules.runway
    )
    written = {"runway": tuple(in_hours), "remind_every": tuple(sorted(rules.remind.items()))}
    return {rule: (written[rule] if rule in written else getattr(rules, rule)) or None for rule in entries(RulesTable)}


def _shown(value: Any) -> str:
    """Return a value as the file would have it."""
    if value is None:
        return OFF
    if isinstance(value, timedelta):
        return durations.write(value)
    if isinstance(value, RateLimit):
        return f"{value.requests}/{durations.write(value.per)}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {inner}" for name, inner in value.items()) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SpendLimit):
        clear = f", clear = {_shown(value.clear)}"
        return f"{{ credits = {_shown(value.credits)}, window = {durations.write(value.window)}{clear} }}"
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        parts = (f"{severity.label} = {' '.join(map(durations.write, gaps))}" for severity, gaps in value)
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, tuple):
        return _ladder(value) if value and isinstance(value[0], Rung) else ", ".join(map(str, value)) or "none"
    return value.label if isinstance(value, Severity) else str(value)


def _ladder(rungs: tuple[Rung, ...]) -> str:
    if rungs == NOTHING_LEFT:
        return "{ critical = 0 }"
    levels = [f"{rung.severity.label} = {_level(rung, rung.below)}" for rung in reversed(rungs)]
    clears = [f"{rung.severity.label} = {_level(rung, rung.clear)}" for rung in reversed(rungs)]
    return "{ " + ", ".join([*levels, "clear = { " + ", ".join(clears) + " }"]) + " }"


def _level(rung: Rung, figure: Decimal) -> str:
    return f"{_shown(figure * 100)}%" if rung.of_top_up else _shown(figure)


def rules_in_force(settings: Settings, organization: str, account: str, rules: Rules) -> Iterator[Effective]:
    """Yield `rules`, those of an organization, each with the table that it comes from."""
    own = f"organizations.{organization}" if organization in settings.organizations else f"accounts.{account}"
    usual, common = _rules(default_rules(settings.poll.every)), _rules(settings.rules)
    for rule, value in _rules(rules).items():
        general = "default" if value == usual[rule] else "rules"
        yield Effective(rule, _shown(value), general if value == common[rule] else own)
