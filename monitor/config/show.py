"""Every setting as it is in force, in the words of the file, for `config show`; secrets are shown as `***`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from monitor import durations
from monitor.config.schema import FileSettings, Table
from monitor.config.settings import Effective, Secret, Settings
from monitor.config.sources import Key, Origin
from monitor.config.units import FOREVER, OFF
from monitor.model import RateLimit, Rules, Rung, Severity, SpendLimit

SECRETS: Final = {
    "api_key",
    "api_key_file",
    "url",
    "url_file",
    "token",
    "token_file",
}  # of two ways the one in force is shown
UNSET: Final = {
    "organizations": "only those listed",
    "id": "the key's default",
    "notify": "every channel",
    **dict.fromkeys(("raw", "hourly", "daily"), FOREVER),
}
OPTIONAL: Final = {"proxy", "ca_file", "fallback", "fallback_after", "quiet_hours", "digest"}


def effective(tables: FileSettings, settings: Settings, origin: Callable[[Key], Origin | None]) -> Iterator[Effective]:
    """A row for every setting, in the order of the example file."""

    def row(key: Key, value: Any, given: Key | None = None) -> Effective:
        where = origin(given or key)
        return Effective(".".join(key), _shown(value), where.source if where else "default")

    def rows(place: Key, table: Table) -> Iterator[Effective]:
        return (row((*place, name), value) for name, value in _values(table))

    yield row(("timezone",), settings.timezone.key)
    yield row(("price_per_credit",), settings.price_per_credit)
    if settings.heartbeat.is_given:
        yield row(*_secret((), settings.heartbeat))
    yield row(("database", "url"), settings.database.shown_url)
    yield row(("database", "migrate"), settings.database.migrate)
    yield from rows(("poll",), tables.poll)
    yield from rows(("retention",), tables.retention)
    yield row(("web", "listen"), settings.web)
    if settings.token.is_given:
        yield row(*_secret(("web",), settings.token))
    yield row(("web", "hosts"), tables.web.hosts)
    for rule, value in _rules(settings.rules).items():
        yield row(("rules", rule), value)
    for name, account in tables.accounts.items():
        yield row(*_secret(("accounts", name), settings.keys[name]))
        yield from rows(("accounts", name), account)
    for name, organization in settings.organizations.items():
        place, table = ("organizations", name), tables.organizations[name]
        yield row((*place, "account"), organization.account)
        yield row((*place, "id"), organization.id or UNSET["id"])
        yield row((*place, "notify"), UNSET["notify"] if organization.notify is None else organization.notify)
        yield row((*place, "paused"), organization.paused)
        for rule, value in _rules(organization.rules).items():
            own = (*place, "rules", rule)
            yield row(own, value, own if rule in table.rules.model_fields_set else ("rules", rule))
    for name, channel in tables.channels.items():
        yield row(*_secret(("channels", name), settings.urls[name]))
        yield from rows(("channels", name), channel)


def _secret(place: Key, secret: Secret) -> tuple[Key, str]:
    """A key or a channel's URL, by the way it is given."""
    shown = "missing" if secret.value is None else "***"
    return (*place, secret.key.rpartition(".")[2]), str(secret.path or shown)


def _values(table: Table) -> Iterator[tuple[str, Any]]:
    """What a table says, except for what stands in it only sometimes and for what nobody may see."""
    for name, value in table:
        if name not in SECRETS and (name not in OPTIONAL or value is not None):
            yield name, "***" if name == "proxy" else UNSET.get(name) if value is None else value


def _rules(rules: Rules) -> Mapping[str, Any]:
    in_hours = (
        Rung(one.severity, timedelta(hours=float(one.below)), timedelta(hours=float(one.clear)))  # type: ignore[arg-type]
        for one in rules.runway
    )
    return {
        "credits": rules.credits or None,
        "runway": tuple(in_hours) or None,
        "stale_after": rules.stale_after,
        "confirm_checks": rules.confirm_checks,
        "spend": rules.spend,
        "remind_every": tuple(sorted(rules.remind.items())) or None,
    }


def _shown(value: Any) -> str:
    """A value as the file would have it."""
    if value is None:
        return OFF
    if isinstance(value, timedelta):
        return durations.write(value)
    if isinstance(value, Severity):
        return value.label
    if isinstance(value, RateLimit):
        return f"{value.requests}/{durations.write(value.per)}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, SpendLimit):
        clear = f", clear = {_shown(value.clear)}"
        return f"{{ credits = {_shown(value.credits)}, window = {durations.write(value.window)}{clear} }}"
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        gaps = (f"{one.label} = {' '.join(map(durations.write, those))}" for one, those in value)
        return "{ " + ", ".join(gaps) + " }"
    if isinstance(value, tuple):
        return _ladder(value) if value and isinstance(value[0], Rung) else ", ".join(value) or "none"
    return str(value)


def _ladder(rungs: tuple[Rung, ...]) -> str:
    levels = [f"{one.severity.label} = {_level(one, one.below)}" for one in reversed(rungs)]
    clears = [f"{one.severity.label} = {_level(one, one.clear)}" for one in reversed(rungs)]
    return "{ " + ", ".join([*levels, "clear = { " + ", ".join(clears) + " }"]) + " }"


def _level(rung: Rung, figure: Decimal) -> str:
    return f"{_shown(figure * 100)}%" if rung.of_top_up else _shown(figure)
