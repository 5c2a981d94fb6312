"""`make test-deb`: the Debian package on the systemd of a bare Debian 12 and 13; a line for each promise.

Installed over nothing, with data that 0.1.0 left, upgraded with an edited configuration, removed, purged; beside what
was installed by hand.  As root; `python -m tests.proofs.deb 13`: on one.
"""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.proofs.debian import REPOSITORY, CannotRun, chosen_releases, require_tools
from tests.proofs.systemd.machine import TOOLS, Answer, Machine

PREVIOUS = "0.0.9"
FIXTURE = REPOSITORY / "tests/fixtures/0.1.0/monitor.sqlite.gz"
UNIT = "credit-monitor"
STATE = f"/var/lib/private/{UNIT}"
HOME = "/root/standin"
KEY = "sk-" + "packagetest".ljust(48, "0")
CONFIG = """# edited by hand
[database]
url = "sqlite:////var/lib/credit-monitor/credit-monitor.db"
[poll]
every = "2s"
[accounts.studio]
base_url = "http://127.0.0.1:8081"
[organizations.render-farm]
account = "studio"
id = "org-1"
[channels.ops]
"""
SECRETS = {
    "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": KEY,
    "CREDIT_MONITOR_CHANNELS__OPS__URL": "json://127.0.0.1:8082/x",
}
STAND_IN = f"""
[Service]
Type=exec
WorkingDirectory=/root/checkout
ExecStart=/root/standin-python/bin/python3 -B tests/proofs/systemd/standin.py {HOME}
"""


def build_package(folder: Path, version: str | None) -> Path:
    """Build the package of this checkout, as one of another version where that is given."""
    number = ["--version", version] if version else []
    command = [sys.executable, REPOSITORY / "packaging/debian/build.py", "--output", folder, *number]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(done.stderr.strip() or done.stdout.strip())
    return Path(done.stdout.partition(":")[0])


class Proof:
    """The promises, one after the other; `failed` counts those that do not hold."""

    def __init__(self, machine: Machine, packages: list[Path]) -> None:
        self.machine = machine
        self.failed = 0
        for package in packages:
            shutil.copy(package, machine.root / "root")
        self.older, self.newer = (f"/root/{package.name}" for package in packages)

    def promise(self, words: str, holds: object, *, why: object = "") -> None:
        """Print whether it holds."""
        print(f"{'ok    ' if holds else 'not ok'}  {words}", flush=True)
        if not holds:
            self.failed += 1
            for line in str(why or holds).splitlines()[-15:]:
                print(f"          {line}", flush=True)

    def install(self, package: str) -> Answer:
        return self.machine.run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {package}", seconds=300)

    def shown(self, name: str) -> str:
        return self.machine.run(f"systemctl show {UNIT} --property={name} --value").out.strip()

    def until(self, holds: Callable[[], object], seconds: float = 30) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not holds():
            time.sleep(0.3)
        return bool(holds())

    def received(self) -> list[str]:
        return [json.loads(line)["title"] for line in self.machine.read(f"{HOME}/received").splitlines()]

    # --- the promises, in order ---------------------------------------------------------------------------------------

    def by_hand(self) -> None:
        self.machine.run("mkdir -p /opt/credit-monitor; echo home = /usr/bin > /opt/credit-monitor/pyvenv.cfg")
        self.machine.run("touch /usr/local/bin/credit-monitor")
        answer = self.install(self.older)
        self.promise(
            "an installation by hand is not mixed with", not answer.ok and "mv /opt/credit-monitor" in answer.err
        )
        self.machine.run("rm -r /opt/credit-monitor; dpkg --purge credit-monitor || true")

    def fresh(self) -> None:
        answer = self.install(self.older)
        self.promise("it installs without a network", answer.ok, why=answer)
        self.promise(
            "what would come before it is named", "/usr/local/bin/credit-monitor is from" in answer.err, why=answer
        )
        self.machine.run("rm /usr/local/bin/credit-monitor")
        self.promise("it says what to do next", "systemctl enable --now credit-monitor" in answer.out, why=answer)
        stopped = self.shown("ActiveState") == "inactive" and self.shown("UnitFileState") == "disabled"
        self.promise("nothing is started or enabled", stopped)
        version = self.machine.run("credit-monitor --version", user="nobody")
        self.promise(f"any user can run it: {version.out.strip()}", version.ok, why=version)
        unit = self.machine.read("/usr/lib/systemd/system/credit-monitor.service")
        self.promise("the unit is ours", unit == (REPOSITORY / "systemd/credit-monitor.service").read_text())
        compiled = self.machine.run(
            "find /opt/credit-monitor/lib -path '*/monitor/daemon/__pycache__/*.pyc' | grep -q ."
        )
        self.promise("its bytecode is compiled", compiled.ok)
        answer = self.machine.run("credit-monitor config validate --config /etc/credit-monitor/config.toml")
        self.promise(
            "without a key it says what is missing", answer.code == 78 and "STABILITY_API_KEY" in answer.err, why=answer
        )

    def configured(self) -> None:
        self.machine.run("cp -a /opt/credit-monitor /root/standin-python")
        for name, text in {"key": KEY, "credits": "5000", "mode": ""}.items():
            self.machine.write(f"{HOME}/{name}", text)
        self.machine.write("/etc/systemd/system/standin.service", STAND_IN)
        self.machine.write("/etc/credit-monitor/config.toml", CONFIG)
        lines = ["[Service]"]
        for name, secret in SECRETS.items():
            self.machine.write(f"/etc/credit-monitor/credentials/{name}", secret)
            lines.append(f"LoadCredential={name}:/etc/credit-monitor/credentials/{name}")
        self.machine.write(f"/etc/systemd/system/{UNIT}.service.d/credentials.conf", "\n".join(lines))
        self.machine.run(f"mkdir -p -m 0700 {STATE}; chmod 0600 /etc/credit-monitor/credentials/*")
        (self.machine.root / STATE.lstrip("/") / "credit-monitor.db").write_bytes(gzip.decompress(FIXTURE.read_bytes()))
        self.machine.run("systemctl daemon-reload && systemctl start standin")
        began = time.monotonic()
        answer = self.machine.run(f"systemctl enable --now {UNIT}")
        why = f"{answer}\n{self.machine.run(f'journalctl --no-pager -u {UNIT}').out}"
        self.promise(f"with a key it is ready, {time.monotonic() - began:.1f} s later", answer.ok, why=why)
        copies = self.machine.run(f"ls {STATE}/*.before-*")
        self.promise("the database of 0.1.0 was migrated, after a copy", copies.ok, why=copies)
        self.machine.write(f"{HOME}/credits", "150")
        told = self.until(lambda: any("CRITICAL" in title for title in self.received()))
        self.promise("a low balance reaches the receiver", told, why=self.received())

    def upgrade(self) -> None:
        before, began = self.shown("MainPID"), time.monotonic()
        answer = self.install(self.newer)
        self.promise(f"it is upgraded, in {time.monotonic() - began:.1f} s", answer.ok, why=answer)
        again = self.shown("ActiveState") == "active" and self.shown("MainPID") not in {before, "0"}
        self.promise("and runs again, as another process", again, why=answer)
        self.promise("the edited configuration stays", self.machine.read("/etc/credit-monitor/config.toml") == CONFIG)
        rows = self.machine.run(
            "credit-monitor history render-farm --format csv --config /etc/credit-monitor/config.toml"
        )
        self.promise("and the history", len(rows.out.splitlines()) > 1, why=rows)
        again = len([title for title in self.received() if title.startswith("CRITICAL")])
        self.promise("what was told is not told again", again == 1, why=self.received())

    def remove(self) -> None:
        answer = self.machine.run(f"dpkg --remove {UNIT}")
        self.promise("it is removed", answer.ok, why=answer)
        left = self.machine.run(
            "ls -d /opt/credit-monitor /usr/bin/credit-monitor; grep -l /opt/credit-monitor /proc/[0-9]*/cmdline"
        )
        self.promise("nothing runs, no program is left", not left.out, why=left)
        kept = self.machine.run(f"ls {STATE}/credit-monitor.db /etc/credit-monitor/config.toml")
        self.promise("configuration and state stay", kept.ok, why=kept)
        answer = self.install(self.newer)
        self.promise(
            "it can be installed again, and does not start by itself",
            answer.ok and self.shown("ActiveState") == "inactive",
        )

    def purge(self) -> None:
        answer = self.machine.run(f"dpkg --purge {UNIT}")
        paths = f"/opt/{UNIT} /etc/{UNIT} {STATE} /var/lib/{UNIT} /etc/systemd/system/{UNIT}.service.d"
        left = self.machine.run(f"ls -d {paths} || true; dpkg -l {UNIT} | grep ^[ir] || true")
        self.promise("after a purge nothing is left", answer.ok and not left.out, why=f"{answer}\n{left}")


def prove(release: int, packages: list[Path]) -> int:
    """Boot a Debian of this release, and return how many promises do not hold there."""
    with Machine(release) as machine:
        proof = Proof(machine, packages)
        print(f"Debian {release}", flush=True)
        for step in (proof.by_hand, proof.fresh, proof.configured, proof.upgrade, proof.remove, proof.purge):
            step()
    return proof.failed


def main() -> int:
    failed = 0
    try:
        require_tools({**TOOLS, "dpkg-deb": "dpkg-dev", "strip": "binutils"})
        with tempfile.TemporaryDirectory() as folder:
            packages = [build_package(Path(folder), PREVIOUS), build_package(Path(folder), None)]
            for release in chosen_releases("deb", __doc__):
                failed += prove(release, packages)
    except CannotRun as reason:
        print(f"test-deb cannot run on this machine: {reason}")
        return int(failed > 0)
    print("every promise holds" if not failed else f"{failed} promise(s) do not hold")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
