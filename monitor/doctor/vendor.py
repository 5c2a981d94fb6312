"""Look at the vendor: ask it with each account's key, and compare its clock with ours.

Its own words about a key are not repeated.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from monitor import app
from monitor.check import seen_by
from monitor.config import Settings
from monitor.config.checks import in_thread
from monitor.doctor.findings import Finding, look, ok, problem, warning
from monitor.doctor.secrets import OTHER_USER, is_closed_to_us
from monitor.errors import ConfigError, CredentialRejected, FetchError, RateLimited
from monitor.model import FailureKind, VendorOrganization
from monitor.providers import Provider, open_provider

Clock = Callable[[], datetime]
DEADLINE: Final = timedelta(seconds=5)  # a person waits
ACCOUNTS_AT_ONCE: Final = 32
SKEW: Final = timedelta(seconds=60)
TODO: Final = {
    FailureKind.UNAVAILABLE: "see whether this machine reaches the vendor (network, proxy, ca_file, base_url)",
    FailureKind.RATE_LIMITED: "try again in a minute; another program may use this key",
    FailureKind.CREDENTIAL_REJECTED: "renew the key at the vendor, and put the new one where the account reads it",
    FailureKind.ACCESS_DENIED: "see that base_url and generation are right, and what the key may see",
    FailureKind.NO_CREDITS: "buy credits at the vendor",
    FailureKind.UNEXPECTED_ANSWER: "see that base_url is the vendor's, and generation the right one",
}
NOTHING_TODO: Final = "see at the vendor to which organization the key belongs"
UNUSABLE_TODO: Final = "ask the vendor about this id; the other organizations are watched"


async def look_at_vendor(settings: Settings, *, clock: Clock) -> list[Finding]:
    """Return findings for every account, for organizations that its key does not see, and one for the clock."""
    skews: list[timedelta] = []
    gate = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

    async def ask(name: str) -> list[Finding]:
        async with gate:
            return await look(f"account {name}", _ask(settings, name, clock, skews))

    by_account = await asyncio.gather(*map(ask, settings.accounts))
    return [*chain.from_iterable(by_account), _look_at_clock(skews)]


async def _ask(settings: Settings, name: str, clock: Clock, skews: list[timedelta]) -> list[Finding]:
    what = f"account {name}"
    try:
        access = await in_thread(lambda: app.access(settings, name))
        provider = open_provider(replace(access, deadline=min(access.deadline, DEADLINE)))
    except ConfigError as error:
        todo = OTHER_USER if is_closed_to_us(settings.keys[name]) else "mend that first"
        return [problem(what, f"was not asked: {error.mistakes[0].key} cannot be used", todo)]
    try:
        seen = await seen_by(provider, settings, name)
    except FetchError as error:
        return [_failure(what, error, settings.accounts[name].vendor.key_help)]
    finally:
        skews += _skew(provider, clock)
        await provider.aclose()
    where = access.base_url or settings.accounts[name].provider
    said = f"{where} {'takes the key; it sees' if access.api_key else 'answers with'} {_count(seen.organizations)}"
    return [
        ok(what, said) if seen.organizations else warning(what, f"{said}: nothing of it is watched", NOTHING_TODO),
        *_unseen(settings, name, seen.organizations),
        *(warning(what, f"cannot be watched: {line}", UNUSABLE_TODO) for line in seen.unusable),
    ]


def _failure(what: str, error: FetchError, key_help: str) -> Finding:
    text = str(error)
    if isinstance(error, CredentialRejected):
        text = f"the vendor rejects the key{f' (HTTP {error.status})' if error.status else ''}"
        text += f"; it takes {key_help}" if key_help else ""
    state = warning if isinstance(error, RateLimited) else problem
    return state(what, text, TODO[error.kind])


def _count(organizations: tuple[VendorOrganization, ...]) -> str:
    return f"{len(organizations)} organization{'' if len(organizations) == 1 else 's'}"


def _unseen(settings: Settings, account: str, listed: tuple[VendorOrganization, ...]) -> Iterator[Finding]:
    """Yield a finding for every configured organization that the key does not list."""
    ids = {organization.id for organization in listed}
    for organization in settings.organizations.values():
        if organization.account == account and organization.id is not None and organization.id not in ids:
            todo = f"see that its id is right (`credit-monitor organizations`), or that the key of {account} may see it"
            yield warning(f"organization {organization.name}", f"the key of account {account} does not see it", todo)


def _skew(provider: Provider, clock: Clock) -> list[timedelta]:
    vendor_time = provider.vendor_time()
    return [clock() - vendor_time] if vendor_time else []


def _look_at_clock(skews: list[timedelta]) -> Finding:
    if not skews:
        return ok("clock", "was not compared: no vendor told the time")
    skew = min(skews, key=abs)  # one vendor whose clock is wrong does not make ours so
    seconds = abs(skew.total_seconds())
    if abs(skew) <= SKEW:
        return ok("clock", f"within {max(seconds, 1):.0f} s of the vendor's")
    direction = "ahead of" if skew > timedelta(0) else "behind"
    return warning("clock", f"{seconds:,.0f} s {direction} the vendor's", "set the clock: timedatectl set-ntp true")
