"""`python -m tests.proofs.standby [--rounds N] [--seed N] [--organizations N] [--accounts N] [--fault NAME]`."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from tests.proofs.crash.verdict import FAULTS as OF_WORDS
from tests.proofs.standby.stage import DAEMONS, Stage, open_stage
from tests.proofs.standby.strikes import STRIKES
from tests.proofs.standby.verdict import FAULTS, Verdict, weigh
from tests.support.server import Server, running_server, upgraded

# What the proof has to notice: put into the daemons, before they run, by `--fault`.
ON_PURPOSE = {
    "no-fence": (  # and a leader that does not notice that it has lost the lead: the fence alone stands against it
        "from monitor.store.lease import Lease; from monitor.daemon.leadership import Leadership; "
        "Lease.fence, Lease.drop, Leadership._is_lost; "  # a name that is gone must not make the fault none
        "Lease.fence = lambda self, tx: None; "
        "Lease.drop = lambda self: None; Leadership._is_lost = lambda self: False"
    ),
    "no-idle-limit": (
        "from monitor.store import engines, lease; engines.IDLE_LIMIT, lease._END_STALLED; engines.IDLE_LIMIT = 3600; "
        "lease._END_STALLED = lease._END_STALLED.bindparams(limit=3600)"
    ),
}


async def prove(folder: Path, server: Server, arguments: argparse.Namespace) -> Verdict:
    """Strike so often, then let calm return, and weigh what happened."""
    async with open_stage(
        folder,
        server,
        upgraded(server.new()),
        seed=arguments.seed,
        organizations=arguments.organizations,
        accounts=arguments.accounts,
        fault=ON_PURPOSE.get(arguments.fault),
    ) as stage:
        settings = stage.write_config()
        for _ in range(DAEMONS):
            await stage.start()
        await stage.everything_fetched()
        walking = asyncio.create_task(stage.walk())
        await _strike(stage, 4 * arguments.rounds)
        await stage.settle()
        walking.cancel()
        with suppress(asyncio.CancelledError):
            await walking
        codes = await stage.stop()
        verdict = weigh(stage, settings.rules)
        if any(codes):
            raise RuntimeError(f"stopped in peace, they ended with {codes}")
        _show_gaps(stage)
        return verdict


async def _strike(stage: Stage, count: int) -> None:
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(stage.random.uniform(1, 7))
        await STRIKES[number % len(STRIKES)](stage)
        hit = stage.disturbances[-1]
        took = "" if hit.takeover is None else f"another leads after {hit.takeover:.1f} s, "
        print(
            f"{time.monotonic() - began:6.0f} s  {hit.kind:26} {took}recorded again after {hit.recorded:.1f} s, "
            f"{len(stage.arrivals)} messages",
            flush=True,
        )


def run(arguments: argparse.Namespace) -> Verdict:
    folder = Path(tempfile.mkdtemp(prefix="standby-proof-"))
    with running_server() as server:
        # A server that crashes must not forget what it has confirmed.
        server.execute("ALTER SYSTEM SET synchronous_commit = on")
        server.execute("SELECT pg_reload_conf()")
        verdict = asyncio.run(prove(folder, server, arguments))
    if verdict.faults():
        print(f"the daemons' logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def _show_gaps(stage: Stage) -> None:
    print(f"\n{'seconds (median, most)':28}{'another leads':>18}{'recorded again':>18}{'between polls':>18}")
    for kind in sorted({hit.kind for hit in stage.disturbances}):
        hits = [hit for hit in stage.disturbances if hit.kind == kind]
        columns = (
            [hit.takeover for hit in hits if hit.takeover is not None],
            [hit.recorded for hit in hits],
            [gap for hit in hits for gap in hit.gaps.values()],
        )
        shown = (f"{median(them):.1f}, {max(them):.1f}" if them else "-" for them in columns)
        print(f"{kind:28}" + "".join(f"{text:>18}" for text in shown))


def show(verdict: Verdict) -> None:
    words = vars(verdict.words)
    figures = ("balances", "demanded", "notifications", "deliveries", "arrivals", "messages", *OF_WORDS)
    print()
    for name, value in (
        {k: v for k, v in vars(verdict).items() if k != "words"} | {k: words[k] for k in figures}
    ).items():
        if name == "notes":
            continue
        must = "  (must be 0)" if name in FAULTS or name in OF_WORDS else ""
        shown = (
            ", ".join(f"{n} {what}" for what, n in sorted(value.items())) if isinstance(value, dict) else f"{value:,}"
        )
        print(f"  {name.replace('_', ' '):26}{shown:>10}{must}")
    print(*(verdict.notes + verdict.words.notes)[:20], sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.proofs.standby", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of each kind: killed, stopped, cut off, restarted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--organizations", type=int, default=3000)
    parser.add_argument("--accounts", type=int, default=30)
    parser.add_argument("--fault", choices=sorted(ON_PURPOSE), help="put into the daemons; the proof has to notice it")
    verdict = run(parser.parse_args())
    show(verdict)
    faults = verdict.faults()
    print("\nproven" if not faults else f"\nFAULTS: {faults}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
