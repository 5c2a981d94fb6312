"""`make test-image`: the container image, built on a base made of Debian's packages, and run; a line for each promise.

As root, without an image registry: with podman and runc of its own storage, which is thrown away.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.proofs.debian import CACHE, NAMES, REPOSITORY, CannotRun, chosen_releases, require_tools
from tests.support.server import Server, running_server

TAG: Final = "localhost/credit-monitor:proof"
BASE: Final = "localhost/base:proof"
TOOLS: Final = {"podman": "podman", "buildah": "buildah", "runc": "runc", "mmdebstrap": "mmdebstrap"}
LARGEST: Final = 60_000_000  # bytes, compressed
KEY: Final = "sk-" + "imagetest".ljust(48, "0")
URL: Final = "json://127.0.0.1:8082/x"
HARDENED: Final = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")
USERS: Final = ("65532:0", "12345:0")
CRITICAL: Final = 2  # exit code of check
STALE: Final = 90.0  # seconds; a sign of life is too old after 60
# crun and the usual limits are refused on some machines that have podman from Debian's packages.
CONTAINERS: Final = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE: Final = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/graph"\nrunroot = "{0}/run"\n'
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


class Proof:
    """The promises, one after the other; `failed` counts those that do not hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failed = 0
        (folder / "containers.conf").write_text(CONTAINERS)
        (folder / "storage.conf").write_text(STORAGE.format(folder))
        self.environ = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        self.vendor = folder / "standin"

    def promise(self, words: str, holds: object, *, why: object = "") -> None:
        """Print whether it holds."""
        print(f"{'ok    ' if holds else 'not ok'}  {words}", flush=True)
        if not holds:
            self.failed += 1
            for line in str(why or holds).splitlines()[-15:]:
                print(f"          {line}", flush=True)

    def podman(self, *arguments: str | Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        command = ["podman", *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=seconds)

    def until(self, holds: Callable[[], object], seconds: float = 40) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not holds():
            time.sleep(0.5)
        return bool(holds())

    def received(self) -> list[str]:
        path = self.vendor / "received"
        return [json.loads(line)["title"] for line in path.read_text().splitlines()] if path.exists() else []

    def log(self, name: str) -> str:
        shown = self.podman("logs", name)
        return shown.stdout + shown.stderr

    def health(self, name: str) -> int:
        return self.podman("exec", name, "credit-monitor", "healthy").returncode

    def run(self, name: str, *options: str, user: str = USERS[0], given: dict[str, str] | None = None) -> None:
        """Start a daemon on the stand-in, by the environment alone."""
        environ = {
            "CREDIT_MONITOR_POLL__EVERY": "2s",
            "CREDIT_MONITOR_ACCOUNTS__STUDIO__BASE_URL": "http://127.0.0.1:8081",
            "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": KEY,
            "CREDIT_MONITOR_ORGANIZATIONS__FARM": '{ account = "studio", id = "org-1" }',
            "CREDIT_MONITOR_CHANNELS__OPS__URL": URL,
            **(given or {}),
        }
        variables = [f"--env={key}={value}" for key, value in environ.items()]
        started = self.podman(
            "run", "-d", f"--name={name}", f"--user={user}", "--network=host", *HARDENED, *variables, *options, TAG
        )
        if started.returncode:
            self.promise(f"{name} starts", False, why=started.stderr)

    # --- the promises, in order ---------------------------------------------------------------------------------------

    def build(self, release: int) -> None:
        tar = CACHE / f"base-{NAMES[release]}.tar"
        if not tar.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            part = tar.with_suffix(".part.tar")
            command = [
                "mmdebstrap",
                "--variant=minbase",
                "--include=python3-venv,ca-certificates",
                NAMES[release],
                part,
            ]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                raise CannotRun(f"mmdebstrap failed: {made.stderr.strip().splitlines()[-1]}")
            part.rename(tar)
        if (imported := self.podman("import", tar, BASE, seconds=600)).returncode:
            raise CannotRun(f"podman import failed: {imported.stderr.strip()}")
        began = time.monotonic()
        command = [sys.executable, REPOSITORY / "packaging/image/build.py", "--base", BASE, "--tag", TAG]
        environ = self.environ | {"IMAGE_ENGINE": "podman"}
        built = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        self.promise(
            f"it is built, in {time.monotonic() - began:.0f} s", built.returncode == 0, why=built.stdout + built.stderr
        )

    def look(self) -> None:
        about: dict[str, Any] = json.loads(self.podman("inspect", TAG).stdout)[0]
        settings = about["Config"]
        wanted = ("65532:0", "SIGTERM", ["/opt/credit-monitor/bin/credit-monitor"])
        shown = (settings["User"], settings["StopSignal"], settings["Entrypoint"])
        self.promise(f"user, signal, entry point: {shown}", shown == wanted)
        check = (about.get("HealthCheck") or about.get("Healthcheck") or settings.get("Healthcheck") or {}).get("Test")
        self.promise(f"its health check needs no shell: {check}", check and check[0] == "CMD", why=about)
        self.promise("it has labels", settings["Labels"].get("org.opencontainers.image.version"))
        archive = self.folder / "image.tar"
        self.podman("save", "-o", archive, TAG, seconds=300)
        with archive.open("rb") as content, gzip.open(f"{archive}.gz", "wb", compresslevel=6) as packed:
            shutil.copyfileobj(content, packed)
        size, whole = Path(f"{archive}.gz").stat().st_size, archive.stat().st_size
        self.promise(f"{size / 1e6:.1f} MB compressed, {whole / 1e6:.0f} MB whole", size <= LARGEST)
        self.podman("create", "--name=listed", TAG)
        self.podman("export", "-o", self.folder / "tree.tar", "listed")
        listed = subprocess.run(
            ["tar", "tvf", self.folder / "tree.tar"], capture_output=True, text=True, check=True
        ).stdout
        special = [line for line in listed.splitlines() if line[0] == "-" and "s" in line[1:10].lower()]
        shells = re.findall(r" (?:usr/)?bin/(?:ba|da|)sh\b", listed)
        self.promise("no shell, no set-uid file", not shells and not special, why=special[:5] or shells)
        self.podman("rm", "listed")

    def daemon(self, user: str) -> None:
        name, volume = f"one-{user.partition(':')[0]}", f"state-{user.partition(':')[0]}"
        (self.vendor / "received").unlink(missing_ok=True)
        (self.vendor / "credits").write_text("5000")
        self.podman("volume", "create", volume)
        state = f"--volume={volume}:/var/lib/credit-monitor"
        began = time.monotonic()
        self.run(name, state, user=user)
        ready = self.until(lambda: self.health(name) == 0 and " watching " in self.log(name))
        self.promise(
            f"as {user}, with a read-only root, it watches {time.monotonic() - began:.1f} s later",
            ready,
            why=self.log(name),
        )
        (self.vendor / "credits").write_text("0")
        self.promise(
            "a fall is told",
            self.until(lambda: any("CRITICAL" in title for title in self.received())),
            why=self.log(name),
        )
        lines = self.log(name).splitlines()
        twice = [line for line in lines if len(TIME.findall(line.partition(" monitor")[0])) != 1]
        self.promise(f"one time in each of {len(lines)} log lines", lines and not twice, why=twice[:3])
        checked = self.podman("exec", name, "credit-monitor", "check")
        self.promise(
            "check works beside it, without a /tmp", checked.returncode == CRITICAL, why=checked.stdout + checked.stderr
        )
        found = self.podman("exec", name, "credit-monitor", "doctor").stdout
        self.promise("doctor has nothing against its state directory", "chmod" not in found, why=found)
        second = self.podman("run", "--rm", f"--user={user}", *HARDENED, f"--env=STABILITY_API_KEY={KEY}", state, TAG)
        refused = second.returncode == 75 and "another credit-monitor" in second.stderr
        self.promise(
            "a second one on the volume is refused, with the reason",
            refused,
            why=f"{second.returncode} {second.stderr}",
        )
        if user == USERS[0]:
            self._stopped(name)
        began = time.monotonic()
        self.podman("stop", "--time=20", name)
        seconds, code = time.monotonic() - began, self.podman("wait", name).stdout.strip()
        self.promise(
            f"SIGTERM ends it in {seconds:.1f} s, with {code}", seconds < 10 and code == "0", why=self.log(name)
        )
        self.podman("rm", "-f", name)

    def _stopped(self, name: str) -> None:
        began = time.monotonic()
        quick = [self._seconds(name, "--version") for _ in range(3)], [self._seconds(name, "healthy") for _ in range(3)]
        self.promise(
            f"healthy takes what --version takes: {min(quick[1]):.2f} and {min(quick[0]):.2f} s",
            min(quick[1]) < min(quick[0]) + 0.1,
        )
        self.podman("kill", "--signal=STOP", name)
        turned = self.until(lambda: self.health(name) == 1, STALE)
        self.promise(f"healthy turns when it is stopped (after {time.monotonic() - began:.0f} s)", turned)
        self.podman("kill", "--signal=CONT", name)
        self.promise("and back when it goes on", self.until(lambda: self.health(name) == 0))

    def _seconds(self, name: str, argument: str) -> float:
        began = time.monotonic()
        self.podman("exec", name, "credit-monitor", argument)
        return time.monotonic() - began

    def secrets(self) -> None:
        """Files in /run/secrets, and nothing else."""
        folder = self.folder / "secrets"
        folder.mkdir()
        (folder / "stability_api_key").write_text(KEY)
        answer = self.podman("run", "--rm", *HARDENED, f"--volume={folder}:/run/secrets:ro", TAG, "config", "validate")
        self.promise(
            "a key in /run/secrets is a working configuration",
            answer.returncode == 0,
            why=answer.stdout + answer.stderr,
        )
        answer = self.podman("run", "--rm", *HARDENED, TAG)
        self.promise(
            "without anything it says what is missing",
            answer.returncode == 78 and "STABILITY_API_KEY" in answer.stderr,
            why=answer.stderr,
        )

    def two(self, server: Server) -> None:
        """Two daemons on PostgreSQL."""
        database = server.new().replace(server.sockets, "/pg")
        given = {"CREDIT_MONITOR_DATABASE__URL": database}
        (self.vendor / "credits").write_text("5000")
        owner = f"{Path(server.sockets).stat().st_uid}:0"  # who alone may look into the directory of the socket
        for name in ("first", "second"):
            self.run(name, f"--volume={server.sockets}:/pg", user=owner, given=given)
            word = " watching " if name == "first" else "standing by"
            held = self.until(lambda name=name, word=word: word in self.log(name))  # type: ignore[misc]
            self.promise(f"on PostgreSQL the {name}: {word.strip()}", held, why=self.log(name))
        self.promise(
            "both are healthy",
            [self.until(lambda name=name: self.health(name) == 0) for name in ("first", "second")] == [True, True],
        )  # type: ignore[misc]
        began = time.monotonic()
        self.podman("kill", "--signal=KILL", "first")
        taken = self.until(lambda: " watching " in self.log("second"), 60)
        self.promise(
            f"the leader killed, the other leads {time.monotonic() - began:.1f} s later", taken, why=self.log("second")
        )
        self.podman("rm", "-f", "first", "second")


def prove(release: int, folder: Path) -> int:
    """Build and run the image of a release; return how many promises do not hold."""
    proof = Proof(folder)
    print(f"Debian {release}, {proof.podman('--version').stdout.strip()}", flush=True)
    proof.build(release)
    if proof.failed:
        return proof.failed
    proof.look()
    proof.vendor.mkdir()
    for name, text in {"key": KEY, "credits": "5000", "mode": ""}.items():
        (proof.vendor / name).write_text(text)
    standin = [sys.executable, REPOSITORY / "tests/proofs/systemd/standin.py", proof.vendor]
    beside = subprocess.Popen(standin, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    try:
        proof.secrets()
        for user in USERS:
            proof.daemon(user)
        with running_server() as server:
            proof.two(server)
    finally:
        beside.terminate()
        beside.wait()
        proof.podman("rm", "-f", "--all")
    return proof.failed


def main() -> int:
    failed = 0
    try:
        require_tools(TOOLS)
        for release in chosen_releases("image", __doc__, default=(12,)):
            with tempfile.TemporaryDirectory(prefix="cm-image-", ignore_cleanup_errors=True) as folder:
                failed += prove(release, Path(folder))
    except CannotRun as reason:
        print(f"test-image cannot run on this machine: {reason}")
        return int(failed > 0)
    print("every promise holds" if not failed else f"{failed} promise(s) do not hold")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
