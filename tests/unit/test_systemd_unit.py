"""The systemd unit, as far as it can be judged without a running systemd: `make test-systemd` boots one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/credit-monitor.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze here")


DOCUMENTED = Path(__file__).parents[2] / "docs/operations.md"


def analyze(*arguments: str) -> str:
    answer = subprocess.run(
        [str(ANALYZE), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return answer.stdout


@needs_systemd
def test_the_exposure_of_the_service_is_at_most_1_2():
    told = analyze("security", "--offline=yes", "--no-pager", str(UNIT))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert float(exposure) <= 1.2, told


@needs_systemd
def test_systemd_understands_every_line_of_the_unit(tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/credit-monitor/bin/credit-monitor", "/bin/true"))
    assert str(copy) not in analyze("verify", str(copy))


def test_the_watchdog_leaves_time_for_more_than_one_sign_of_life():
    seconds = int(re.findall(r"^WatchdogSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)[0])
    assert seconds >= 60


def test_a_reload_tells_the_daemon_without_programs_that_may_be_missing_and_needs_no_credentials():
    (reload,) = re.findall(r"^ExecReload=/bin/sh -c '(.*?)'$", UNIT.read_text(), re.MULTILINE | re.DOTALL)
    assert "kill -HUP $MAINPID" in reload
    assert not re.search(r"/\w*bin/|credit-monitor ", reload)  # the shell's own kill: /bin/kill is of another package


def test_every_block_that_is_run_on_a_real_systemd_is_documented_once_and_shell_understands_it(tmp_path):
    named = re.findall(r"<!-- test: (\w+) -->\n```sh\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert [name for name, _ in named] == [
        *("install", "key", "url", "credentials", "start", "reload", "logs", "upgrade", "backup", "removal"),
    ]
    for _, block in named:
        subprocess.run(["sh", "-n", "-c", block], check=True)


def test_what_the_documentation_hands_over_are_settings():
    names = re.findall(r"^LoadCredential=(\w+):", DOCUMENTED.read_text(), re.MULTILINE)
    commented = re.findall(r"^#LoadCredential=(\w+):", UNIT.read_text(), re.MULTILINE)
    assert names == commented[:2] == ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY", "CREDIT_MONITOR_CHANNELS__OPS__URL"]
