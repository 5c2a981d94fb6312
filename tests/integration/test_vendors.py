"""The real daemon with an account at each vendor of the catalogue: exact figures, messages with units, no key."""

from decimal import Decimal
from pathlib import Path
from sqlite3 import OperationalError

from odd_vendors import ODD
from vendor_stage import Stage, account_of, expected, running, settled
from vendors import CATALOGUE, REFUSALS, Vendors, echoing, key_of
from wait import until

from monitor.sandbox.loopback import Loopback, Reply
from tests.support import daemon


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


async def test_vendors_that_nobody_built_in_in_one_run_of_the_daemon(tmp_path: Path) -> None:
    served = list(ODD.values())
    server = Loopback(lambda request: Reply(body=served[int(request.path.split("/")[1])].body.encode()))
    await server.start()
    tables = [f'[database]\nurl = "sqlite:///{tmp_path}/db"\n[poll]\nevery = "2s"\n[rules]\nrunway = "off"']
    for number, (name, odd) in enumerate(ODD.items()):
        toml = odd.toml.replace("https://api.example.com/balance", f"https://api.example.com/{number}")
        tables.append(f"[providers.{name}]\n{toml.replace('providers.odd.', f'providers.{name}.')}")
        tables.append(
            f'[accounts.{name}]\nprovider = "{name}"\napi_key = "key-{number}"\nrate_limit = "off"\n'
            f'base_url = "http://127.0.0.1:{server.port}"'
        )
    (tmp_path / "config.toml").write_text("\n".join(tables))
    wanted = {
        "/".join(filter(None, [name, id_])): (None if amount is None else Decimal(amount), unit)
        for name, odd in ODD.items()
        for id_, amount, unit in odd.expect
    }
    process = await daemon.launch(tmp_path, daemon.environment({}, {}), log=tmp_path / "log")
    stage = Stage(tmp_path, Vendors())
    try:
        await until(
            lambda: found_in(stage) == wanted, why=lambda: f"{set(wanted) ^ set(found_in(stage))}\n{stage.log[-3000:]}"
        )
    finally:
        await daemon.kill(process)
        await server.stop()


def found_in(stage: Stage) -> dict[str, tuple[Decimal | None, str]]:
    try:
        return {name: row[:2] for name, row in stage.rows().items() if row[2] is None}
    except OperationalError:  # the daemon is making it
        return {}
