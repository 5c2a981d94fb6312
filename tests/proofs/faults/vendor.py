"""Every fault of the simulated vendor in mid-flight, the vendor gone, and a day without it (scaled)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from functools import partial

from monitor import sandbox
from monitor.model import Failure, FailureKind, Reason, Severity
from tests.proofs.crash.script import Demand
from tests.proofs.faults.fault import BOTH, Fault
from tests.proofs.faults.world import ALL, LEAST, Options, World

Vendors = sandbox.Fault
Way = Callable[[World], AbstractAsyncContextManager[None]]

ACCESS = {Vendors.FORBIDDEN, Vendors.NOT_FOUND, Vendors.NOT_FOUND_PAGE}
SPENT = {Vendors.PAYMENT_REQUIRED, Vendors.INSUFFICIENT_BALANCE}
BALANCES = {Vendors.NEGATIVE: Decimal("-3.25"), Vendors.GZIP: Decimal("12.5")}
PAUSES = {Vendors.RATE_LIMITED: 60.0, Vendors.RATE_LIMITED_LONG: 180.0}
QUICK = {
    Vendors.SERVER_ERROR,
    Vendors.HANG,
    Vendors.NULL,
    Vendors.RESET,
    Vendors.UNAUTHORIZED,
    Vendors.PAYMENT_REQUIRED,
}


@asynccontextmanager
async def misbehaving(world: World, *, fault: Vendors) -> AsyncIterator[None]:
    """An answer from which nothing follows but that there is no balance."""
    await asyncio.sleep(world.random.uniform(0, 1))
    world.vendor.fault = fault
    try:
        yield
    finally:
        world.vendor.fault = None


@asynccontextmanager
async def answering(world: World, *, fault: Vendors, answer: Decimal | Failure) -> AsyncIterator[None]:
    """An answer from which something follows, the same for every organization: a balance, or that there is none."""
    world.holding = True
    await world.recorded(within=30)
    world.vendor.fault = fault
    for scripted in world.script:
        scripted.answers.append(answer)
    await world.answered(answer, within=30)
    yield
    for scripted in world.script:
        scripted.advance()
    world.vendor.fault = None
    world.holding = False


@asynccontextmanager
async def rejecting(world: World) -> AsyncIterator[None]:
    """A key that the vendor rejects: said once of the account, and once that it is over."""
    world.holding = True
    await world.recorded(within=30)
    world.vendor.fault = Vendors.UNAUTHORIZED
    await world.answered(Failure(FailureKind.CREDENTIAL_REJECTED, ""), within=30)
    _demand_of_account(world, Severity.CRITICAL)
    yield
    world.vendor.fault = None
    world.holding = False


@asynccontextmanager
async def away(world: World) -> AsyncIterator[None]:
    """Nothing listens where the vendor was."""
    port = world.port
    await world.vendor.stop()
    try:
        yield
    finally:
        await world.vendor.start(port)


@asynccontextmanager
async def away_for_a_day(world: World) -> AsyncIterator[None]:
    """So long that people have to know: once, and once that it is over."""
    async with away(world):
        yield
        _demand_of_account(world, Severity.WARNING)


def _demand_of_account(world: World, severity: Severity) -> None:
    heard = ALL if severity is Severity.CRITICAL else LEAST[severity]
    reasons = (Reason.OPENED, Reason.RESOLVED)
    world.demand("account", *(Demand("account", reason, severity, Decimal(0), heard) for reason in reasons))


def _way(fault: Vendors) -> Way:
    if fault is Vendors.UNAUTHORIZED:
        return rejecting
    if fault in ACCESS:
        return partial(answering, fault=fault, answer=Failure(FailureKind.ACCESS_DENIED, ""))
    if fault in SPENT:
        return partial(answering, fault=fault, answer=Failure(FailureKind.NO_CREDITS, ""))
    if fault in BALANCES:
        return partial(answering, fault=fault, answer=BALANCES[fault])
    return partial(misbehaving, fault=fault)


def _fault(fault: Vendors) -> Fault:
    way = _way(fault)
    plain = isinstance(way, partial) and way.func is misbehaving
    return Fault(
        f"vendor: {fault.value.replace('_', ' ')}",
        way,
        cause="" if fault in BALANCES else r"studio|farm-\d",
        lasts=3 if not plain else 7,  # longer than a check may take
        within=25 + PAUSES.get(fault, 0),
        combines=plain and fault not in PAUSES,
        quick=fault in QUICK,
    )


# --- all of them ------------------------------------------------------------------------------------------------------

FAULTS = [
    *map(_fault, Vendors),
    Fault("vendor: connection refused", away, "refused", lasts=5, quick=True, databases=BOTH),
    Fault(
        "vendor: down for six times `stale_after`",
        away_for_a_day,
        "refused",
        lasts=72,
        options=Options(stale_after="12s"),  # longer than a poll that fails: 5 s
        combines=False,
    ),
]
