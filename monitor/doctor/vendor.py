"""Asks the vendor with each account's key, and compares its clock with ours.

Refuses to repeat what the vendor says of a key: the sentences are ours.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from monitor import app
from monitor.config import Settings
from monitor.doctor.findings import Finding, apart, look, ok, problem, warning
from monitor.doctor.secrets import OTHER_USER, is_closed_to_us
from monitor.errors import ConfigError, CredentialRejected, FetchError, RateLimited
from monitor.model import FailureKind, VendorOrganization
from monitor.providers import Provider, open_provider

Clock = Callable[[], datetime]
DEADLINE: Final = timedelta(seconds=5)  # a person waits
AT_ONCE: Final = 32  # accounts
SKEW: Final = timedelta(seconds=60)
TODO: Final = {
    FailureKind.UNAVAILABLE: "see whether this machine reaches the vendor (network, proxy, ca_file, base_url)",
    FailureKind.RATE_LIMITED: "try again in a minute; another program may use this key",
    FailureKind.CREDENTIAL_REJECTED: "renew the key at the vendor, and put the new one where the account reads it",
    FailureKind.ACCESS_DENIED: "see that base_url and generation are right, and what the key may see",
    FailureKind.NO_CREDITS: "buy credits at the vendor",
    FailureKind.UNEXPECTED_ANSWER: "see that base_url is the vendor's, and generation the right one",
}


async def look_at_vendor(settings: Settings, *, clock: Clock) -> list[Finding]:
    """A finding for every account, some for what its key does not see, and one for the clock."""
    skews: list[timedelta] = []
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(name: str) -> list[Finding]:
        async with gate:
            return await look(f"account {name}", _ask(settings, name, clock, skews))

    found = [finding for some in await asyncio.gather(*map(ask, settings.accounts)) for finding in some]
    return [*found, *_clock(skews)]


async def _ask(settings: Settings, name: str, clock: Clock, skews: list[timedelta]) -> list[Finding]:
    what = f"account {name}"
    try:
        access = await apart(lambda: app.access(settings, name))
        provider = open_provider(replace(access, deadline=min(access.deadline, DEADLINE)))
    except ConfigError as error:
        todo = OTHER_USER if is_closed_to_us(settings.keys[name]) else "mend that first"
        return [problem(what, f"was not asked: {error.mistakes[0].key} cannot be used", todo)]
    try:
        seen = await provider.fetch_organizations()
    except FetchError as error:
        return [_refused(what, error)]
    finally:
        skews += _skew(provider, clock)
        await provider.aclose()
    return [ok(what, f"{access.base_url} takes the key; it sees {_count(seen)}"), *_unseen(settings, name, seen)]


def _refused(what: str, error: FetchError) -> Finding:
    said = f"the vendor rejects the key (HTTP {error.status})" if isinstance(error, CredentialRejected) else str(error)
    state = warning if isinstance(error, RateLimited) else problem
    return state(what, said, TODO[error.kind])


def _count(seen: tuple[VendorOrganization, ...]) -> str:
    return f"{len(seen)} organization{'' if len(seen) == 1 else 's'}"


def _unseen(settings: Settings, account: str, seen: tuple[VendorOrganization, ...]) -> Iterator[Finding]:
    """Organizations of the file that this key does not list."""
    ids = {one.id for one in seen}
    for one in settings.organizations.values():
        if one.account == account and one.id is not None and one.id not in ids:
            todo = f"see that its id is right (`credit-monitor organizations`), or that the key of {account} may see it"
            yield warning(f"organization {one.name}", f"the key of account {account} does not see it", todo)


def _skew(provider: Provider, clock: Clock) -> list[timedelta]:
    theirs = provider.vendor_time()
    return [clock() - theirs] if theirs else []


def _clock(skews: list[timedelta]) -> list[Finding]:
    if not skews:
        return [ok("clock", "was not compared: no vendor told the time")]
    skew = min(skews, key=abs)  # one vendor whose clock is wrong does not make ours so
    seconds = abs(skew.total_seconds())
    if abs(skew) <= SKEW:
        return [ok("clock", f"within {max(seconds, 1):.0f} s of the vendor's")]
    way = "ahead of" if skew > timedelta(0) else "behind"
    return [warning("clock", f"{seconds:,.0f} s {way} the vendor's", "set the clock: timedatectl set-ntp true")]
