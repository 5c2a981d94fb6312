"""`docs/openapi.json` describes the pages, and requests made up from it find nothing that it does not say."""

import asyncio
import json
import sys
from pathlib import Path

from story import NOON, Story
from visitor import TOKEN, Site, settings_of

from monitor import __version__

DOCUMENT = Path(__file__).parents[3] / "docs/openapi.json"
LINES = ("/healthz", "/readyz", "/metrics")
ROWS = ("status", "organizations/{name}/history", "organizations/{name}/usage", "incidents", "deliveries")


def test_the_document_names_every_page_and_this_version() -> None:
    document = json.loads(DOCUMENT.read_text())
    assert tuple(document["paths"]) == (*LINES, *(f"/api/v1/{path}" for path in ROWS))
    assert document["info"]["version"] == __version__


async def test_made_up_requests_find_no_answer_that_the_document_does_not_know(tmp_path: Path, story: Story) -> None:
    story.parts.batch.polled(1, NOON)
    await story.parts.batch.flush()
    async with Site(settings_of(tmp_path, story.url, f'token = "{TOKEN}"')).serve() as site:
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(DOCUMENT), "--checks", "all", "--seed", "1"]
        command += ["--url", f"http://127.0.0.1:{site.port}", "--header", f"Authorization: Bearer {TOKEN}"]
        command += [word for path in LINES for word in ("--include-path", path)]  # the rest: make api-proof
        command += ["--max-examples", "40", "--no-color", "--workers", "1", "--suppress-health-check", "all"]
        process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
