"""What works but should not stay so: secrets that others could read, here or on the wire, and settings without effect.

Every command repeats these warnings.  Nothing is read but the modes of files.
"""

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from monitor import durations
from monitor.config.fields import has_password, is_here, is_open_http
from monitor.config.problems import Mistakes
from monitor.config.schema import FileSettings, Key, Poll, Settings
from monitor.config.secrets import CREDENTIALS, Secret
from monitor.config.sources import Origin

MOUNTED: Final = ("/run/credentials/", "/run/secrets/")  # systemd and Docker say who may read these
IN_CLEAR: Final = "unencrypted; expected https://"  # as of `base_url`, where it is refused


def cautions(written: FileSettings, settings: Settings, mistakes: Mistakes) -> tuple[str, ...]:
    """Return a warning for everything that should be changed although it works."""
    return (
        *_written_secrets(all_secrets(settings)),
        *_open_files(settings, written, mistakes.origin),
        *insecure_settings(settings),
        *_idle_accounts(settings),
        *_raised_ages(written, settings),
        *_slow_checks(settings.poll, mistakes),
    )


def all_secrets(settings: Settings) -> list[Secret]:
    """Return every secret that may have a file of its own."""
    return [*settings.keys.values(), *settings.urls.values(), settings.heartbeat, settings.token]


# --- on this machine --------------------------------------------------------------------------------------------------


def _written_secrets(secrets: Iterable[Secret]) -> Iterator[str]:
    """Yield a warning for every secret that stands in the file."""
    for secret in secrets:
        if secret.value is not None and secret.line:
            where = f"{secret.place}:{secret.line}: {secret.key}"
            yield f"{where}: the secret itself stands in this file; a file of its own is safer"


def _open_files(settings: Settings, written: FileSettings, origin: Callable[[Key], Origin | None]) -> Iterator[str]:
    """Yield a warning for every file that others may change, or whose secrets they may read."""
    judged = [(f"{secret.key}: ", secret.path) for secret in all_secrets(settings) if secret.path and is_ours(secret)]
    for what, path in judged:
        if problem := exposure(path):
            yield f"{what}{path} {problem}"
    files = [path for _, path in judged]
    for name, account in settings.accounts.items():
        if account.ca_file:
            files.append(Path(account.ca_file))
            if problem := exposure(files[-1], writable_only=True):
                yield f"accounts.{name}.ca_file: {account.ca_file} {problem}"
    if settings.file:
        files.append(settings.file)
        secrets = [".".join(key) for key in _secret_keys(written) if (where := origin(key)) and where.line]
        if problem := exposure(settings.file, writable_only=not secrets):
            holds = f"holds {', '.join(secrets)} and " if secrets else ""
            yield f"{settings.file}: {holds}{problem}"
    yield from _open_directories(files)


def _secret_keys(written: FileSettings) -> Iterator[Key]:
    """Yield the settings whose values are secret, or hold a password."""
    if has_password(written.database.url):
        yield "database", "url"
    for name, account in written.accounts.items():
        yield "accounts", name, "api_key"
        if has_password(account.proxy):
            yield "accounts", name, "proxy"
    for name in written.channels:
        yield "channels", name, "url"
    yield ("heartbeat_url",)
    yield "web", "token"


def is_ours(secret: Secret) -> bool:
    """Return whether we judge who may read the file of a secret: not that of a credential."""
    return not (secret.place or "").startswith(f"${CREDENTIALS}")


def exposure(path: Path, *, writable_only: bool = False) -> str | None:
    """Return what others here may do with a file, and how to end it; None when nothing, or when it cannot be seen."""
    if str(path).startswith(MOUNTED):
        return None
    with suppress(OSError):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        if who := _who(status, stat.S_IWOTH, stat.S_IWGRP, is_secret=not writable_only):
            return f"can be changed by {who}; chmod {'go-w' if writable_only else '600'} {path}"
        if not writable_only and (who := _who(status, stat.S_IROTH, stat.S_IRGRP, is_secret=True)):
            return f"can be read by {who}; chmod 600 {path}"
    return None


def _open_directories(files: Iterable[Path]) -> Iterator[str]:
    """Yield a warning for every directory of these files in which others may put another file in the place of one."""
    seen: set[Path] = set()
    for file in files:
        if str(file).startswith(MOUNTED):
            continue
        for directory in (*file.absolute().parents, *Path(os.path.realpath(file)).parents):
            if directory in seen:
                continue
            seen.add(directory)
            with suppress(OSError):
                status = directory.stat()
                is_sticky = status.st_mode & stat.S_ISVTX
                if who := None if is_sticky else _who(status, stat.S_IWOTH, stat.S_IWGRP, is_secret=False):
                    yield f"{file}: can be replaced by {who}, who may write to {directory}; chmod go-w {directory}"


def _who(status: os.stat_result, everybody: int, group: int, *, is_secret: bool) -> str | None:
    """Return who besides its owner has one of these rights to a file or directory; None when nobody has.

    Root gives a file to a service by a group of its own; and what is no secret may have its owner's own group.
    """
    if status.st_mode & everybody:
        return "everybody here"
    if not status.st_mode & group:
        return None
    if status.st_gid != 0:
        others = _members(status.st_gid) - {status.st_uid}
        if len(others) <= (1 if status.st_uid == 0 else 0) and (status.st_uid == 0 or not is_secret):
            return None
    return f"its group ({_group_name(status.st_gid)})"


@lru_cache
def _members(group: int) -> frozenset[int]:
    """Return the users of a group, by number."""
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group}
    with suppress(KeyError):
        for name in grp.getgrgid(group).gr_mem:
            with suppress(KeyError):
                members.add(pwd.getpwnam(name).pw_uid)
    return frozenset(members)


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


# --- on the wire ------------------------------------------------------------------------------------------------------


def insecure_settings(settings: Settings) -> Iterator[str]:
    """Yield a warning for every password that a setting lets travel unencrypted, or to whoever answers."""
    yield from _unverified_database(settings.database.url)
    for name, account in settings.accounts.items():
        if account.proxy and has_password(account.proxy) and is_open_http(account.proxy) and not account.allow_http:
            allowed = "or allow_http = true, in a network you trust"
            yield f"accounts.{name}.proxy: would send the proxy's password {IN_CLEAR} ({allowed})"
    if settings.heartbeat.value and is_open_http(settings.heartbeat.value):
        yield OPEN_HEARTBEAT.format(settings.heartbeat.key)


OPEN_HEARTBEAT: Final = f"{{}}: would send its address, which is a secret, {IN_CLEAR}"


def insecure_heartbeat(settings: Settings) -> list[str]:
    """Return a warning when the heartbeat's URL, which is read for that, lets its address travel unencrypted.

    One that stands among the settings is warned about already.
    """
    url = None if settings.heartbeat.value else settings.heartbeat_url()
    return [OPEN_HEARTBEAT.format(settings.heartbeat.key)] if url and is_open_http(url) else []


def _unverified_database(url: str) -> Iterator[str]:
    """Yield a warning where PostgreSQL is on another machine, and nothing says whether it has to prove who it is."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("postgres"):
        return
    options = parse_qsl(parts.query)
    named = [value for name, value in options if name in {"host", "hostaddr"}] or [parts.netloc.rpartition("@")[2]]
    hosts = [_without_port(unquote(host)) for hosts in named for host in hosts.split(",")]
    is_elsewhere = any(host and not host.startswith(("/", "@")) and not is_here(host) for host in hosts)
    if is_elsewhere and "sslmode" not in dict(options):
        what = "without an sslmode the password, and all else, may go in clear or to whoever answers there"
        line = f"{'&' if parts.query else '?'}sslmode=verify-full&sslrootcert=system"
        yield f"database.url: {what}; write {line} at its end (or sslrootcert=FILE, for a CA of your own)"


def _without_port(place: str) -> str:
    """Return the host of `host:port`, `[::1]:port` or a host alone."""
    if place.startswith("["):
        return place[1:].partition("]")[0]
    host, colon, port = place.rpartition(":")
    return host if colon and port.isdecimal() and ":" not in host else place


# --- without effect ---------------------------------------------------------------------------------------------------


def _idle_accounts(settings: Settings) -> Iterator[str]:
    """Yield a warning for every account that watches nothing."""
    used = {organization.account for organization in settings.organizations.values()}
    for name, account in settings.accounts.items():
        if not account.organizations_all and name not in used:
            hint = f'set organizations = "all", or add an organization with account = "{name}"'
            yield f"accounts.{name}: watches nothing; {hint}"
        made = settings.description(name)
        if name not in used and made and made.command and made.asks_each:
            hint = f'its command names {{organization}}: add organizations with account = "{name}" and an id'
            yield f"accounts.{name}: watches nothing; {hint}"


def _raised_ages(written: FileSettings, settings: Settings) -> Iterator[str]:
    """Yield a note where an account is asked so seldom that `stale_after` would alarm after one late poll."""
    for name, account in settings.accounts.items():
        tables = {"rules": written.written_rules, f"accounts.{name}.rules": written.accounts[name].written_rules}
        for each, organization in written.organizations.items():
            if settings.organizations[each].account == name:
                tables[f"organizations.{each}.rules"] = organization.written_rules
        for place, table in tables.items():
            if table.stale_after and table.stale_after < 2 * account.every:
                raised = durations.write(2 * account.every)
                yield f"{place}.stale_after: is {raised} for account {name}, twice the time between its polls"


def _slow_checks(poll: Poll, mistakes: Mistakes) -> Iterator[str]:
    """Yield a warning where one organization that does not answer delays the next poll of its siblings."""
    key = ("poll", "deadline")
    if poll.deadline >= poll.every and mistakes.origin(key) and mistakes.is_sound(key):
        yield "poll.deadline: is not shorter than poll.every; a check that hangs delays the account's next poll"
