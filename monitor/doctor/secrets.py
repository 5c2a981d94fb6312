"""Look at API keys, channel URLs, heartbeat and token: whether each can be read.  Shows none.

Who else could read one is a warning of the configuration.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from monitor.config import Settings
from monitor.config.exposure import exposure, insecure_heartbeat, is_ours
from monitor.config.secrets import Secret
from monitor.doctor.findings import Finding, ok, problem, warning
from monitor.errors import ConfigError

OTHER_USER = "run the doctor as root (sudo credit-monitor doctor) or as the service's user"


def look_at_secrets(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for every secret of the configuration, and how an address that is one travels."""
    for name in settings.with_keys:
        yield from _look(settings.keys[name], lambda name=name: settings.api_key(name))  # type: ignore[misc]
    for name in settings.channels:
        yield from _look(settings.urls[name], lambda name=name: settings.channel_url(name))  # type: ignore[misc]
    if settings.heartbeat.is_given:
        yield from _look(settings.heartbeat, settings.heartbeat_url)
    if settings.token.is_given:
        yield from _look(settings.token, settings.web_token)
    with suppress(ConfigError):  # which is a finding by now
        yield from map(caution, insecure_heartbeat(settings))


def _look(secret: Secret, read: Callable[[], str | None]) -> Iterator[Finding]:
    try:
        read()
    except ConfigError as error:
        yield problem(secret.key, error.mistakes[0].problem, _todo(secret))
        return
    if secret.path is None:
        yield ok(secret.key, f"given in {secret.place}")
    elif not is_ours(secret) or exposure(secret.path) is None:
        with suppress(OSError):
            yield ok(secret.key, f"{secret.path} is readable, mode {secret.path.stat().st_mode & 0o777:03o}")


def caution(text: str) -> Finding:
    """Return a warning of the form `setting: what; what to do`."""
    what, _, found = text.partition(": ")
    state, _, todo = found.rpartition("; ")
    return warning(what, state, todo)


def _todo(secret: Secret) -> str:
    if secret.path is None:
        return f"give it as {secret.key}_file, or as {secret.variable}"
    if is_closed_to_us(secret):
        return OTHER_USER
    return "put the secret alone, on one line, into this file"


def is_closed_to_us(secret: Secret) -> bool:
    """Return whether its file exists, or may exist, and this user may not read it."""
    if secret.path is None or os.access(secret.path, os.R_OK):
        return False
    try:
        return secret.path.exists()
    except OSError:  # not even its directory may be searched
        return True
