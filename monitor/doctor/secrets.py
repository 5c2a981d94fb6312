"""Look at API keys and channel URLs: whether each can be read, and who else can read it.  Shows none."""

import os
from collections.abc import Callable, Iterator

from monitor.config import Settings
from monitor.config.secrets import Secret, exposure
from monitor.doctor.findings import Finding, ok, problem, warning
from monitor.errors import ConfigError

OTHER_USER = "run the doctor as root (sudo credit-monitor doctor) or as the service's user"


def look_at_secrets(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for every API key and every channel's URL."""
    for name in settings.with_keys:
        yield _look(settings.keys[name], lambda name=name: settings.api_key(name))  # type: ignore[misc]
    for name in settings.channels:
        yield _look(settings.urls[name], lambda name=name: settings.channel_url(name))  # type: ignore[misc]


def _look(secret: Secret, read: Callable[[], str]) -> Finding:
    try:
        read()
    except ConfigError as error:
        return problem(secret.key, error.mistakes[0].problem, _todo(secret))
    if secret.path is None:
        return ok(secret.key, f"given in {secret.place}")
    try:
        mode = secret.path.stat().st_mode
    except OSError:
        mode = 0
    is_credential = (secret.place or "").startswith("$")
    exposed = None if is_credential else exposure(secret.path, mode)
    if exposed:
        state, _, todo = exposed.partition("; ")
        return warning(secret.key, f"{secret.path} {state}", todo)
    return ok(secret.key, f"{secret.path} is readable, mode {mode & 0o777:03o}")


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
