"""What travels unencrypted, or to whoever answers, goes on, is named, and is told once to the other channels."""

import asyncio
from pathlib import Path

import daemon
import pytest
from command import Shell
from wait import until

from monitor.channels import service
from monitor.channels import urls as channel_urls
from monitor.channels.receivers import IN_CLEAR, may_be_insecure
from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor

KEY = "sk-" + "a1B2" * 12
FILE = """
[database]
url = "sqlite:///{folder}/state/cm.db"
[poll]
every = "1s"
[accounts.studio]
api_key_file = "studio.key"
base_url = "{vendor}"
organizations = "all"
[channels.ops]
url_file = "ops.url"
[channels.unverified]
url_file = "unverified.url"
{meant}
"""


def test_the_schemas_that_send_in_clear_are_those_of_apprise():
    service.load()
    known = set()
    for plugin in channel_urls.PLUGINS.plugins():
        if plugin.secure_protocol and plugin.protocol:
            known |= {plugin.protocol} if isinstance(plugin.protocol, str) else set(plugin.protocol)
    assert known == IN_CLEAR


@pytest.mark.parametrize(
    ("url", "doubtful"),
    [
        ("json://hook.example.com/x", True),
        ("json://127.0.0.1:80/x", False),
        ("json://user:pw@localhost/x", False),
        ("json://localhost.example.com/x", True),
        ("jsons://hook.example.com/x", False),
        ("jsons://127.0.0.1/x?Verify=no", True),
        ("mailtos://mail.example.com?mode=insecure", True),
    ],
)
def test_apprise_is_asked_of_what_may_be_insecure_alone(url, doubtful):
    assert may_be_insecure(url) is doubtful


async def test_an_unverified_channel_goes_on_is_named_and_told_once_to_the_others(tmp_path: Path, shell: Shell) -> None:
    heard: list[Received] = []
    async with (
        Vendor({KEY: ["org-1"]}, [SandboxOrganization("org-1", "Farm", 150)]) as vendor,
        Receiver(heard.append) as hook,
    ):

        def give(name: str, content: str) -> None:
            (tmp_path / name).write_text(content)
            (tmp_path / name).chmod(0o600)

        def configure(meant: str) -> None:
            give("config.toml", FILE.format(folder=tmp_path, vendor=vendor.url, meant=meant))

        give("studio.key", KEY)
        give("ops.url", f"json://127.0.0.1:{hook.port}/ops")
        give("unverified.url", "jsons://127.0.0.1:9/hook?verify=no")
        configure("")
        log = tmp_path / "daemon.log"
        environ = daemon.environment({}, {})

        def told() -> list[Received]:
            return [one for one in heard if "is not secure" in one.title]

        for restart in range(2):
            process = await daemon.launch(tmp_path, environ, log=log)
            try:
                await until(lambda: bool(told()), why=log.read_text)
                await until(
                    lambda n=restart: log.read_text().count("verify=no: whoever answers") > n, why=log.read_text
                )
                await daemon.stop(process)
            finally:
                await daemon.kill(process)
        (notice,) = told()
        assert notice.title == "WARNING: channels.unverified.url_file of credit-monitor is not secure"
        assert "leave it out (or allow_insecure = true" in notice.message

        for command in (("config", "validate"), ("doctor",), ("status",)):
            for meant, said in (("", True), ("allow_insecure = true", False)):
                configure(meant)
                answer = await asyncio.to_thread(shell, *command, CREDIT_MONITOR_CONFIG=str(tmp_path / "config.toml"))
                assert ("verify=no" in answer.out + answer.err) is said, (command, answer)
