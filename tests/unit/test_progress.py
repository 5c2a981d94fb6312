"""The daemon's sign of life, and what a container's health check makes of it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor.cli.healthy import healthy
from monitor.daemon import progress
from monitor.daemon.progress import ProgressFile, last_progress
from monitor.daemon.systemd import ServiceManager

MINUTE = 60


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(progress, "TEMPORARY", folder)
    return folder


def folder(tmp_path: Path, name: str) -> str:
    (tmp_path / name).mkdir(parents=True)
    return str(tmp_path / name)


def test_it_is_in_the_first_place_that_can_be_written(tmp_path, temporary):
    state, runtime = folder(tmp_path, "state"), folder(tmp_path, "run")
    own = temporary / f"credit-monitor-{os.geteuid()}.progress"
    for environ, path in (
        ({"RUNTIME_DIRECTORY": f"{runtime}:/other", "STATE_DIRECTORY": state}, f"{runtime}/progress"),
        ({"RUNTIME_DIRECTORY": f"{tmp_path}/gone", "STATE_DIRECTORY": state}, f"{state}/progress"),
        ({"XDG_STATE_HOME": str(tmp_path / "home")}, str(own)),  # there is none: the daemon has its database elsewhere
        ({}, str(own)),
    ):
        file = ProgressFile(environ)
        file.touch()
        found = last_progress(environ)
        assert found is not None
        assert str(found[0]) == path
        file.remove()
        assert last_progress(environ) is None


def test_a_state_directory_in_a_home_is_a_place(tmp_path):
    home = folder(tmp_path, ".local/state/credit-monitor")
    ProgressFile({"HOME": str(tmp_path)}).touch()
    assert [path.name for path in Path(home).iterdir()] == ["progress"]


@pytest.mark.parametrize(
    ("age", "code", "words"),
    [
        (0, 0, "healthy: a sign of life 0 s ago"),
        (MINUTE - 10, 0, "healthy: a sign of life 5"),
        (MINUTE + 1, 1, " s old"),
        (-2 * MINUTE, 1, "the clock was set back"),
        (None, 1, "no daemon has given a sign of life (no "),
    ],
)
def test_older_than_a_minute_is_not_healthy(tmp_path, monkeypatch, capsys, age, code, words):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if age is not None:
        ProgressFile(os.environ).touch()
        then = time.time() - age
        os.utime(tmp_path / "progress", (then, then))
    assert healthy.main([], standalone_mode=False) == code
    assert words in capsys.readouterr().out


def test_a_link_in_its_place_is_left_alone(temporary, tmp_path):
    target = tmp_path / "target"
    (temporary / f"credit-monitor-{os.geteuid()}.progress").symlink_to(target)
    ProgressFile({}).touch()
    assert not target.exists()
    assert last_progress({}) is None


def test_the_daemon_gives_signs_until_it_ends(tmp_path):
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    manager = ServiceManager(environ)
    manager.alive()
    assert (tmp_path / "progress").exists()
    manager.ended()
    assert last_progress(environ) is None


def test_it_imports_no_library_but_that_of_the_command_line():
    """What it takes beyond `--version` is a look at three files."""
    program = (
        "import sys; from monitor.cli import cli; before = set(sys.modules); "
        "cli.main(['healthy'], standalone_mode=False); "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    environ = {"PATH": os.environ["PATH"], "STATE_DIRECTORY": "/nowhere"}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=True)
    loaded = set(answer.stdout.splitlines()[-1].split())
    assert loaded <= sys.stdlib_module_names, loaded - sys.stdlib_module_names
