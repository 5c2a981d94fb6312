"""`docs/vendors.md` has the vendors of the catalogue, and what it says of `providers try` is so."""

import re
import tomllib
from pathlib import Path

from command import Shell
from render_vendors import PAGE, rendered

TEXT = PAGE.read_text()
ANSWER = '{"data": {"total_credits": 100.5, "total_usage": 25.75}}'


def test_the_table_is_that_of_the_catalogue() -> None:
    assert rendered() == TEXT, "run tests/support/render_vendors.py"


def test_its_toml_is_toml() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
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
