"""Installs and runs the service on a real systemd by the commands of docs/operations.md; a line for each promise.

`make test-systemd`: on Debian 12 and 13; `python -m tests.proofs.systemd 13`: on one.  Ends with 0 when all hold, and
when this machine cannot boot another one, which it says.
"""

import json
import re
import secrets
import string
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.proofs.debian import REPOSITORY, CannotRun, chosen_releases, require_tools
from tests.proofs.systemd.machine import TOOLS, Answer, Machine
from tests.support.wait import STOP, patience

PAGE = REPOSITORY / "docs/operations.md"
BLOCK = re.compile(r"<!-- test: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)
HOME = "/root/standin"
UNIT = "credit-monitor"
NOBODY = "65534"  # on disk, where systemd maps the owner to the user of the moment (since 257)
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/test.conf"
KEY = "sk-" + "".join(secrets.choice(string.ascii_letters) for _ in range(48))
PATH = "hook" + secrets.token_hex(8)  # of the channel's URL: as secret as the key
CONFIG = """
[database]
url = "sqlite:////var/lib/credit-monitor/credit-monitor.db"
[poll]
every = "2s"
deadline = "20s"
[rules]
runway = "off"
{rules}
[accounts.studio]
base_url = "http://127.0.0.1:8081"
[organizations.render-farm]
account = "studio"
id = "org-1"
[channels.ops]
"""
STAND_IN = f"""
[Unit]
Before={UNIT}.service
[Service]
ExecStart=/opt/credit-monitor/bin/python /root/checkout/tests/proofs/systemd/standin.py {HOME}
[Install]
WantedBy=multi-user.target
"""


class Proof:
    """The promises, one after the other; `failed` counts those that do not hold."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.failed = 0
        self.documented = dict(BLOCK.findall(PAGE.read_text()))  # the commands to be run, by the name above each block

    def promise(self, words: str, holds: object, *, why: object = "") -> None:
        """Print whether it holds."""
        print(f"{'ok    ' if holds else 'not ok'}  {words}", flush=True)
        if not holds:
            self.failed += 1
            for line in str(why or holds).splitlines()[-15:]:
                print(f"          {line}", flush=True)

    def documented_run(self, block: str, words: str, *, given: str = "") -> Answer:
        answer = self.machine.run(self.documented[block], given=given)
        self.promise(words, answer.ok, why=answer)
        return answer

    # --- questions ----------------------------------------------------------------------------------------------------

    def shown(self, name: str) -> str:
        return self.machine.run(f"systemctl show {UNIT} --property={name} --value").out.strip()

    def journal(self, options: str = "") -> str:
        return self.machine.run(f"journalctl --no-pager -u {UNIT} {options} || true").out

    def received(self) -> list[str]:
        return [json.loads(line)["title"] for line in self.machine.read(f"{HOME}/received").splitlines()]

    def until(self, holds: Callable[[], object], seconds: float = 30) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                return True
            time.sleep(0.3)
        return bool(holds())

    # --- the promises, in order ---------------------------------------------------------------------------------------

    def install(self) -> None:
        self.documented_run("install", "the documented commands install it, offline, with pinned dependencies")
        compiled = self.machine.run(
            "find /opt/credit-monitor/lib -path '*/monitor/daemon/__pycache__/*.pyc' | grep -q ."
        )
        self.promise("its bytecode is compiled", compiled.ok)
        for name, text in {"key": KEY, "credits": "5000", "mode": ""}.items():
            self.machine.write(f"{HOME}/{name}", text)
        self.machine.write("/etc/systemd/system/standin.service", STAND_IN)
        # The watchdog's minute is cut short, so that the proof is.
        self.machine.write(DROP_IN, "[Service]\nWatchdogSec=10s\nTimeoutAbortSec=5s\n")
        self.machine.write("/etc/credit-monitor/config.toml", CONFIG.format(rules=""))
        self.machine.run("systemctl daemon-reload && systemctl enable --now standin")
        self.documented_run("key", "a key is handed over on standard input", given=KEY + "\n")
        self.documented_run("url", "a channel's URL, too", given=f"json://127.0.0.1:8082/{PATH}\n")
        self.documented_run("credentials", "a drop-in makes credentials of them")

    def start(self) -> None:
        began = time.monotonic()
        self.documented_run("start", "the configuration is valid, the service starts and stays enabled")
        self.promise(f"ready {time.monotonic() - began:.1f} s later", self.shown("ActiveState") == "active")
        wanted = r"1 organization, all ok, (next poll in \d+ s|polling)"
        holds = self.until(lambda: re.fullmatch(wanted, self.shown("StatusText")), 10)
        self.promise(f"its status is one sentence: {self.shown('StatusText')}", holds)
        owner, mode = self.machine.run("stat -c '%u %a' /var/lib/private/credit-monitor").out.split()
        uid = self.machine.run(f"stat -c %u /proc/{self.shown('MainPID')}").out.strip()
        dynamic = 61184 <= int(uid) <= 65519
        own = owner in {uid, NOBODY} and mode == "700"
        self.promise(f"a user of its own ({uid}) has a state directory of its own ({owner} {mode})", dynamic and own)

    def alert(self) -> None:
        self.machine.write(f"{HOME}/credits", "150")
        told = self.until(lambda: any("CRITICAL" in title for title in self.received()))
        self.promise(f"a low balance reaches the receiver: {self.received()}", told, why=self.journal())
        self.promise("the status counts it", self.until(lambda: "1 critical" in self.shown("StatusText"), 10))

    def reload(self) -> None:
        before = self.shown("MainPID")
        self.machine.write("/etc/credit-monitor/config.toml", CONFIG.format(rules='credits = "off"'))
        self.documented_run("reload", "a good configuration is reloaded")
        over = self.until(lambda: "all ok" in self.shown("StatusText"))
        self.promise("and in force: the incident of a rule that is gone has ended", over, why=self.journal())
        self.machine.write("/etc/credit-monitor/config.toml", CONFIG.format(rules='credit = "off"'))
        answer = self.machine.run("systemctl reload credit-monitor")
        self.promise("a bad one makes `systemctl reload` fail", not answer.ok)
        self.promise("and the journal says why, under the reload", "unknown setting" in self.journal("_COMM=cat"))
        said = self.until(lambda: "NOT in force" in self.shown("StatusText"))
        self.promise(f"the status says so: {self.shown('StatusText')}", said)
        self.promise("the journal names the mistake", "not reloaded" in self.journal("-p err"))
        self.machine.write("/etc/credit-monitor/config.toml", CONFIG.format(rules=""))
        again = self.machine.run("systemctl reload credit-monitor").ok
        self.promise("mended, it is taken", again and self.until(lambda: "1 critical" in self.shown("StatusText")))
        self.promise("all that in one process", self.shown("MainPID") == before)

    def restarts(self) -> None:
        self._restarted("STOP", "a process that hangs (SIGSTOP) is restarted by the watchdog", seconds=60)
        self._restarted("KILL", "a process that was killed (SIGKILL) is restarted", seconds=30)
        self.until(lambda: len(self._alerts()) > 1)
        time.sleep(5)  # for one too many
        told = self._alerts()
        words = f"nobody was told again: {len(told)} alerts for two incidents"
        self.promise(words, len(told) == 2, why=self.received())

    def _alerts(self) -> list[str]:
        return [title for title in self.received() if "CRITICAL" in title]

    def _restarted(self, signal: str, words: str, *, seconds: float) -> None:
        before, began = self.shown("MainPID"), time.monotonic()
        self.machine.run(f"kill -{signal} {before}")
        again = self.until(lambda: self.shown("MainPID") not in {"0", before} and self._is_active(), seconds)
        self.promise(f"{words}: ready again after {time.monotonic() - began:.0f} s", again, why=self.journal())

    def _is_active(self) -> bool:
        return self.shown("ActiveState") == "active"

    def stop(self) -> None:
        self._hang_while_sending()
        began = time.monotonic()
        answer = self.machine.run(f"systemctl stop {UNIT}")
        took = time.monotonic() - began
        result = self.shown("Result")
        words = f"it stops within ten seconds though vendor and receiver hang: {took:.1f} s, {result}"
        self.promise(words, answer.ok and took < min(10 * patience(), STOP) and result == "success", why=self.journal())
        self.machine.write(f"{HOME}/mode", "")
        self.machine.run(f"systemctl start {UNIT}")
        over = self.until(lambda: self.received()[-1].startswith("RESOLVED"))
        self.promise(f"what it was sending is sent after the start: {self.received()[-1]}", over)

    def _hang_while_sending(self) -> None:
        """A message under way to a receiver that takes it and is silent, and a check of a vendor that is."""
        self._send_to_nobody("5000")
        self.machine.write(f"{HOME}/mode", "hang")
        time.sleep(3)

    def _send_to_nobody(self, credits_now: str) -> None:
        self.machine.write(f"{HOME}/mode", "deaf")
        self.machine.write(f"{HOME}/credits", credits_now)
        # The template that it is forked from has the same command line.
        child = "[ $(grep -a -l 'monitor[.]channels[.]template' /proc/[0-9]*/cmdline | wc -l) -ge 2 ]"
        self.promise("(a child is sending)", self.until(lambda: self.machine.run(child).ok))

    def secrets(self) -> None:
        pid = self.shown("MainPID")
        stored = "/etc/credit-monitor/credentials/CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"
        handed = f"/run/credentials/{UNIT}.service/CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"
        for place in (stored, handed, f"/proc/{pid}/environ", "/var/lib/private/credit-monitor/credit-monitor.db"):
            self.promise(f"another user cannot read {place}", not self.machine.run(f"cat {place}", user="nobody").ok)
        reader = self.machine.run(f"cat {handed}").out.strip() == KEY
        self.promise("(root can: the key is there)", reader)
        self._send_to_nobody("150")
        self.machine.write("/root/secrets", f"{KEY}\n{PATH}\n")  # no command line of ours may hold them
        places = {
            "systemctl show": f"systemctl show {UNIT}",
            "any process's environment or command line": "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline || true",
            "the journal": "journalctl --no-pager -o export --all",
            "the state directory": "cat /var/lib/private/credit-monitor/*",
        }
        for place, command in places.items():
            found = self.machine.run(f"({command}) | grep -a -c -F -f /root/secrets || true").out.strip()
            self.promise(f"neither key nor URL stands in {place}", found == "0", why=found)
        self.machine.write(f"{HOME}/mode", "")

    def logs(self) -> None:
        self.documented_run("logs", "the documented commands find log lines by priority and by field")
        lines = [json.loads(line) for line in self.journal("-o json ORGANIZATION=render-farm").splitlines()]
        alert = next((line for line in lines if line.get("REASON") == "opened"), {})
        named = {name: alert.get(name) for name in ("PRIORITY", "ORGANIZATION", "ACCOUNT", "RULE", "SEVERITY")}
        wanted = ["4", "render-farm", "studio", "credits", "critical"]
        self.promise(f"an alert's line has fields: {named}", list(named.values()) == wanted, why=lines[:3])
        own = [json.loads(line)["MESSAGE"] for line in self.journal("-o json _COMM=credit-monitor").splitlines()]
        dated = [line for line in own if re.match(r"\d{4}-\d\d-\d\dT|<\d>", str(line))]
        self.promise(f"none of {len(own)} lines has a time or a priority in its text", own and not dated, why=dated[:3])

    def care(self) -> None:
        self.documented_run("backup", "the documented command makes a backup while it runs")
        self.documented_run("upgrade", "the documented commands upgrade it")
        self.promise("and it is ready again", self.until(self._is_active))

    def reboot(self) -> None:
        self.machine.reboot()
        self.promise("after a reboot it is ready by itself", self.until(self._is_active), why=self.journal())
        self.promise("and watches", self.until(lambda: "1 critical" in self.shown("StatusText")))

    def remove(self) -> None:
        self.documented_run("removal", "the documented commands remove it")
        left = self.machine.run(f"ls -d /opt/{UNIT} /etc/{UNIT} /var/lib/private/{UNIT} /usr/local/bin/{UNIT} || true")
        known = self.machine.run(f"systemctl cat {UNIT}").ok
        self.promise("nothing is left of it", not left.out and not known, why=left)


def prove(release: int) -> int:
    """Boot a Debian of this release, and return how many promises do not hold there."""
    with Machine(release) as machine:
        proof = Proof(machine)
        version = machine.run("systemctl --version").out.splitlines()[0]
        print(f"Debian {release}, a real systemd: {version}", flush=True)
        for step in (
            *(proof.install, proof.start, proof.alert, proof.reload, proof.restarts, proof.stop),
            *(proof.secrets, proof.logs, proof.care, proof.reboot, proof.remove),
        ):
            step()
    left = Path("/proc/self/mounts").read_text()
    proof.promise("no mount is left behind", str(machine.root) not in left)
    return proof.failed


def main() -> int:
    failed = 0
    try:
        require_tools(TOOLS)
        for release in chosen_releases("systemd", __doc__):
            failed += prove(release)
    except CannotRun as reason:
        print(f"test-systemd cannot run on this machine: {reason}")
        return int(failed > 0)
    print("every promise holds" if not failed else f"{failed} promise(s) do not hold")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
