"""Requests made up from `docs/openapi.json` against a filled monitor: every answer is one that it describes."""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parents[2]
sys.path[:0] = [str(HERE / "tests/support"), str(HERE / "tests/integration/web")]

from seen import TOML, live  # noqa: E402 -- they stand beside the tests
from visitor import TOKEN, Site, settings_of  # noqa: E402

EXAMPLES = 200


async def main() -> int:
    """Fill, serve, ask."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(Path(folder), f"sqlite:///{folder}/seen.db", f'token = "{TOKEN}"', base=TOML)
        now = datetime.now(UTC)
        live(settings, now, days=10)
        async with Site(settings, now=now).serve() as site:
            command = [sys.executable, "-m", "schemathesis.cli", "run", str(HERE / "docs/openapi.json")]
            command += ["--url", f"http://127.0.0.1:{site.port}", "--header", f"Authorization: Bearer {TOKEN}"]
            command += [
                "--checks",
                "all",
                "--max-examples",
                str(EXAMPLES),
                "--seed",
                "1",
                "--no-color",
                "--workers",
                "1",
            ]
            command += ["--suppress-health-check", "all"]
            process = await asyncio.create_subprocess_exec(*command, cwd=folder)
            return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
