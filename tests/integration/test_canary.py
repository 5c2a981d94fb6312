"""Distinctive secrets go through the real program and its faults; then everything it left or said is searched for them.

Whole and in parts of eight characters, plain, reversed, percent-encoded, in hex and in base64.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import daemon
import pytest
from command import Shell
from receivers import Mail, mail, silence
from secrets_hunt import Hunt
from wait import until

from monitor.sandbox import Fault, Received, Receiver, Reply, SandboxOrganization, Vendor

# No eight letters of these stand in any other word.
KEY = "sk-qZxKvJwYtQpXzGkWvBqJxZfKyQwVjXkZpGqYvWxJzKtQfXvBw"
HOOK = "wqxzkjvhookgqzxvkwjyqpzx"
MAIL = "zqvxmailkwjgxqzvpykq"
PASSWORD = "xjqzdbwkvgqyzxpjkvwq"
PROXY = "kvzqproxyxjwgqzkyvxp"
SECRETS = (KEY.removeprefix("sk-"), HOOK, MAIL, PASSWORD, PROXY)
HUNT = Hunt(SECRETS)

FILE = """
[database]
url = "sqlite:///{folder}/state/cm.db"
[poll]
every = "1s"
deadline = "1s"
[rules]
runway = "off"
[accounts.studio]
api_key_file = "studio.key"
base_url = "{vendor}"
rate_limit = "off"
organizations = "all"
[accounts.behind]
api_key_file = "studio.key"
base_url = "http://127.0.0.1:{port}"
proxy = "http://me:{proxy}@127.0.0.1:9"
organizations = "all"
[channels.hook]
url_file = "hook.url"
[channels.mail]
url_file = "mail.url"
"""
HANGING = """
[channels.hanging]
url_file = "hanging.url"
"""
BREAKING = """
import os
if os.environ.get("BREAK"):
    import monitor.{module} as module
    def broken(*arguments, **options):
        raise RuntimeError("broken on purpose")
    module.{name} = broken
"""
COMMANDS = (
    *(("status",), ("history",), ("incidents",), ("silences",), ("organizations",), ("check",), ("check", "--dry-run")),
    *(("config", "validate"), ("config", "show"), ("db", "current"), ("doctor",), ("doctor", "--send")),
    *(("notify", "hook", "mail"), ("backtest",)),
)


def leaks(content: bytes | str) -> set[str]:
    return HUNT.found_in(content)


class Stage:
    """The real daemon, a vendor, receivers, and everything that was said and left."""

    def __init__(self, folder: Path, vendor: Vendor, heard: list[Received], box: Mail) -> None:
        self.folder, self.vendor, self.heard, self.box = folder, vendor, heard, box
        self.config = ""
        self.seen = b""  # of processes, while they ran
        self.log = folder / "daemon.log"

    def give(self, name: str, content: str) -> None:
        path = self.folder / name
        path.write_text(content)
        path.chmod(0o600)

    @asynccontextmanager
    async def daemon(self, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(self.folder)} | environ
        process = await daemon.launch(self.folder, clean, log=self.log, options=["--verbose"])
        watching = asyncio.create_task(self._watch(process.pid))
        try:
            yield process
            await daemon.stop(process)
        finally:
            watching.cancel()
            await daemon.kill(process)

    async def _watch(self, pid: int) -> None:
        while True:
            for process in _family(pid):
                for name in ("cmdline", "environ"):
                    self.seen += _read(Path(f"/proc/{process}/{name}"))
            await asyncio.sleep(0.05)

    async def until(self, text: str) -> None:
        """Wait until this is logged."""
        await until(
            lambda: text in self.log.read_text(errors="replace"), why=lambda: f"{text}\n{_read(self.log).decode()}"
        )

    def left(self) -> Iterator[tuple[str, bytes | str]]:
        """Everything that was left or said, by where."""
        yield "/proc", self.seen
        yield "log", self.log.read_bytes()
        for path in (self.folder / "state").iterdir():
            yield path.name, path.read_bytes()
        for received in self.heard:
            yield "message", f"{received.title}\n{received.message}"
        for letter in self.box.letters:
            yield "letter", letter.as_bytes() + b"".join(part.get_payload(decode=True) or b"" for part in letter.walk())  # type: ignore[misc, operator]


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    yield pid
    for child in _read(Path(f"/proc/{pid}/task/{pid}/children")).split():
        yield from _family(int(child))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    heard: list[Received] = []
    farm = SandboxOrganization("org-1", "Render Farm", Decimal(150))
    async with (
        Vendor({KEY: ["org-1"]}, [farm]) as vendor,
        Receiver(heard.append) as hook,
        mail(password=MAIL) as box,
        silence() as port,
    ):
        one = Stage(tmp_path, vendor, heard, box)
        parts = {"folder": str(tmp_path), "vendor": vendor.url, "port": str(port), "proxy": PROXY}
        one.config = FILE.format(**parts)
        one.give("config.toml", one.config)
        one.give("studio.key", KEY)
        one.give("hook.url", f"json://127.0.0.1:{hook.port}/{HOOK}?+X-Token={HOOK}")
        one.give("mail.url", f"mailto://me:{MAIL}@127.0.0.1:{box.port}/?from=a@example.com&to=b@example.com")
        one.give("hanging.url", f"json://127.0.0.1:{port}/{HOOK}")
        yield one


def refusal(status: int) -> Reply:
    """An answer that repeats the key in every way a vendor might."""
    ways = (KEY, KEY.upper(), KEY[:20], KEY[10:40], f"...{KEY[-12:]}", f"Bearer {KEY}")
    said = " ".join(ways)
    body = f'{{"id": "{KEY[3:30]}", "name": "unauthorized", "message": "Incorrect API key provided: {said}"}}'
    return Reply(status, body.encode())


async def test_no_secret_is_left_or_said_by_the_daemon_and_its_children(stage: Stage, shell: Shell) -> None:
    shell.environ["CREDIT_MONITOR_CONFIG"] = str(stage.folder / "config.toml")
    said = []

    async def ask(*arguments: str) -> None:
        answer = await asyncio.to_thread(shell, *arguments)
        said.append((" ".join(arguments), answer.out + answer.err))

    stage.give("config.toml", stage.config + HANGING)
    async with stage.daemon():
        await stage.until("hook: delivered")
        await stage.until("mail: delivered")
        for fault in (
            refusal(401),
            refusal(403),
            refusal(500),
            refusal(418),
            Fault.PAGE_200,
            Fault.ENDLESS,
            Fault.RESET,
        ):
            stage.vendor.fault = fault
            before = len(stage.vendor.requests)
            await until(lambda before=before: len(stage.vendor.requests) > before + 1)
        stage.vendor.fault = refusal(401)
        await ask("status", "--format", "json")
        await stage.until("rejects the API key")
        await stage.until("credential opened")
        stage.vendor.fault = None
    stage.give("config.toml", stage.config)
    stage.vendor.fault = refusal(401)
    for command in COMMANDS:
        await ask(*command)
    for where, content in (*stage.left(), *said):
        assert not leaks(content), f"{where}: {leaks(content)}"
    assert stage.heard
    assert stage.box.letters
    assert b"monitor.channels.template" in stage.seen
    assert {"status", "check", "organizations"} <= {name.split()[0] for name, text in said if text}


@pytest.mark.parametrize(
    ("module", "name", "sign"),
    [
        ("notify.delivery", "render_group", "what is due could not be sent"),
        ("providers.stability", "read_credits", "Traceback"),
    ],
)
async def test_no_traceback_shows_a_secret(stage: Stage, module: str, name: str, sign: str) -> None:
    stage.give("sitecustomize.py", BREAKING.format(module=module, name=name))
    async with stage.daemon(BREAK="1"):
        await stage.until(sign)
        await stage.until("broken on purpose")
    for where, content in stage.left():
        assert not leaks(content), f"{where}: {leaks(content)}"


@pytest.mark.parametrize(
    "command",
    [("run",), ("check",), ("status",), ("db", "upgrade"), ("db", "current"), ("doctor",), ("config", "show")],
)
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@127.0.0.1:9/credits",
        f"postgresql://me@127.0.0.1:9/credits?password={PASSWORD}&connect_timeout=2",
        f"postgresql://me:{PASSWORD}@127.0.0.1:9/credits?sslpassword={PASSWORD}",
        f"postgresql://me:{PASSWORD}@nowhere.invalid/credits",
    ],
)
def test_a_database_that_cannot_be_reached_keeps_its_password(
    shell: Shell, caplog: pytest.LogCaptureFixture, command: tuple[str, ...], url: str
) -> None:
    shell.write(
        f'poll.deadline = "1s"\n[database]\nurl = "{url}"\n[accounts.studio]\napi_key = "{KEY}"\nbase_url = "http://127.0.0.1:9"'
    )
    answer = shell(*command)
    assert answer.code != 0 or command == ("config", "show")
    assert answer.out + answer.err
    assert not leaks(answer.out + answer.err + caplog.text)


SETTINGS = (
    *("timezone", "database.url", "database.migrate", "poll.every", "poll.deadline", "rules.credits", "rules.runway"),
    *("rules.spend", "rules.remind_every", "rules.confirm_checks", "accounts.a.generation", "accounts.a.base_url"),
    *("accounts.a.rate_limit", "accounts.a.organizations", "accounts.a.proxy", "accounts.a.ca_file"),
    *("accounts.a.allow_http", "accounts.a.api_kee", "organizations.x.account", "organizations.x.id"),
    *("organizations.x.notify", "organizations.x.rules", "channels.c.min_severity", "channels.c.quiet_hours"),
    *("channels.c.fallback", "channels.c.digest", "channels.c.url", "accounts", "channels.c", "nonsense"),
)


@pytest.mark.parametrize("value", ['"{}"', '["{}"]', '{{ a = "{}" }}', '"http://me:{}@host/?x={}"', '"{}\n'])
def test_a_secret_in_the_wrong_place_is_not_repeated(shell: Shell, value: str) -> None:
    for setting in SETTINGS:
        text = f"accounts.a.api_key_file = '/dev/null'\n{setting} = {value.replace('{}', KEY).replace('{{', '{')}\n"
        shell.write(text.replace("}}", "}"))
        for command in (("config", "validate"), ("config", "show"), ("status",)):
            answer = shell(*command)
            shown = setting in {"organizations.x.id", "accounts.a.ca_file"}  # are no secrets, and shown as they are
            assert shown or not leaks(answer.out + answer.err), (setting, answer)


def test_a_secret_in_the_environment_in_the_wrong_place_is_not_repeated(shell: Shell) -> None:
    for setting in SETTINGS:
        if setting in {"organizations.x.id", "accounts.a.ca_file"}:
            continue
        name = "CREDIT_MONITOR_" + setting.replace(".", "__").upper()
        for value in (KEY, f"[{KEY}", f'{{ a = "{KEY}" }}'):
            for command in (("config", "validate"), ("config", "show")):
                answer = shell(*command, **{name: value})
                assert not leaks(answer.out + answer.err), (setting, answer)


# --- the hunt itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leak",
    [
        KEY,
        KEY.upper(),
        KEY[9:17],
        KEY[::-1],
        KEY.encode().hex(),
        base64.b64encode(f"me:{PASSWORD}".encode()).decode(),
        base64.b64encode(f"xx:{PROXY}@".encode()).decode(),
        "".join(f"%{byte:02X}" for byte in HOOK.encode()),
        PASSWORD.encode("utf-16-le").decode(),
    ],
)
def test_the_hunt_finds_what_it_looks_for(leak: str) -> None:
    assert leaks(f"before {leak} behind")
    assert not leaks("nothing of this kind is in an ordinary sentence, sk-[redacted] or not")
