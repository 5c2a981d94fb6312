"""Every setting as it is in force, in the words of the file, for `config show`; secrets are shown as `***`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from monitor.config.schema import FileSettings
from monitor.config.settings import Effective, Settings
from monitor.model import RateLimit, Rules, Rung, Severity

SECRETS: Final = ("api_key", "url", "proxy")
SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def effective(
    tables: FileSettings, settings: Settings, source: Callable[[tuple[str, ...]], str]
) -> Iterator[Effective]:
    """A row for every setting."""

    def row(*key: str, value: Any) -> Effective:
        return Effective(".".join(key), _shown(value), source(key))

    yield row("database", "url", value=settings.database.shown_url)
    yield row("database", "migrate", value=settings.database.migrate)
    yield row("poll", "every", value=settings.poll.every)
    yield row("poll", "deadline", value=settings.poll.deadline)
    yield row("timezone", value=settings.timezone.key)
    for name, value in _rules(settings.rules).items():
        yield row("rules", name, value=value)
    for table in ("accounts", "channels"):
        for name, one in getattr(tables, table).items():
            for setting, value in one:
                if value is not None or setting in one.model_fields_set:
                    yield row(table, name, setting, value="***" if setting in SECRETS else value)
    for name, organization in settings.organizations.items():
        yield row("organizations", name, "account", value=organization.account)
        yield row("organizations", name, "id", value=organization.id or "the key's default")
        yield row("organizations", name, "notify", value=organization.notify or "every channel")
        for rule, value in _rules(organization.rules).items():
            own = rule in tables.organizations[name].rules.model_fields_set
            where = ("organizations", name, "rules", rule) if own else ("rules", rule)
            yield Effective(f"organizations.{name}.rules.{rule}", _shown(value), source(where))


def _rules(rules: Rules) -> Mapping[str, Any]:
    return {
        "credits": rules.credits,
        "runway": tuple(Rung(r.severity, _hours(r.below), _hours(r.clear)) for r in rules.runway),  # type: ignore[arg-type]
        "stale_after": rules.stale_after,
        "confirm_checks": rules.confirm_checks,
    }


def _hours(figure: Decimal) -> timedelta:
    return timedelta(seconds=float(figure) * 3600)


def _shown(value: Any) -> str:
    """A value as the file would have it."""
    if value is None or value == ():
        return "off"
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, Severity):
        return value.label
    if isinstance(value, RateLimit):
        return f"{value.requests}/{_duration(value.per)}"
    if isinstance(value, tuple):
        return _ladder(value) if isinstance(value[0], Rung) else ", ".join(map(str, value))
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value)


def _ladder(rungs: tuple[Rung, ...]) -> str:
    levels = [f"{rung.severity.label} = {_shown(rung.below)}" for rung in rungs]
    clears = [f"{rung.severity.label} = {_shown(rung.clear)}" for rung in rungs]
    return "{ " + ", ".join([*levels, "clear = { " + ", ".join(clears) + " }"]) + " }"


def _duration(value: timedelta) -> str:
    left = int(value.total_seconds())
    parts = []
    for unit, seconds in SECONDS.items():
        if left >= seconds:
            parts.append(f"{left // seconds}{unit}")
            left %= seconds
    return "".join(parts) or "0s"
