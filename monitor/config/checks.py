"""Whether a configuration can be used: settings against each other, files open to others, secrets that can be read.

No vendor is asked and no channel is told.
"""

import asyncio
import difflib
import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from monitor import durations
from monitor.config.exposure import all_secrets, insecure_heartbeat
from monitor.config.fields import NAME, DigestTime, is_open_http
from monitor.config.problems import Mistakes, hint
from monitor.config.rules import mistakes_in as mistakes_in_rules
from monitor.config.schema import (
    BY_NAME,
    NO_ACCOUNT_RULES,
    NO_RULES,
    Account,
    FileSettings,
    Key,
    Organization,
    Retention,
    RulesTable,
    Settings,
)
from monitor.config.secrets import open_regular
from monitor.config.sources import variable_part
from monitor.config.vendors import Vendors
from monitor.errors import ChildError, ConfigError, Mistake
from monitor.model import STABILITY, Rules
from monitor.providers.description import Description
from monitor.providers.templates import Unusable

if TYPE_CHECKING:
    from monitor.channels import Examined, Template

DAY: Final = timedelta(days=1)
NOWHERE: Final = "sqlite:////nonexistent/credit-monitor.db"  # where no folder for the database is known
LAYERS: Final = ("raw", "hourly", "daily")  # each is made of the one before it

T = TypeVar("T")
log = logging.getLogger(__name__)

# --- settings as written ----------------------------------------------------------------------------------------------


def check_written(written: FileSettings, vendors: Vendors, mistakes: Mistakes) -> None:
    """Keep the mistakes that can be seen before anything is derived."""
    _check_names(written, mistakes)
    _check_rules(("rules",), written.written_rules, written, mistakes)
    for name, account in written.accounts.items():
        _check_account(("accounts", name), account, written, vendors, mistakes)
    for name in vendors.described:
        for key, problem in vendors.problems(name):
            mistakes.add(("providers", name, *key), problem)
    for name, organization in written.organizations.items():
        _check_organization(("organizations", name), organization, written, mistakes)


def _check_account(place: Key, account: Account, written: FileSettings, vendors: Vendors, mistakes: Mistakes) -> None:
    if is_open_http(account.base_url) and not account.allow_http:
        problem = "would send the key unencrypted; expected https:// (or allow_http = true, in a network you trust)"
        mistakes.add((*place, "base_url"), problem)
    _check_rules((*place, "rules"), account.written_rules, written, mistakes)
    try:
        vendor = vendors.facts(account.provider)
    except KeyError:
        near = difflib.get_close_matches(account.provider, {STABILITY, *vendors.names()}, 1, 0.5)
        nearest = f"did you mean {near[0]}?" if near else "`credit-monitor providers` lists them"
        problem = f"names no provider; {nearest}, or describe it in [providers.{account.provider}]"
        mistakes.add((*place, "provider"), problem)
        return
    if not vendors.is_programmed(account.provider):
        _check_variables(place, account, vendors[account.provider], mistakes)
    if vendor.every_min and account.written_every and account.written_every < vendor.every_min:
        least = durations.write(vendor.every_min)
        mistakes.add((*place, "every"), f"must be at least {least}, more often {vendor.name} is not to be asked")
    if vendor.name != STABILITY and mistakes.origin((*place, "generation")):
        mistakes.add((*place, "generation"), "is Stability's alone; remove it")


def _check_variables(place: Key, account: Account, made: Description, mistakes: Mistakes) -> None:
    """Keep the mistakes in what an account has to fill in of its vendor's description."""
    if made.uses_base_url and not account.base_url:
        mistakes.add((*place, "base_url"), f"is missing: {made.name} is asked there")
    missing = sorted(made.variables - account.vars.keys() - (made.host_variables if account.base_url else set()))
    for name in missing:
        mistakes.add((*place, "vars"), f'lacks {name}, which {made.name} needs: vars = {{ {name} = "…" }}')
    for name in sorted(account.vars.keys() - made.variables):
        mistakes.add((*place, "vars", name), f"is not used by {made.name}; {hint(name, sorted(made.variables))}")
    if missing:
        return
    try:
        made.try_out(account.vars, account.base_url or None)
    except Unusable as error:
        mistakes.add((*place, "vars", error.name), str(error))


def _check_names(written: FileSettings, mistakes: Mistakes) -> None:
    for table in BY_NAME:
        names: dict[str, str] = {}
        for name in getattr(written, table):
            if not NAME.fullmatch(name):
                expected = "letters and digits with single - _ . between them, 64 at most"
                mistakes.add((table, name), f"is not a name; expected {expected}")
            other = names.setdefault(variable_part(name), name)
            if other != name:
                problem = f"differs from {other} only in case or in - _ . and a variable could not tell them apart"
                mistakes.add((table, name), problem)


def _check_rules(place: Key, table: RulesTable, written: FileSettings, mistakes: Mistakes) -> None:
    if table is NO_RULES or table is NO_ACCOUNT_RULES:
        return
    every = written.poll.every if mistakes.is_sound(("poll",)) else None
    for key, problem in mistakes_in_rules(table, every):
        mistakes.add((*place, *key), problem)


def _check_organization(place: Key, organization: Organization, written: FileSettings, mistakes: Mistakes) -> None:
    for number, channel in enumerate(organization.notify or (), start=1):
        _check_reference((*place, "notify", str(number)), channel, written, mistakes)
    _check_rules((*place, "rules"), organization.written_rules, written, mistakes)
    if organization.account or len(written.accounts) != 1:
        _check_reference((*place, "account"), organization.account, written, mistakes)


def _check_reference(key: Key, name: str, written: FileSettings, mistakes: Mistakes) -> None:
    """Keep a mistake when a name is missing (empty), or is none of the accounts or channels."""
    table = "accounts" if key[-1] == "account" else "channels"
    if name in getattr(written, table):
        return
    known = sorted(getattr(written, table))
    if not known and mistakes.is_table_wrong:
        return  # it follows from that: [account.studio] for [accounts.studio]
    what = f"names no {table[:-1]} that is configured" if name else "is missing"
    where = hint(name, known) if known else f"there is none: add [{table}.NAME]"
    mistakes.add(key, f"{what}; {where}")


# --- settings in force ------------------------------------------------------------------------------------------------


def check_in_force(written: FileSettings, settings: Settings, mistakes: Mistakes) -> None:
    """Keep the mistakes of settings against each other."""
    _check_doubles(settings, mistakes)
    rules = [settings.rules, *(organization.rules for organization in settings.organizations.values())]
    rules += [account.rules.plain for account in settings.accounts.values()]
    digests = [channel.digest for channel in settings.channels.values() if channel.digest]
    for name, problem in _retention_mistakes(settings.retention, rules, digests):
        mistakes.add(("retention", name), problem)
    if not written.database.url and settings.database.url == NOWHERE:
        where = "without $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME there is no place for a default"
        mistakes.add(("database", "url"), f"is missing, and {where}")
    for name, channel in settings.channels.items():
        key = ("channels", name, "fallback")
        if channel.fallback == name:
            mistakes.add(key, "is the channel itself; expected another one")
        elif channel.fallback is not None:
            _check_reference(key, channel.fallback, written, mistakes)
    is_open = settings.web and not settings.web.is_loopback
    knows_users = settings.web and settings.web.knows_users
    if is_open and not knows_users and not settings.token.is_given and mistakes.is_sound(("web", "token")):
        problem = "can be reached from other machines and needs web.token_file; or listen on 127.0.0.1"
        mistakes.add(("web", "listen"), problem)
    if settings.web and settings.web.user_header and not settings.web.trusted_proxies:
        problem = "needs web.trusted_proxies: from whom it is believed"
        mistakes.add(("web", "user_header"), problem)


def _check_doubles(settings: Settings, mistakes: Mistakes) -> None:
    names: dict[tuple[str, str | None], str] = {}
    for name, organization in settings.organizations.items():
        place = ("organizations", name)
        account = settings.accounts.get(organization.account)
        if account is None or not mistakes.is_sound(place):
            continue
        vendor = account.realm if organization.id else account.name
        if (other := names.setdefault((vendor, organization.id), name)) != name:
            mistakes.add(place, f"is the same organization as {other}; remove one")


def _retention_mistakes(
    retention: Retention, every: Iterable[Rules], digests: Iterable[DigestTime]
) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the retention: setting, problem.  `every` are all rules that are in force anywhere."""
    for finer, coarser in pairwise(LAYERS):
        if _is_shorter(getattr(retention, coarser), getattr(retention, finer)):
            yield coarser, f"must be at least retention.{finer}, from which it is made"
    shortest, why = max(_needs(every, digests), key=lambda need: need[0])
    if _is_shorter(retention.raw, shortest):
        yield "raw", f"must be at least {durations.write(shortest)}{why}"


def _is_shorter(age: timedelta | None, least: timedelta | None) -> bool:
    """Return whether an age is shorter than another; None is the longest."""
    return age is not None and (least is None or age < least)


def _needs(every: Iterable[Rules], digests: Iterable[DigestTime]) -> Iterator[tuple[timedelta, str]]:
    """Yield how far back single balances are read, and what for."""
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


# --- warnings of the channels -----------------------------------------------------------------------------------------


def deaf_fallbacks(settings: Settings) -> Iterator[str]:
    """Yield a warning where a channel that stands in for another one would not hear what that one hears."""
    for name, channel in settings.channels.items():
        place = f"channels.{name}.fallback"
        for fallback in (settings.channels[other] for other in settings.fallbacks(name)):
            while_it_does = f"{place}: while {fallback.name} stands in, nobody hears of"
            if fallback.min_severity > channel.min_severity:
                yield f"{while_it_does} what is below {fallback.min_severity.label} (its min_severity)"
            elif fallback.quiet_hours not in (None, channel.quiet_hours):
                yield f"{while_it_does} a warning in its quiet_hours"


def on_call_overrides(settings: Settings) -> Iterator[str]:
    """Yield a warning where the URL of an on-call service decides what would be decided for each incident.

    So would a digest be an incident there.
    """
    from monitor import channels  # noqa: PLC0415 -- who only looks at settings does not pay for it

    for name, channel in settings.channels.items():
        url = ""
        with suppress(ConfigError):  # it is a mistake of its own
            url = settings.channel_url(name)
        yield from (f"channels.{name}: {warning}" for warning in channels.on_call_overrides(url))
        if channel.digest and channels.is_on_call(url):
            yield f"channels.{name}.digest: at an on-call service it is an incident, ended at once, and may page people"


# --- before it is used ------------------------------------------------------------------------------------------------


async def mistakes_in(settings: Settings, *, template: "Template | None" = None) -> list[Mistake]:
    """Return everything that would keep a daemon of this configuration from working."""
    return (await findings_in(settings, template=template))[0]


async def findings_in(settings: Settings, *, template: "Template | None" = None) -> tuple[list[Mistake], list[str]]:
    """Return everything that would keep a daemon of this configuration from working, and what should be known of it."""
    require_accounts(settings)
    mistakes, warnings = channel_findings(settings, await examine_channels(settings, template))
    in_files, of_heartbeat = await in_thread(lambda: _look_into_files(settings))
    return [*in_files, *mistakes], [*of_heartbeat, *warnings]


def _look_into_files(settings: Settings) -> tuple[list[Mistake], list[str]]:
    """Return what is wrong with the files that settings name, and warnings; they may hang: the event loop must not."""
    mistakes, warnings = [*secret_mistakes(settings), *certificate_mistakes(settings)], list[str]()
    with suppress(ConfigError):  # which is one of the mistakes
        warnings = insecure_heartbeat(settings)
    return mistakes, warnings


async def all_findings_in(settings: Settings, found: Sequence[Mistake]) -> tuple[list[Mistake], list[str]]:
    """Return the mistakes found while the settings were loaded and those that only using them would show; warnings.

    What follows from one that is known is left out.
    """
    mistakes = list(found)
    if not any("." not in mistake.key or mistake.key.startswith("accounts.") for mistake in found):
        mistakes += account_mistakes(settings)
    later, warnings = await in_thread(lambda: _look_into_files(settings))
    try:
        of_channels, more = channel_findings(settings, await examine_channels(settings))
        later, warnings = [*later, *of_channels], [*warnings, *more]
    except ChildError:
        if not mistakes and not later:  # trouble of the machine hides no mistake
            raise
    mistakes += [mistake for mistake in later if not any(_may_follow(mistake, known) for known in found)]
    return sorted(mistakes, key=lambda mistake: (mistake.file or "", mistake.line or 0)), warnings


def _may_follow(mistake: Mistake, known: Mistake) -> bool:
    """Return whether a mistake is of the same setting, of one inside it, or of one that may be misspelt beside it."""
    if f"{mistake.key}.".startswith(f"{known.key}."):
        return True
    tables = {one.key.rpartition(".")[0] for one in (mistake, known)}
    return known.problem.startswith("unknown setting") and len(tables) == 1


async def replacement(reread: Callable[[], Settings], current: Settings, template: "Template") -> Settings:
    """Return what a daemon that runs with `current` is to go on with, its secrets read; raise `ConfigError`."""
    settings = await in_thread(reread)
    if mistakes := [*_fixed(current, settings), *await mistakes_in(settings, template=template)]:
        raise ConfigError(mistakes)
    for warning in settings.warnings:
        log.warning("%s", warning)
    return await in_thread(lambda: _with_read(settings))


async def in_thread(work: Callable[[], T]) -> T:
    """Return the result of something that may block, from a daemon thread: when it hangs, no exit waits for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def give(take: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if future.cancelled() else take())

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 -- it is raised where the result is waited for
            raised = error
            give(lambda: future.set_exception(raised))
        else:
            give(lambda: future.set_result(result))

    threading.Thread(target=run, daemon=True).start()
    return await future


def _fixed(current: Settings, settings: Settings) -> list[Mistake]:
    """Return what a daemon cannot change while it holds its database."""
    names = ("url", "migrate")
    changed = [name for name in names if getattr(current.database, name) != getattr(settings.database, name)]
    file = str(settings.file) if settings.file else None
    return [Mistake(f"database.{name}", "cannot change in a reload; restart the daemon", file) for name in changed]


def hold_secrets(settings: Settings) -> None:
    """Read every secret that can be read, also those that a command does not use: what is read is redacted."""
    for secret in all_secrets(settings):
        with suppress(ConfigError):
            secret.read()


def with_secrets(settings: Settings) -> Settings:
    """Return the same with every key and URL read, so that none is missing later; raise `ConfigError`."""
    if mistakes := secret_mistakes(settings):
        raise ConfigError(mistakes)
    return _with_read(settings)


def _with_read(settings: Settings) -> Settings:
    keys = {name: replace(secret, proven=True) for name, secret in settings.keys.items()}
    settings = settings.model_copy(update={"keys": keys})
    return settings.model_copy(
        update={
            "keys": {
                name: replace(secret, value=settings.api_key(name)) if name in settings.with_keys else secret
                for name, secret in keys.items()
            },
            "urls": {name: replace(secret, value=settings.channel_url(name)) for name, secret in settings.urls.items()},
            "heartbeat": replace(settings.heartbeat, value=settings.heartbeat_url()),
            "token": replace(settings.token, value=settings.web_token()),
        }
    )


def require_accounts(settings: Settings) -> None:
    """Raise `ConfigError` when there is nobody to ask."""
    if mistakes := account_mistakes(settings):
        raise ConfigError(mistakes)


def account_mistakes(settings: Settings) -> list[Mistake]:
    """Return a mistake that says how to begin when there is nobody to ask."""
    if settings.accounts:
        return []
    if settings.file is None:
        hint = "set STABILITY_API_KEY, or begin a file with `credit-monitor config init`"
        return [Mistake("accounts", f"there is none: {hint}")]
    hint = 'begin with [accounts.NAME], api_key_file = "…" and organizations = "all", or set STABILITY_API_KEY'
    return [Mistake("accounts", f"there is none: {hint}", str(settings.file))]


def secret_mistakes(settings: Settings) -> list[Mistake]:
    """Return a mistake for every key, every channel's URL and every other secret that cannot be had."""
    mistakes: list[Mistake] = []
    reads: list[Callable[[], object]] = [partial(settings.api_key, name) for name in settings.with_keys]
    reads += [partial(settings.channel_url, name) for name in settings.channels]
    for read in (*reads, settings.heartbeat_url, settings.web_token):
        try:
            read()
        except ConfigError as error:
            mistakes += error.mistakes
    return mistakes


def certificate_mistakes(settings: Settings) -> list[Mistake]:
    """Return a mistake for every `ca_file` that cannot be used."""
    mistakes = []
    for name, account in settings.accounts.items():
        try:
            if account.ca_file:
                open_regular(Path(account.ca_file)).close()
                ssl.create_default_context(cafile=account.ca_file)
        except (OSError, ValueError):
            problem = f"{account.ca_file}: cannot be read as certificates in PEM form"
            mistakes.append(Mistake(f"accounts.{name}.ca_file", problem, str(settings.file or "environment")))
    return mistakes


async def channel_mistakes(settings: Settings, template: "Template | None" = None) -> list[Mistake]:
    """Return a mistake for every URL that Apprise does not take; one that is unreadable is a secret's mistake.

    Raise `ChildError` when the machine is in trouble, which is nobody's mistake.
    """
    return channel_findings(settings, await examine_channels(settings, template))[0]


async def examine_channels(settings: Settings, template: "Template | None" = None) -> "dict[str, Examined]":
    """Return what Apprise says of every channel's URL that can be read; raise `ChildError` as above."""
    from monitor import channels  # noqa: PLC0415 -- who only looks at settings does not pay for it

    return await channels.examine(_readable_urls(settings), template=template)


def _readable_urls(settings: Settings) -> dict[str, str]:
    urls: dict[str, str] = {}
    for name in settings.channels:
        with suppress(ConfigError):
            urls[name] = settings.channel_url(name)
    return urls


async def insecure_secrets(settings: Settings, *, template: "Template | None" = None) -> list[str]:
    """Return a warning for every secret URL that can be read and lets others read or change what is sent.

    Apprise is asked only of those that may.  Raise `ChildError` as above.
    """
    from monitor import channels  # noqa: PLC0415 -- likewise

    warnings: list[str] = []
    with suppress(ConfigError):
        warnings += insecure_heartbeat(settings)
    doubtful = {name: url for name, url in _readable_urls(settings).items() if channels.may_be_insecure(url)}
    examined = await channels.examine(doubtful, template=template)
    return warnings + _insecure_channels(settings, examined)


def _insecure_channels(settings: Settings, examined: "Mapping[str, Examined]") -> list[str]:
    return [
        f"{settings.urls[name].key}: {found.insecure}"
        for name, found in examined.items()
        if found.insecure and not settings.channels[name].allow_insecure
    ]


def channel_findings(settings: Settings, examined: "Mapping[str, Examined]") -> tuple[list[Mistake], list[str]]:
    """Return the mistakes in the channels' URLs, and warnings."""
    mistakes: list[Mistake] = []
    warnings: list[str] = []
    for name, found in examined.items():
        secret = settings.urls[name]
        if found.error is not None:
            mistakes += secret.wrong(found.error).mistakes
        warnings += [f"{secret.key}: {caution}" for caution in found.cautions]
        if settings.channels[name].top_ups and found.pages:
            warnings.append(f"channels.{name}.top_ups: has no effect: nobody is paged for a top-up; leave it out")
    return mistakes, [*warnings, *_insecure_channels(settings, examined)]
