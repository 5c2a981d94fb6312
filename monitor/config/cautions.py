"""What works but should not stay so: each a warning that every command repeats, with its mend.

Refuses to refuse: what cannot work at all is a mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from monitor.config.schema import FileSettings, PollTable
from monitor.config.secrets import exposure
from monitor.config.settings import Account, Organization, Secret
from monitor.config.sources import Key, Origin


def open_secrets(secrets: Iterable[Secret]) -> list[str]:
    """A warning for every secret that stands in the file."""
    return [
        f"{one.place}:{one.line}: {one.key}: the secret itself stands in this file; a file of its own is safer"
        for one in secrets
        if one.value is not None and one.line
    ]


def open_file(file: Path | None, tables: FileSettings, origin: Callable[[Key], Origin | None]) -> list[str]:
    """A warning when everybody may change the file, or read the secrets in it."""
    if file is None:
        return []
    held = [".".join(key) for key in _secret_keys(tables) if (found := origin(key)) and found.line]
    try:
        problem = exposure(file, file.stat().st_mode, writable_only=not held)
    except OSError:
        return []
    holds = f"holds {', '.join(held)} and " if held else ""
    return [f"{file}: {holds}{problem}"] if problem else []


def _secret_keys(tables: FileSettings) -> Iterator[Key]:
    """The settings whose values are secret, or hold a password."""
    if has_password(tables.database.url):
        yield "database", "url"
    for name, account in tables.accounts.items():
        yield "accounts", name, "api_key"
        if has_password(account.proxy):
            yield "accounts", name, "proxy"
    for name in tables.channels:
        yield "channels", name, "url"
    yield ("heartbeat_url",)
    yield "web", "token"


def has_password(url: str | None) -> bool:
    """Whether a password stands in a URL."""
    parts = urlsplit(url or "")
    return ":" in parts.netloc.rpartition("@")[0] or "password" in parts.query.lower()


def slow_checks(poll: PollTable) -> list[str]:
    """A warning where one organization that does not answer delays the next poll of its siblings."""
    if poll.deadline < poll.every or "deadline" not in poll.model_fields_set:
        return []
    return ["poll.deadline: is not shorter than poll.every; a check that hangs delays the account's next poll"]


def idle_accounts(accounts: Mapping[str, Account], organizations: Mapping[str, Organization]) -> list[str]:
    """A warning for every account that watches nothing."""
    used = {one.account for one in organizations.values()}
    return [
        f'accounts.{name}: watches nothing; set organizations = "all", or add an organization with account = "{name}"'
        for name, account in accounts.items()
        if not account.organizations_all and name not in used
    ]
