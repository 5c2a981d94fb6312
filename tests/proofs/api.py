"""Requests made up from `docs/openapi.json` against a filled monitor: every answer is one that it describes."""

import asyncio
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parents[2]
sys.path[:0] = [str(HERE / "tests/support"), str(HERE / "tests/integration/web")]

from seen import TOML, live  # noqa: E402 -- they stand beside the tests
from visitor import TOKEN, Site, settings_of  # noqa: E402

EXAMPLES = 200


# What a schema cannot say: which organizations there are, and which time zones.
KNOWN = {
    "name": ["lab", "deepseek/CNY", "research"],
    "tz": ["Europe/Berlin", "Asia/Kolkata"],
    "every": ["1h", "90m", "1d", "1w"],
}


def _narrowed(folder: str) -> str:
    """Write the document with names that are there, and return its path."""
    document = json.loads((HERE / "docs/openapi.json").read_text())
    for name, values in KNOWN.items():
        document["components"]["parameters"][name]["schema"] = {"enum": values}
    path = Path(folder) / "openapi.json"
    path.write_text(json.dumps(document))
    return str(path)


async def main() -> int:
    """Fill, serve, ask."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(Path(folder), f"sqlite:///{folder}/seen.db", f'token = "{TOKEN}"', base=TOML)
        now = datetime.now(UTC)
        live(settings, now, days=10)
        async with Site(settings, now=now).serve() as site:
            command = [sys.executable, "-m", "schemathesis.cli", "run", _narrowed(folder)]
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
