"""The real daemon with an account at each vendor of the catalogue: exact figures, messages with units, no key."""

from pathlib import Path

from vendor_stage import account_of, expected, running, settled
from vendors import CATALOGUE, REFUSALS, echoing, key_of
from wait import until


async def test_every_vendor_in_one_run_of_the_daemon(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await settled(stage)
        wanted = expected()
        await until(lambda: all(any(name in told.message for told in stage.received) for name in wanted))
        for name, (_, unit) in wanted.items():
            lines = [line for told in stage.received for line in told.message.splitlines() if name in line]
            assert any(f" {unit}" in line for line in lines), (name, unit, lines)

        reply = REFUSALS["401"][0]
        stage.vendors.fault = lambda name, _: echoing(reply, name)
        await until(
            lambda: set(stage.failures().values()) == {"credential_rejected"}, why=lambda: str(stage.failures())
        )
        await until(lambda: all(any(account_of(name) in t.message for t in stage.received[1:]) for name in CATALOGUE))
        seen = stage.everything()
        assert [name for name in CATALOGUE if key_of(name) in seen] == []
        assert "CANARY" not in seen
        assert stage.vendors.wrong == []
