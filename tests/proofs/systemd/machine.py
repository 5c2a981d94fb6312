"""A Debian with a real systemd, booted in a container without a network; needs root.

Each machine is a copy of a tree that is kept, and is thrown away.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Self

from tests.proofs.debian import CACHE, CHECKOUT, REPOSITORY, CannotRun, copy_tree

PYTHONS = {12: "3.11", 13: "3.13"}  # each release's own
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
TOOLS = {"nsenter": "util-linux"}
WHEELS = "/root/wheels"
BOOT = 90  # seconds
UP = {"running", "degraded"}


def wheels(python: str) -> Path:
    """Every pinned dependency of the daemon and of its build, as wheels, for a pip without a network."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["postgres"],
        *project["build-system"]["requires"],
    ]
    pins = REPOSITORY / "constraints.txt"
    name = sha256("\n".join([*wanted, python, pins.read_text()]).encode()).hexdigest()[:12]
    folder, part = CACHE / f"wheels-{name}", CACHE / f"wheels-{name}.part"
    if folder.exists():
        return folder
    pip = [sys.executable, "-m", "pip", "download", "--quiet", f"--python-version={python}", "--only-binary=:all:"]
    got = subprocess.run([*pip, "-c", pins, "-d", part, *wanted], capture_output=True, text=True, check=False)
    if got.returncode:
        raise CannotRun(f"the wheels cannot be had: {got.stderr.strip().splitlines()[-1]}")
    return part.rename(folder)


class Machine:
    """One booted copy; use as a context."""

    def __init__(self, release: int) -> None:
        self._release = release
        self._folder = Path(tempfile.mkdtemp(prefix="credit-monitor-systemd-"))
        self.root = self._folder / "tree"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            copy_tree(self._release, PACKAGES, self.root)
            shutil.copytree(wheels(PYTHONS[self._release]), self._inside(WHEELS))
            (self.root / "var/log/journal").mkdir(exist_ok=True)  # kept over a reboot
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._nspawn and self._nspawn.poll() is None:
            self.run("systemctl poweroff", seconds=10)
            self._wait_for_end()
        shutil.rmtree(self._folder)

    def _wait_for_end(self) -> None:
        assert self._nspawn is not None
        try:
            self._nspawn.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._nspawn.terminate()  # the second one is immediate
            time.sleep(1)
            self._nspawn.terminate()
            self._nspawn.wait(timeout=30)

    def _inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine."""
        self._inside(path).parent.mkdir(parents=True, exist_ok=True)
        self._inside(path).write_text(text)

    def read(self, path: str) -> str:
        """A file of the machine; empty when there is none."""
        file = self._inside(path)
        return file.read_text() if file.exists() else ""

    def _boot(self) -> None:
        options = ["--boot", "--register=no", "--keep-unit", "--private-network", "--machine=credit-monitor-test"]
        with (self._folder / "console.log").open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", self.root, *options],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        until = time.monotonic() + BOOT
        while time.monotonic() < until and self._nspawn.poll() is None:
            if self._leader() and self.run("systemctl is-system-running", seconds=10).out.strip() in UP:
                return
            time.sleep(0.3)
        lines = (self._folder / "console.log").read_text(errors="replace").splitlines()
        raise CannotRun(f"no systemd boots here: {(lines or ['systemd-nspawn ended'])[-1]}")

    def reboot(self) -> None:
        """From inside; with --keep-unit the container ends, and whoever keeps it boots it again."""
        self.run("systemctl reboot", seconds=10)
        self._wait_for_end()
        self._boot()

    def _leader(self) -> int:
        """The machine's first process, as this machine counts; 0 while there is none."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        names = {int(pid): Path(f"/proc/{pid}/comm") for pid in children}
        return next((pid for pid, name in names.items() if name.exists() and name.read_text() == "systemd\n"), 0)

    def run(self, command: str, *, given: str = "", seconds: float = 120, user: str | None = None) -> "Answer":
        """A shell command inside, as root or as another user; `given` is its standard input."""
        enter = ["nsenter", f"--target={self._leader()}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root"]
        environ = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": WHEELS,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        shell = ["/bin/sh", "-e", "-c", f"cd {CHECKOUT if user is None else '/'}\n{command}"]
        if user:
            shell = ["/usr/sbin/runuser", "-u", user, "--", *shell]
        try:
            done = subprocess.run(
                [*enter, *shell], input=given, env=environ, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return Answer(124, "", f"not done after {seconds} s")
        return Answer(done.returncode, done.stdout, done.stderr)


class Answer:
    """What a command inside came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.ok = code == 0

    def __str__(self) -> str:
        return " | ".join(f"exit {self.code}\n{self.out}\n{self.err}".split("\n"))[-1500:]
