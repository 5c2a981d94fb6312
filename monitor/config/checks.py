"""Whether a configuration can be used: somebody to ask, secrets that can be read, certificates and URLs that are some.

Refuses to ask a vendor and to tell a channel.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from monitor import channels
from monitor.config import Settings
from monitor.errors import ConfigError, Mistake

log = logging.getLogger(__name__)


async def mistakes_in(settings: Settings) -> list[Mistake]:
    """Everything that would keep a daemon of this configuration from working."""
    require_accounts(settings)
    return [*secret_mistakes(settings), *certificate_mistakes(settings), *await channel_mistakes(settings)]


async def replacement(reread: Callable[[], Settings], current: Settings) -> Settings:
    """What a daemon that runs with `current` is to go on with, its secrets read; `ConfigError` when it cannot."""
    settings = await asyncio.to_thread(reread)
    if mistakes := [*_fixed(current, settings), *await mistakes_in(settings)]:
        raise ConfigError(mistakes)
    for warning in settings.warnings:
        log.warning("%s", warning)
    return _with_read(settings)


def _fixed(current: Settings, settings: Settings) -> list[Mistake]:
    """What a daemon cannot change while it holds its database."""
    names = ("url", "migrate")
    changed = [one for one in names if getattr(current.database, one) != getattr(settings.database, one)]
    file = str(settings.file) if settings.file else None
    return [Mistake(f"database.{one}", "cannot change in a reload; restart the daemon", file) for one in changed]


def with_secrets(settings: Settings) -> Settings:
    """The same with every key and URL read, so that none is missing later; `ConfigError` names each that is."""
    if mistakes := secret_mistakes(settings):
        raise ConfigError(mistakes)
    return _with_read(settings)


def _with_read(settings: Settings) -> Settings:
    settings = replace(settings, keys={name: replace(one, proven=True) for name, one in settings.keys.items()})
    keys = {name: replace(secret, value=settings.api_key(name)) for name, secret in settings.keys.items()}
    urls = {name: replace(secret, value=settings.channel_url(name)) for name, secret in settings.urls.items()}
    heartbeat = replace(settings.heartbeat, value=settings.heartbeat_url())
    token = replace(settings.token, value=settings.web_token())
    return replace(settings, keys=keys, urls=urls, heartbeat=heartbeat, token=token)


def require_accounts(settings: Settings) -> None:
    """`ConfigError` when there is nobody to ask."""
    if not settings.accounts:
        if settings.file is None:
            hint = "set STABILITY_API_KEY, or begin a file with `credit-monitor config init`"
            raise ConfigError([Mistake("accounts", f"there is none: {hint}")])
        hint = "add [accounts.NAME] with api_key_file, or set STABILITY_API_KEY"
        raise ConfigError([Mistake("accounts", f"there is none: {hint}", str(settings.file))])


def secret_mistakes(settings: Settings) -> list[Mistake]:
    """Every key, every channel's URL and every other secret that cannot be had."""
    mistakes: list[Mistake] = []
    reads: list[Callable[[], object]] = [partial(settings.api_key, name) for name in settings.accounts]
    reads += [partial(settings.channel_url, name) for name in settings.channels]
    for read in (*reads, settings.heartbeat_url, settings.web_token):
        try:
            read()
        except ConfigError as error:
            mistakes += error.mistakes
    return mistakes


def certificate_mistakes(settings: Settings) -> list[Mistake]:
    """Every `ca_file` that cannot be used."""
    mistakes = []
    for name, account in settings.accounts.items():
        try:
            if account.ca_file:
                ssl.create_default_context(cafile=account.ca_file)
        except (OSError, ValueError):
            problem = f"{account.ca_file}: cannot be read as certificates in PEM form"
            mistakes.append(Mistake(f"accounts.{name}.ca_file", problem, str(settings.file or "environment")))
    return mistakes


async def channel_mistakes(settings: Settings) -> list[Mistake]:
    """Every channel whose URL Apprise does not take; one that cannot be read is among the `secret_mistakes`."""
    urls: dict[str, str] = {}
    for name in settings.channels:
        with suppress(ConfigError):
            urls[name] = settings.channel_url(name)
    wrong = await channels.verify(urls)
    return [mistake for name, problem in wrong.items() for mistake in settings.urls[name].wrong(problem).mistakes]
