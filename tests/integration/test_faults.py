"""The fault suite in small, against the real process: `make faults` has all of it, on both databases."""

import pytest

from monitor.sandbox import Fault as Vendors
from tests.proofs.faults.fault import Fault
from tests.proofs.faults.suite import FAULTS, combined, run

NAMED = {fault.name: fault for fault in FAULTS}
TOGETHER = (
    ("vendor: null", "receivers: down", "clock: five hours forward, and back"),
    ("vendor: connection refused", "SQLite: disk full", "vendor: reset"),
    ("no descriptors left", "vendor: server error", "receivers: refuse (503)"),
    ("SIGTERM at random instants", "SIGKILL at random instants", "vendor: upstream text"),
)


def briefly(number: int, names: tuple[str, ...]) -> Fault:
    """Some faults at the same time, and none of them for long."""
    parts = [Fault(**{**vars(NAMED[name]), "lasts": min(NAMED[name].lasts, 3)}) for name in names]
    return combined(parts, seed=number)


async def test_a_dozen_faults_in_combination_lose_and_invent_nothing_and_leave_nothing_behind():
    faults = [briefly(number, names) for number, names in enumerate(TOGETHER)]
    rows = [row async for row in run(faults, "sqlite", seed=7)]
    assert {row.name: row.problems for row in rows if row.problems} == {}
    if reasons := [row.cannot for row in rows if row.cannot]:
        pytest.skip(reasons[0])
    assert sum(row.demanded for row in rows) > 10


def test_the_suite_brings_about_every_fault_of_the_simulated_vendor():
    assert {f"vendor: {one.value.replace('_', ' ')}" for one in Vendors} <= NAMED.keys()
    assert len(NAMED) == len(FAULTS)
