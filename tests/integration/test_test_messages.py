"""What `notify` and `doctor --send` tell of a test message: each recipient, and the host where it was the network."""

from datetime import UTC, datetime

import pytest
from receivers import mail, web
from story import TOML, configured

from monitor.check import send_test
from monitor.cli.notify import _lines
from monitor.config import Settings
from monitor.doctor.channels import _test_findings, todo_of
from monitor.doctor.findings import State
from monitor.model import Attempt

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


async def attempt(tmp_path, url: str) -> Attempt:
    settings: Settings = configured(tmp_path, TOML, "sqlite:////nonexistent/none.db", ops=url)
    return (await send_test(settings, ["ops"], clock=lambda: NOW))["ops"]


async def test_each_of_several_recipients_is_told(tmp_path):
    async with mail(refuse="gone@example.com") as receiver:
        to = "ops@example.com,gone@example.com"
        url = f"mailto://127.0.0.1:{receiver.port}/?from=a@example.com&to={to}"
        one = await attempt(tmp_path, url)
    assert list(_lines(one, is_on_call=False)) == [
        "delivered to ops@…",
        "NOT delivered to gone@…: refused by the mail server (SMTP 550)",
    ]
    taken, refused = _test_findings("channel ops", one, is_on_call=False)
    assert (taken.state, taken.found) == (State.OK, "took a test message for ops@…")
    assert (refused.state, refused.todo) == (State.PROBLEM, todo_of("SMTP 550"))


@pytest.mark.parametrize(
    "form", ["json://{}/secret/path?x=secret", "mailto://{}/?from=a@b.example&to=secret@b.example"]
)
async def test_an_error_of_the_network_names_the_host_and_nothing_else_of_the_url(tmp_path, form):
    async with web() as receiver:
        host = f"127.0.0.1:{receiver.port}"
    (line,) = _lines(await attempt(tmp_path, form.format(host)), is_on_call=False)
    assert line == f"NOT delivered: connection refused ({host})"


async def test_a_name_that_leads_nowhere_is_named(tmp_path):
    (line,) = _lines(await attempt(tmp_path, "json://me:secret@nowhere.invalid/secret"), is_on_call=False)
    assert line == "NOT delivered: its host name was not found (nowhere.invalid)"


async def test_an_answer_names_no_host(tmp_path):
    async with web("404") as receiver:
        one = await attempt(tmp_path, f"json://127.0.0.1:{receiver.port}/")
    assert list(_lines(one, is_on_call=False)) == ["NOT delivered: refused with HTTP 404"]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("its host name was not found (x.invalid)", "spelled"),
        ("connection refused (x:1)", "port"),
        ("no answer after the message was sent", "firewall"),
        ("refused with HTTP 401", "token"),
        ("refused with HTTP 404", "address"),
        ("login refused by the mail server (SMTP 535)", "password"),
        ("something else", "service's side"),
    ],
)
def test_what_to_do_fits_the_error(error, word):
    assert word in todo_of(error)
