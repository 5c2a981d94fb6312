"""Sending through Apprise in a child process, to real receivers on loopback."""

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from processes import alive, children, command, templates
from receivers import mail, silence, web
from wait import LONG, STOP, until

from monitor import channels
from monitor.channels import Outgoing, Template, answers, child_process, progress, service
from monitor.channels import template as forking
from monitor.channels.limits import Limits
from monitor.errors import ChildError
from monitor.message import test_message as message_of
from monitor.model import Attempt, Message, Severity

CANARY = "canary-T0PSECRET"
SHORT = timedelta(seconds=3)
SLACK = "TAAAAAAAA/BBBBBBBBB/cccccccccccccccccccccccc"
WORDS = Message("CRITICAL: render-farm has 148.2 credits", "in text", "in **Markdown**", "in <b>HTML</b>")


def outgoing(*ids: int, severity: Severity = Severity.CRITICAL, resolved: bool = False) -> list[Outgoing]:
    return [Outgoing(number, WORDS, severity, resolved=resolved) for number in ids or (1,)]


async def send(
    url: str, *ids: int, within: timedelta = timedelta(seconds=20), template: Template | None = None
) -> list[Attempt]:
    sending = channels.send("ops", url, outgoing(*ids), per_message=within, template=template)
    async with aclosing(sending) as attempts:
        return [attempt async for attempt in attempts]


def environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def held(pid: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


def umask(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text().partition("Umask:")[2].split()[0]


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


# --- through the child ------------------------------------------------------------------------------------------------


async def test_messages_arrive_in_order_through_one_child():
    async with web() as receiver:
        attempts = await send(f"json://127.0.0.1:{receiver.port}/hook", 5, 6, 7)
        assert attempts == [Attempt(5, None), Attempt(6, None), Attempt(7, None)]
        assert [said["title"] for said in receiver.said] == [WORDS.subject] * 3
        assert receiver.said[0]["message"] == "in text"


async def test_nothing_to_send_starts_nothing(monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", "/nowhere")
    assert await send("json://127.0.0.1/") == [
        Attempt(1, "the sending process could not be started: No such file or directory")
    ]
    async with aclosing(channels.send("ops", "json://127.0.0.1/", [])) as attempts:
        assert [attempt async for attempt in attempts] == []


async def test_a_message_that_hangs_ends_the_batch_and_the_child():
    async with web("ok", "hang", "ok") as receiver:
        attempts = await send(f"json://127.0.0.1:{receiver.port}/", 1, 2, 3, within=SHORT)
        assert attempts == [Attempt(1, None), Attempt(2, "no answer within 3 s", unknown=True)]
        assert len(receiver.bodies) == 2
        assert templates() == []


async def test_a_receiver_that_drips_cannot_stretch_the_deadline():
    async with web("drip") as receiver:
        began = time.monotonic()
        attempts = await send(f"json://127.0.0.1:{receiver.port}/", within=SHORT)
        assert attempts == [Attempt(1, "no answer within 3 s", unknown=True)]
        assert time.monotonic() - began < LONG


async def test_a_mail_server_that_never_speaks_is_given_up():
    async with silence() as port:
        attempts = await send(f"mailto://127.0.0.1:{port}/?from=a@example.com&to=b@example.com", within=SHORT)
        assert attempts == [Attempt(1, "no answer within 3 s", unknown=True)]


async def test_a_bad_url_fails_every_message_for_good():
    assert await send("nosuch://x", 1, 2) == [
        Attempt(number, "the URL names no service that Apprise knows", retryable=False) for number in (1, 2)
    ]


MALFORMED = "does not take the URL: something in it is missing or malformed; see https://appriseit.com/services"


async def test_every_bad_url_is_named_and_none_is_repeated():
    urls = {
        "scheme": f"nosuch://{CANARY}",
        "host": "json://",
        "empty": "",
        "words": CANARY,
        "spaces": f"json://host/{CANARY} x",
        "lines": f"json://host/\n{CANARY}",
        "page": f"https://example.com/{CANARY}",
        "slack": f"slack://{CANARY}",
        "good": "json://host/",
        "good-slack": f"slack://{SLACK}/#ops",
        "good-hook": f"https://hooks.slack.com/services/{SLACK}",
        "good-mail": "mailto://user:p%40ss@mail.example.com:2525/?from=a@example.com&to=b@example.com",
    }
    wrong = await channels.verify(urls)
    assert wrong == {
        "scheme": "the URL names no service that Apprise knows",
        "host": f"JSON {MALFORMED}/json/",
        "empty": "the URL is empty",
        "words": "this is no Apprise URL: those begin with a service and ://",
        "spaces": "the URL has a space in it, which is written %20",
        "lines": "the URL has a line break in it",
        "page": "a web address is no Apprise URL: write jsons://… for the same address, and each message is posted "
        "there as JSON; or see https://appriseit.com/services/",
        "slack": f"Slack {MALFORMED}/slack/",
    }


async def test_no_urls_are_all_good():
    assert await channels.verify({}) == {}


# --- the child's life -------------------------------------------------------------------------------------------------


@pytest.fixture
async def sending(tmp_path: Path, monkeypatch) -> AsyncIterator[tuple[asyncio.Task[list[Attempt]], int]]:
    """A send under way to a receiver that hangs, and its child."""
    monkeypatch.setenv("STABILITY_API_KEY", CANARY)
    async with web("hang") as receiver:
        url = f"json://user:{CANARY}@127.0.0.1:{receiver.port}/{CANARY}?+X-Token={CANARY}"
        with (tmp_path / "lock").open("w") as lock:
            os.set_inheritable(lock.fileno(), True)
            task = asyncio.create_task(send(url, 1, 2))
            await receiver.arrived.wait()
            yield task, children()[0]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_child_holds_no_secret_where_others_can_look(sending, caplog):
    task, child = sending
    caplog.set_level(0)
    assert CANARY not in f"{command(child)!r} {environment(child)}"
    os.kill(child, signal.SIGKILL)
    assert CANARY not in repr(await task) + caplog.text


async def test_a_child_inherits_next_to_nothing(sending):
    _, child = sending
    assert not [path for path in held(child) if path.endswith("/lock")]
    assert set(environment(child)) <= {*child_process.PASSED_ON, "LC_CTYPE"}
    assert umask(child) == "0077"
    assert os.getsid(child) == child


async def test_a_child_that_dies_fails_the_message_in_flight_alone(sending):
    task, child = sending
    os.kill(child, signal.SIGKILL)
    assert await task == [Attempt(1, "the sending process ended early (signal 9)", unknown=True)]


async def test_cancelling_kills_the_child(sending):
    task, child = sending
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not alive(child)


async def test_closing_early_kills_the_child():
    async with web() as receiver:
        async with aclosing(channels.send("ops", f"json://127.0.0.1:{receiver.port}/", outgoing(1, 2))) as attempts:
            assert await anext(attempts) == Attempt(1, None)
            assert len(children()) == 1
        assert templates() == []
        assert len(receiver.bodies) == 1


ORPHANED = """
import asyncio, sys
from contextlib import aclosing
from monitor import channels
from monitor.model import Message, Severity
async def main():
    out = [channels.Outgoing(n, Message("s", "t", "m", "h"), Severity.INFO) for n in (1, 2)]
    async with aclosing(channels.send("ops", sys.stdin.readline().strip(), out)) as attempts:
        async for attempt in attempts:
            pass
asyncio.run(main())
"""


async def test_a_child_dies_with_its_parent_and_sends_no_more():
    async with web("hang") as receiver:
        parent = subprocess.Popen([sys.executable, "-c", ORPHANED], stdin=subprocess.PIPE)  # noqa: ASYNC220
        assert parent.stdin is not None
        parent.stdin.write(f"json://127.0.0.1:{receiver.port}/\n".encode())
        parent.stdin.close()
        await receiver.arrived.wait()
        [child] = children(parent.pid)
        parent.kill()
        parent.wait()
        await until(lambda: not alive(child), within=10)
        assert len(receiver.bodies) == 1


async def test_a_child_that_cannot_start_names_the_exception_and_nothing_of_its_text(tmp_path, monkeypatch):
    (tmp_path / "apprise.py").write_text(f"raise LookupError('{CANARY}')\n")
    monkeypatch.setattr(child_process, "PASSED_ON", ("PYTHONPATH",))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert await send("json://127.0.0.1/") == [Attempt(1, "the sending process ended early (LookupError)")]
    with pytest.raises(ChildError, match=r"could not be checked: the sending process ended early \(LookupError\)"):
        await channels.verify({"ops": "json://127.0.0.1/"})


def test_a_child_whose_parent_died_before_it_was_ready_ends_without_loading_apprise():
    command = [sys.executable, "-X", "importtime", "-m", "monitor.channels.template"]
    child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert child.stdout == ""
    assert "apprise" not in child.stderr


def test_the_parent_never_imports_apprise():
    code = "import sys, monitor.channels; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the template -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def template() -> AsyncIterator[Template]:
    async with Template() as template:
        yield template
    assert templates() == []


def process_of(template: Template) -> int:
    assert template._process is not None
    return template._process.result()._process.pid


async def test_children_of_different_channels_are_forked_from_one_process_that_has_one_thread(template):
    async with web("hang") as hanging, web() as healthy:
        waiting = asyncio.create_task(send(f"json://127.0.0.1:{hanging.port}/", template=template))
        await hanging.arrived.wait()
        assert await send(f"json://127.0.0.1:{healthy.port}/", 2, template=template) == [Attempt(2, None)]
        assert templates() == [process_of(template)]
        assert len(children()) == 1
        assert threads(process_of(template)) == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert children() == []


async def test_a_template_keeps_nothing_of_a_child(template):
    async with web() as receiver:
        url = f"json://127.0.0.1:{receiver.port}/{CANARY}"
        assert await send(url, template=template) == [Attempt(1, None)]
        process = process_of(template)
        before = held(process)
        assert await send(url, template=template) == [Attempt(1, None)]
        assert held(process) == before
        kept = memory(process)
        assert b"apprise" in kept
        assert CANARY.encode() not in kept
        assert WORDS.subject.encode() not in kept


def memory(pid: int) -> bytes:
    """Return all that a process can write to."""
    content = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, rights = line.split()[:2]
            if rights.startswith("rw"):
                begin, end = (int(address, 16) for address in addresses.split("-"))
                file.seek(begin)
                content.append(file.read(end - begin))
    return b"".join(content)


async def test_a_child_holds_one_socket_to_us_and_nothing_of_the_template(template):
    async with web("hang") as receiver:
        task = asyncio.create_task(send(f"json://127.0.0.1:{receiver.port}/", template=template))
        await receiver.arrived.wait()
        [child] = children()
        kinds = sorted(re.sub(r"\d+", "", path) for path in held(child))
        assert kinds == ["/dev/null", "/dev/null", "/dev/null", "socket:[]", "socket:[]"]  # the other is the receiver's
        # The template closes its end of the child's socket when it gets to it.
        await until(lambda: not set(held(child)) & set(held(templates()[0])) - {"/dev/null"})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_template_that_is_killed_takes_its_children_along_and_the_next_message_starts_another(template):
    async with web("hang", "hang", "ok") as receiver:
        url = f"json://127.0.0.1:{receiver.port}/"
        tasks = [asyncio.create_task(send(url, number, template=template)) for number in (1, 2)]
        await until(lambda: len(receiver.bodies) == 2)
        before, first = children(), process_of(template)
        os.kill(first, signal.SIGKILL)
        attempts = [attempt for task in tasks for attempt in await task]
        assert attempts == [
            Attempt(number, "the sending process ended early (signal 9)", unknown=True) for number in (1, 2)
        ]
        await until(lambda: not any(map(alive, before)), within=10)
        assert await send(url, 3, template=template) == [Attempt(3, None)]
        assert process_of(template) != first


@pytest.mark.parametrize("is_running", [False, True])
async def test_without_a_descriptor_left_nothing_is_sent_and_it_is_tried_again(template, is_running):
    async with web("ok", "ok") as receiver:
        url = f"json://127.0.0.1:{receiver.port}/"
        if is_running:
            await send(url, template=template)
        with no_descriptor_left():
            [attempt] = await send(url, 2, template=template)
        assert attempt == Attempt(2, "the sending process could not be started: Too many open files")
        assert await send(url, 3, template=template) == [Attempt(3, None)]


@contextmanager
def no_descriptor_left():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 2, hard)
    )
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_template_that_hangs_is_killed(template, monkeypatch):
    monkeypatch.setattr(child_process, "END", 0.2)
    async with web("hang", "ok") as receiver:
        url = f"json://127.0.0.1:{receiver.port}/"
        task = asyncio.create_task(send(url, template=template))
        await receiver.arrived.wait()
        first, [child] = process_of(template), children()
        os.kill(first, signal.SIGSTOP)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not alive(first)
        await until(lambda: not alive(child), within=10)
        assert await send(url, 2, template=template) == [Attempt(2, None)]


async def test_a_template_without_children_ends_after_a_while(template, monkeypatch):
    monkeypatch.setattr(child_process, "IDLE", 0.1)
    async with web() as receiver:
        url = f"json://127.0.0.1:{receiver.port}/"
        await send(url, template=template)
        await until(lambda: templates() == [])
        assert await send(url, 2, template=template) == [Attempt(2, None)]


async def test_a_template_that_was_started_in_vain_ends_too(template, monkeypatch):
    monkeypatch.setattr(child_process, "IDLE", 0.1)
    template.warm_up()
    await until(templates)
    await until(lambda: templates() == [])


async def test_an_endless_answer_is_read_no_further_than_it_may_be(template):
    async with web("flood") as receiver:
        assert await send(f"json://127.0.0.1:{receiver.port}/", template=template) == [Attempt(1, None)]


RETURNING = r"""
import os
from monitor.channels import template
class Child:
    def main(connection, template):
        print("in the child", flush=True)
        raise {}
for _ in range(2):
    print(os.waitstatus_to_exitcode(os.waitpid(template._fork(Child, 0), 0)[1]), flush=True)
"""


@pytest.mark.parametrize("error", ["SystemExit(0)", "KeyboardInterrupt", "ValueError", "GeneratorExit"])
def test_a_child_never_comes_back_into_the_loop_of_the_template(error):
    answer = subprocess.run([sys.executable, "-c", RETURNING.format(error)], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["in the child", "1"] * 2


def test_a_machine_without_room_for_another_process_is_told_so(monkeypatch):
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("os.fork", refuse)
    assert forking._end(forking._fork(None, 0)) == "Resource temporarily unavailable"


# --- what services do, and what is said of it -------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries of services that we never use
        service.load()


async def outcome(url: str, *, seconds: float = 30, words: Message = WORDS) -> tuple[str | None, bool]:
    """As the child does it, in a thread of this process."""
    said = progress._content(Outgoing(1, words, Severity.CRITICAL))
    answer = await asyncio.to_thread(service.send, url, said, seconds=seconds)
    assert answer["unknown"] == (answer["error"] == answers.UNANSWERED)
    return answer["error"], answer["retryable"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("ok", (None, True)),
        ("404", ("refused with HTTP 404", False)),
        ("401", ("refused with HTTP 401", False)),
        ("500", ("failed with HTTP 500", True)),
        ("302", ("redirected (HTTP 302), which is not followed", True)),
        ("reset", ("connection closed by the service", True)),
    ],
)
@pytest.mark.parametrize("query", ["", "?redirect=yes&optional=yes"])
async def test_an_http_service_is_told_apart_by_what_it_does(action, expected, query):
    async with web(action) as receiver:
        assert await outcome(f"json://127.0.0.1:{receiver.port}/{query}") == expected
        assert len(receiver.bodies) == 1


async def test_a_service_that_is_not_there_is_told_so():
    async with web() as receiver:
        port = receiver.port
    assert await outcome(f"json://127.0.0.1:{port}/") == ("connection refused", True)
    assert await outcome(f"mailto://127.0.0.1:{port}/?from=a@example.com&to=b@example.com") == (
        "connection refused",
        True,
    )


async def test_a_service_that_took_the_message_and_never_answers_is_told_from_one_that_is_not_there():
    limits = "rto=0.3&cto=0.3"
    async with web("hang") as receiver:
        told = await outcome(f"json://127.0.0.1:{receiver.port}/?{limits}", seconds=0.3)
        assert told == (answers.UNANSWERED, True)
    async with mail(hangs=True) as receiver:
        url = f"mailto://127.0.0.1:{receiver.port}/?from=a@example.com&to=b@example.com&{limits}"
        assert await outcome(url, seconds=0.3) == (answers.UNANSWERED, True)
    async with silence() as port:
        url = f"mailto://127.0.0.1:{port}/?from=a@example.com&to=b@example.com&{limits}"
        assert await outcome(url, seconds=0.3) == ("no answer", True)


async def test_a_host_without_a_name_is_told_so():
    assert await outcome("json://nowhere.invalid/") == ("its host name was not found", True)


async def test_a_plain_service_behind_a_tls_url_is_told_so():
    async with mail() as receiver:
        told = await outcome(f"jsons://127.0.0.1:{receiver.port}/")
        assert told == ("no secure connection: TLS or the certificate was not accepted", True)


async def test_what_a_message_says_is_never_taken_for_the_service_s_answer():
    words = Message("error=404", "Socket Exception: timed out (550, b'x') error=410", "", "")
    async with web("500") as receiver:
        assert await outcome(f"json://127.0.0.1:{receiver.port}/", words=words) == ("failed with HTTP 500", True)


async def test_mail_has_the_subject_word_for_word_and_both_forms():
    subject = "CRITICAL: Gerät-Farm " + "x" * 90 + " has 148.2 credits, below 200"
    words = Message(subject, "text", "markdown", "<p>in <b>HTML</b> &amp; more</p>")
    async with mail() as receiver:
        url = f"mailto://127.0.0.1:{receiver.port}/?from=a@example.com&to=b@example.com"
        assert await outcome(url, words=words) == (None, True)
        [letter] = receiver.letters
        assert letter["Subject"] == subject
        plain, page = letter.get_body(("plain",)), letter.get_body(("html",))
        assert plain is not None
        assert page is not None
        assert plain.get_content().strip() == "text"
        assert "in <b>HTML</b> &amp; more" in page.get_content()


async def test_mail_with_the_right_password_is_sent():
    async with mail(password="p@ss") as receiver:
        url = f"mailto://user:p%40ss@127.0.0.1:{receiver.port}/?from=a@example.com&to=b@example.com"
        assert await outcome(url) == (None, True)
        assert len(receiver.letters) == 1


async def test_mail_with_a_wrong_password_is_refused_for_good():
    async with mail(password="p@ss") as receiver:
        url = f"mailto://user:{CANARY}@127.0.0.1:{receiver.port}/?from=a@example.com&to=b@example.com"
        assert await outcome(url) == ("login refused by the mail server (SMTP 535)", False)


async def test_mail_to_nobody_is_refused_for_good():
    async with mail(refuse=["b@example.com"]) as receiver:
        url = f"mailto://127.0.0.1:{receiver.port}/?from=a@example.com&to=b@example.com"
        assert await outcome(url) == ("refused by the mail server (SMTP 550)", False)


# --- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "form"),
    [
        (f"slack://{SLACK}/#ops", "markdown"),
        (f"https://hooks.slack.com/services/{SLACK}", "markdown"),
        (f"slack://{SLACK}/#ops?format=text", "text"),
        ("mailto://mail.example.com/?from=a@example.com&to=b@example.com", "html"),
        ("mailto://mail.example.com/?from=a@example.com&to=b@example.com&format=text", "text"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "markdown"),
        ("rocket://aaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb@host/#ops", "markdown"),
        ("mmost://host/3ccdd113474722377935511fc85d3dd4", "text"),
        ("json://host/", "text"),
        ("xml://host/?format=html", "html"),
        ("form://host/", "text"),
    ],
)
def test_each_service_gets_the_form_it_likes(url, form):
    opened = service.open_service(url)
    assert not isinstance(opened, str)
    limits = Limits(opened, service.find_receiver(opened))
    assert service.choose_content(limits, progress._content(outgoing()[0])).form.value == form


async def test_a_message_too_long_for_a_chat_is_cut_and_sent_once():
    words = Message("CRITICAL: low", "long text " * 3000, "long *Markdown* " * 3000, "")
    async with web() as receiver:
        url = f"mmost://127.0.0.1:{receiver.port}/3ccdd113474722377935511fc85d3dd4"
        assert await outcome(url, words=words) == (None, True)
        [said] = receiver.said
        assert said["text"].startswith("CRITICAL: low")
        assert len(said["text"]) <= 16_383
        assert said["text"].endswith("… (cut)")


@pytest.mark.parametrize(
    "url",
    ["mmost://127.0.0.1:{}/3ccdd113474722377935511fc85d3dd4", f"rocket://{'a' * 17}/{'b' * 43}@127.0.0.1:{{}}/#ops"],
)
async def test_a_name_mentions_nobody_in_a_chat(url):
    words = message_of("<!channel> @everyone <@U123> [x](http://x)", at=datetime.now(UTC), timezone=ZoneInfo("UTC"))
    async with web() as receiver:
        await outcome(url.format(receiver.port), words=words)
        sent = json.dumps(receiver.said, ensure_ascii=False)
        assert "everyone" in sent
        for mention in ("<!channel", "@everyone", "<@U123", "](http"):
            assert mention not in sent


@pytest.mark.parametrize(
    ("severity", "resolved", "kind"),
    [
        (Severity.INFO, False, "info"),
        (Severity.WARNING, False, "warning"),
        (Severity.CRITICAL, False, "failure"),
        (Severity.CRITICAL, True, "success"),
    ],
)
def test_services_are_told_how_bad_it_is(severity, resolved, kind):
    assert outgoing(severity=severity, resolved=resolved)[0].kind == kind


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.01, 0.05])
async def test_giving_up_while_the_child_is_being_started_ends_at_once(moment):
    task = asyncio.create_task(channels.verify({"ops": "json://127.0.0.1:9/x"}))
    await asyncio.sleep(moment)
    task.cancel()
    async with asyncio.timeout(STOP):
        with pytest.raises(asyncio.CancelledError):
            await task
