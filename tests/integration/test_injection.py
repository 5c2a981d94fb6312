"""Nasty names from the vendor, end to end: terminal, JSON, CSV, logs, mail, webhooks and chats."""

import csv
import io
import json
import logging
import re
import unicodedata
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from command import DEAD, FILE, Shell
from filled import fill
from hypothesis import given
from hypothesis import strategies as st
from receivers import mail, web
from tags import ATTRIBUTES, TAGS

from monitor import channels
from monitor.channels import Outgoing, Template
from monitor.cli.logs import JournalFormatter, LineFormatter
from monitor.message import test_message as message_of
from monitor.model import Message, Severity
from monitor.providers.answers import read_organizations
from monitor.providers.http import Answer
from monitor.store.engines import transaction
from monitor.store.tables import organizations
from monitor.text import escape, mask, quote_formula

NASTY = {
    "terminal title": "\x1b]0;owned\x07\x1b[2J\x9b31m",
    "carriage return": "low\rBALANCE OK 999999",
    "two lines": "a\nCRITICAL: forged\r\nBcc: evil@example.com\r\n\r\nbody",
    "direction": "\u202edetrevni\u202c\u2066x\u2069\u200f",
    "mentions": "<!channel> <!here> <@U123> <#C1> @everyone x@everyone @here",
    "links": "[pay](http://evil.example) <http://evil.example|pay> https://evil.example/x ![i](http://evil.example/i)",
    "emphasis": "*bold* _it_ ~~gone~~ ||hidden|| `code` ```block``` # head",
    "tags": "<script>alert(1)</script><img src=x onerror=alert(1)> &lt;b&gt; </div>",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "template": "{name} {0} %s %(x)s ${HOME}",
    "lone surrogate": "a\ud800b\u0000c",
    "line separators": "a\u2028b\u2029c\u0085d\x0be",
}
EVIL = re.compile(r"<[!@#]|(?<!\u200b)@(?=\w)(?!example\.org)|\]\(|://evil|\*bold|~~|\|\||<script|<img|</div><")


def said(name: str) -> Message:
    return message_of(name, at=datetime(2026, 11, 24, tzinfo=UTC), timezone=ZoneInfo("UTC"))


def has_control(text: str) -> bool:
    return any(unicodedata.category(c) in {"Cc", "Cs", "Co"} and c != "\n" for c in text) or bool(
        set("\u202e\u202c\u2066\u2069\u200f\u2028\u2029") & set(text)
    )


@pytest.fixture(params=NASTY.values(), ids=NASTY.keys())
def nasty(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- messages ---------------------------------------------------------------------------------------------------------


def test_no_form_of_a_message_holds_markup_mentions_links_or_control_characters(nasty):
    told = said(nasty)
    assert "\n" not in told.subject
    for form in (told.subject, told.text, told.markdown):
        assert not has_control(form)
        outside = re.sub(r"`[^`\n]*`", "", form) if form is told.markdown else form
        assert not EVIL.search(outside), EVIL.search(outside)


class Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_html_has_our_tags_and_no_others(nasty):
    page = Page(said(nasty).html)
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES


async def sent(url: str, *names: str) -> None:
    """Send each of them through a child of its own: within one, plug-ins wait seconds between two requests."""
    async with Template() as template:
        for name in names:
            outgoing = [Outgoing(1, said(name), Severity.CRITICAL)]
            attempts = channels.send("ops", url, outgoing, template=template)
            assert [attempt.error async for attempt in attempts] == [None]


def headers(letter: EmailMessage) -> set[str]:
    return {name.lower() for name in letter}


async def test_a_mail_has_one_subject_and_no_header_of_the_vendors():
    async with mail() as receiver:
        url = f"mailto://127.0.0.1:{receiver.port}/?from=monitor@example.org&to=ops@example.org"
        await sent(url, "harmless", *NASTY.values())
        usual = headers(receiver.letters[0])
        for letter in receiver.letters:
            assert headers(letter) == usual
            assert letter["To"] == "ops@example.org"
            assert len(letter.get_all("Subject", [])) == 1
            assert not has_control(letter["Subject"])
            body = letter.get_body(("html",))
            assert body is not None
            assert Page(body.get_content()).tags <= TAGS


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:{}/hook",
        "mmost://127.0.0.1:{}/3ccdd113474722377935511fc85d3dd4",
        f"rocket://{'a' * 17}/{'b' * 43}@127.0.0.1:{{}}/#ops",
    ],
)
async def test_what_reaches_a_webhook_is_as_harmless(url):
    async with web("success" if url.startswith("rocket") else "ok") as receiver:
        await sent(url.format(receiver.port), *NASTY.values())
        assert len(receiver.said) == len(NASTY)
        for body in receiver.said:
            text = "\n".join(str(part) for part in body.values()).replace("\r\n", "\n")
            assert not has_control(text)
            assert not EVIL.search(re.sub(r"`[^`\n]*`|https?://github\S+", "", text))


# --- what the vendor calls things, on its way in ----------------------------------------------------------------------


def test_a_title_is_kept_as_one_printable_line(nasty):
    body = json.dumps({"organizations": [{"id": "org-1", "name": nasty, "role": "x", "is_default": True}]})
    (one,) = read_organizations(Answer(200, {}, body.encode()), secret="sk-x").organizations
    assert one.name is None or (one.name.isprintable() and len(one.name) <= 200)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(shell: Shell, engine, database_url, nasty) -> Shell:
    """A database whose organizations have this title, as no version of ours would have kept it."""
    fill(engine)
    title = nasty.encode(errors="replace").decode().replace("\0", "")
    with transaction(engine) as connection:
        connection.execute(organizations.update().values(title=title))
    shell.write(FILE, url=database_url, vendor=DEAD)
    return shell


def test_no_command_prints_a_control_character(filled, nasty):
    for command in (("status",), ("history",), ("incidents",), ("silences", "--all")):
        for style in ("table", "json", "csv"):
            answer = filled(*command, "--format", style)
            assert answer.code == 0
            assert not has_control(answer.out + answer.err)
    rows = json.loads(filled("status", "--format", "json").out)
    assert rows[0]["title"] == nasty.encode(errors="replace").decode().replace("\0", "")
    (cell, *_) = [row["title"] for row in csv.DictReader(io.StringIO(filled("status", "--format", "csv").out))]
    assert cell[:1] not in set("=+-@")


def test_a_mistake_repeats_an_argument_without_its_control_characters(shell: Shell, sqlite_url, nasty):
    shell.write(FILE, url=sqlite_url, vendor=DEAD)
    argument = nasty.replace("\0", "")
    for command in (("history", argument), ("history", "--since", argument), ("notify", argument), (argument,)):
        answer = shell(*command)
        assert answer.code == 64
        assert not has_control(answer.out + answer.err)


@given(st.text())
def test_what_is_escaped_is_printable_and_comes_back(text):
    assert escape(text).isprintable()
    dumped = escape(json.dumps(text, ensure_ascii=False))
    assert dumped.isprintable()
    assert json.loads(dumped) == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert mask(text).isprintable()
    assert not quote_formula(text).startswith(("=", "+", "-", "@"))


# --- logs -------------------------------------------------------------------------------------------------------------


def formatted(formatter: logging.Formatter, name: str, *, trace: bool = False) -> str:
    info = (ValueError, ValueError(name), None) if trace else None
    return formatter.format(logging.LogRecord("monitor", logging.WARNING, "x", 1, "%s: low", (name,), info))


@pytest.mark.parametrize("trace", [False, True])
def test_a_log_record_forges_no_second_one(nasty, trace):
    plain = formatted(LineFormatter("%(levelname)s %(message)s"), nasty, trace=trace)
    journal = formatted(JournalFormatter("%(message)s"), nasty, trace=trace)
    for text in (plain, journal):
        assert not has_control(text)
        assert not re.search(r"(?m)^(CRITICAL|Bcc|BALANCE)", text)
    assert all(line.startswith("<4>") for line in journal.split("\n"))
    if not trace:
        assert len(plain.split("\n")) == len(journal.split("\n")) == 1
