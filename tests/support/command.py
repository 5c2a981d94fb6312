"""The command line as a person or a program meets it: in this process, or as the real one."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wait import LONG

from monitor.cli import _exit_code

FILE = """
[database]
url = "{url}"
[poll]
deadline = "1s"
[rules]
runway = "off"
[accounts.studio]
base_url = "{vendor}"
rate_limit = "off"
[organizations.render-farm]
account = "studio"
id = "org-1"
[organizations.video]
account = "studio"
id = "org-2"
"""
DEAD = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """An empty home, a file when one was written, and an environment without anything of this machine."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: Any
    environ: dict[str, str] = field(default_factory=dict)

    def write(self, text: str, **parts: str) -> None:
        for part, value in parts.items():
            text = text.replace(f"{{{part}}}", value)
        (self.home / "config.toml").write_text(text)
        self.environ["CREDIT_MONITOR_CONFIG"] = str(self.home / "config.toml")

    def __call__(self, *arguments: str, **environ: str) -> Answer:
        """Run a command in this process; no command may ever answer with a traceback."""
        self.capsys.readouterr()
        with self.monkeypatch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in self._environ(environ).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["credit-monitor", *arguments])
            code = _exit_code()
        printed = self.capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return Answer(code, printed.out, printed.err)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own; its output goes to pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "monitor", *arguments],
            env=self._environ(environ),
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def process(self, *arguments: str, **environ: str) -> Answer:
        """Run a command as a process of its own, to its end."""
        with self.start(*arguments, **environ) as process:
            out, err = process.communicate(timeout=LONG)
        assert "Traceback" not in out + err
        return Answer(process.returncode, out, err)

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ.get("PATH", "")} | self.environ | more
