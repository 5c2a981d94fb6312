"""The simulated vendor as a process: prints one line with its URL, then serves until it is ended."""

import argparse
import asyncio
import sys
from pathlib import Path

from monitor.sandbox.script import read_script


async def _serve(path: Path, port: int) -> None:
    script = read_script(path)
    async with asyncio.TaskGroup() as tasks:
        await script.vendor.start(port)
        sys.stdout.write(f"{script.vendor.url}\n")
        sys.stdout.flush()
        tasks.create_task(script.play())
        await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m monitor.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--script", type=Path, required=True, help="a TOML file: keys, organizations, steps")
    arguments = parser.parse_args()
    try:
        asyncio.run(_serve(arguments.script, arguments.port))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
