"""What a shell completes, and the manual page: of the commands and names that there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from monitor.cli import cli

REPOSITORY = Path(__file__).parents[2]
CONFIG = """
[accounts.studio]
[accounts.lab]
[organizations.render-farm]
account = "studio"
[organizations.archive]
account = "studio"
[channels.ops]
[channels.on-call]
"""


def completed(tmp_path: Path, *words: str) -> list[str]:
    """What bash is given for the last word; the program runs as a shell starts it."""
    file = tmp_path / "config.toml"
    if not file.exists():
        file.write_text(CONFIG)
    environ = {
        "PATH": os.environ["PATH"],
        "CREDIT_MONITOR_CONFIG": str(file),
        "_CREDIT_MONITOR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["credit-monitor", *words]),
        "COMP_CWORD": str(len(words)),
    }
    program = "import sys; sys.argv[0] = 'credit-monitor'; from monitor.cli import main; main()"
    answer = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert answer.stderr == ""
    return [line.partition(",")[2] for line in answer.stdout.split()]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["hist"], ["history"]),
        (["history", "r"], ["render-farm"]),
        (["check", "archive", ""], ["archive", "render-farm"]),
        (["notify", "o"], ["on-call", "ops"]),
        (["silence", "st"], ["studio"]),
        (["history", "--form"], ["--format"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_commands_options_and_names_are_completed(tmp_path, words, names):
    assert completed(tmp_path, *words) == names


def test_a_file_that_is_wrong_completes_nothing_and_says_nothing(tmp_path):
    (tmp_path / "config.toml").write_text("[[[")
    assert completed(tmp_path, "history", "r") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_whom_to_ask(shell, capsys):
    cli.main(["completion", shell], standalone_mode=False)
    source = capsys.readouterr().out
    assert f"_CREDIT_MONITOR_COMPLETE={shell}_complete" in source
    assert "credit-monitor" in source


def paths(group: click.Group, above: str) -> set[str]:
    context = click.Context(group)
    found = set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found.add(f"{above} {name}")
        if isinstance(command, click.Group):
            found |= paths(command, f"{above} {name}")
    return found


def test_the_manual_page_names_every_command_and_no_other():
    command = [sys.executable, REPOSITORY / "packaging/manual.py"]
    page = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    sections = {section.replace("\\-", "-") for section in re.findall(r"(?m)^\.SS (.+)$", page)}
    assert sections == paths(cli, "credit-monitor")
    assert not re.search(r"(?m)^'", page)
