"""Mail as it arrives at a real SMTP server: its headers, its thread, its subject, its text part."""

import re
from contextlib import aclosing
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from receivers import mail
from story import Story

from monitor import channels
from monitor.channels import Outgoing
from monitor.channels.letters import wrap
from monitor.model import Message, Severity

LONG = "The balance of render-farm is 169.94268 credits, below 200. It was warning, and is critical now."
WORDS = Message(
    "CRITICAL: render-farm has 169.94 credits, below 200",
    f"{LONG}\n\nOrganization: render-farm\nAccount: studio\n",
    "in **Markdown**",
    "<p>in <b>HTML</b></p>\n\n<p>more</p>\n",
    "CRITICAL: render-farm: credits below 200",
)


def url_of(receiver, more: str = "", to: str = "ops@example.com") -> str:
    return f"mailto://127.0.0.1:{receiver.port}/?from=credits@example.com&to={to}{more}"


async def send(url: str, *, key: str = "k1", thread: str = "") -> None:
    outgoing = [Outgoing(1, WORDS, Severity.CRITICAL, mail_id=key, mail_thread=thread)]
    async with aclosing(channels.send("ops", url, outgoing)) as attempts:
        async for attempt in attempts:
            assert attempt.error is None


async def test_mail_says_that_nobody_is_to_answer_it_and_when_it_was_written():
    async with mail() as receiver:
        await send(url_of(receiver))
    letter = receiver.letters[0]
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["X-Auto-Response-Suppress"] == "All"
    assert parsedate_to_datetime(letter["Date"]) - datetime.now().astimezone() < timedelta(minutes=1)
    assert letter["Subject"] == "CRITICAL: render-farm: credits below 200"


async def test_the_message_id_is_that_of_message_and_recipient_however_often_it_is_sent():
    async with mail() as receiver:
        for key in ("k1", "k1", "k2"):
            await send(url_of(receiver, to="ops@example.com,boss@example.com"), key=key)
    ids = [letter.get_all("Message-ID") for letter in receiver.letters]
    assert [len(own) for own in ids] == [1] * 6
    assert ids[0:2] == ids[2:4]
    assert len({own[0] for own in ids}) == 4
    assert all(re.fullmatch(r"<k\d\.[0-9a-f]{12}@example\.com>", own[0]) for own in ids)


async def test_a_message_id_of_the_url_is_replaced_and_other_headers_of_it_stay():
    async with mail() as receiver:
        await send(url_of(receiver, "&+Message-ID=%3Cx@y%3E&+In-Reply-To=%3Cx@y%3E&+X-Team=render"), thread="k0")
    letter = receiver.letters[0]
    assert letter["X-Team"] == "render"
    assert [value.startswith("<k1.") for value in letter.get_all("Message-ID")] == [True]
    first = letter["Message-ID"].replace("k1", "k0")
    assert (letter.get_all("In-Reply-To"), letter.get_all("References")) == ([first], [first])


@pytest.mark.parametrize("form", ["", "&format=text"])
async def test_the_text_part_is_ours_in_72_columns_and_single_spaced(form):
    async with mail() as receiver:
        await send(url_of(receiver, form))
    text = receiver.letters[0].get_body(("plain",)).get_content().replace("\r\n", "\n").strip()
    assert text == wrap(WORDS.text).strip()
    assert max(map(len, text.splitlines())) <= 72
    assert "Organization: render-farm\nAccount: studio" in text


def test_rows_go_on_indented_and_tables_stay_as_they_are():
    row = f"Last top-up: +5,000 credits, {'2026-11-09 16:20 UTC '}(17:20 Europe/Berlin), and some more of it"
    assert wrap(row).splitlines()[1].startswith("  ")
    table = f"render-farm  {'x' * 80}  1"
    assert wrap(table) == table
    word = "https://example.com/" + "x" * 80
    assert wrap(f"Buy credits: {word}").splitlines()[-1].strip() == word


# --- the thread of an incident ----------------------------------------------------------------------------------------


async def test_all_mail_of_an_incident_answers_its_first_one_also_after_a_restart(tmp_path, database_url):
    async with mail() as receiver:
        story = Story(tmp_path, database_url, urls={"ops": url_of(receiver), "boss": url_of(receiver)}).begin()
        try:
            for balance in ("900", "100"):
                await story.check(balance)
                await story.parts.deliverer.drain()
            await story.restart()
            await story.check("100", minutes=5 * 60)
            await story.parts.deliverer.drain()
            await story.check("5000")
            await story.parts.deliverer.drain()
            await story.check("800", minutes=5 * 60)
            await story.parts.deliverer.drain()
        finally:
            await story.end()
    ops = [letter for letter in receiver.letters if letter["Subject"]]
    threads: dict[str, list[str]] = {}
    for letter in ops:
        assert letter["In-Reply-To"] == letter["References"]
        threads.setdefault(letter["In-Reply-To"] or letter["Message-ID"], []).append(letter["Subject"])
    # Of the boss, who hears of critical ones alone, the first one is another.
    assert sorted(threads.values(), key=len, reverse=True) == [
        [
            "WARNING: farm: credits below 1,000",
            "CRITICAL: farm: credits below 200",
            "STILL-CRITICAL: farm: credits below 200",
            "RESOLVED: farm: credits below 1,000",
        ],
        [
            "CRITICAL: farm: credits below 200",
            "STILL-CRITICAL: farm: credits below 200",
            "RESOLVED: farm: credits below 1,000",
        ],
        ["WARNING: farm: credits below 1,000"],
    ]
    assert len({letter["Message-ID"] for letter in ops}) == len(ops)
