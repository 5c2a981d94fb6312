"""`docs/vendors.md` has the vendors of the catalogue, and what it says of `providers try` is so."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from command import Shell
from render_vendors import PAGE, rendered

TEXT = PAGE.read_text()
ANSWER = '{"data": {"total_credits": 100.5, "total_usage": 25.75}}'


def test_the_table_is_that_of_the_catalogue() -> None:
    assert rendered() == TEXT, "run tests/support/render_vendors.py"


def test_its_toml_is_toml() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        tomllib.loads(block)


def test_its_walk_is_what_the_program_says(shell: Shell, tmp_path: Path) -> None:
    mine = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1]
    answer = tmp_path / "answer.json"
    answer.write_text(ANSWER)
    (walk,) = re.findall(r"```sh\n(\$ credit-monitor providers try.*?)```", TEXT, re.DOTALL)
    lines = [line for line in walk.splitlines() if not line.startswith("$")]
    shell.write(mine)
    assert shell("providers", "try", "mine", "--answer", str(answer)).err.splitlines() == lines[:1]
    shell.write(mine.replace("data.total - data.used", "data.total_credits - data.total_usage"))
    assert shell("providers", "try", "mine", "--answer", str(answer)).out.splitlines() == lines[1:]


def test_its_programs_print_balances(tmp_path: Path) -> None:
    python, shell = re.findall(r"```(?:python|sh)\n(#!.*?)```", TEXT, re.DOTALL)
    (tmp_path / "spend").write_text(python)
    (tmp_path / "vendor-cli").write_text("#!/bin/sh\n[ \"$TOKEN\" = k ] && echo 'Credit left: 12.30 EUR'\n")
    (tmp_path / "prepaid").write_text(shell.replace("/usr/bin/vendor-cli", str(tmp_path / "vendor-cli")))
    (tmp_path / "vendor-cli").chmod(0o755)
    printed = subprocess.run(["/bin/sh", tmp_path / "prepaid"], input="k\n", capture_output=True, text=True, check=True)
    assert printed.stdout == "12.30 EUR\n"
    days = {"data": [{"results": [{"amount": {"value": 1.25}}]}, {"results": [{"amount": {"value": "0.5"}}]}]}
    for status, code, out in ((200, 0, "498.25\n"), (401, 77, ""), (429, 75, ""), (500, 75, ""), (404, 1, "")):
        with serving(status, json.dumps(days).encode()) as url:
            spent = subprocess.run(
                [sys.executable, tmp_path / "spend", "proj_1"],
                input="k",
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"SPEND_API": url},
            )
        assert (spent.returncode, spent.stdout) == (code, out)


@contextmanager
def serving(status: int, body: bytes) -> Iterator[str]:
    """Answer every GET in this way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
