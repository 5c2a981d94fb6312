"""Several notifications in one message, and a channel's summary."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from render_messages import AT, BERLIN, CALM, DIGEST, NOTIFICATIONS, group
from tags import TAGS, Tags, vars_of

from monitor.message import render, render_digest, render_group
from monitor.message.layout import COLOURS, RESOLVED
from monitor.model import DigestLine, OpenLine, Reason, Rule, Severity
from monitor.text import harmless

OVER = [notification for notification in NOTIFICATIONS if notification.reason is Reason.RESOLVED]


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_of_one_is_that_message():
    for notification in NOTIFICATIONS:
        assert render_group([notification], timezone=BERLIN) == render(notification, timezone=BERLIN)


def test_the_subject_is_the_worst_and_how_many_more():
    assert group().subject == "CRITICAL: render-farm has 169.94 credits, below 200 (and 3 more)"


def test_the_worst_comes_first_what_is_over_last_and_the_overview_before_everything():
    lines = [line for line in group().text.splitlines() if line.startswith("- ")]
    assert [line.split(":")[0] for line in lines] == ["- CRITICAL", "- CRITICAL", "- WARNING", "- RESOLVED"]
    assert group().text.startswith("\n".join(lines))


def test_what_is_new_comes_before_what_is_said_again():
    reminder = next(
        notification
        for notification in NOTIFICATIONS
        if notification.reason is Reason.REMINDER and notification.severity is Severity.CRITICAL
    )
    subject = render_group([reminder, NOTIFICATIONS[1]], timezone=BERLIN).subject
    assert subject == "CRITICAL: render-farm has 169.94 credits, below 200 (and 1 more)"


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_member_has_its_headline_its_figures_and_its_id_in_every_form(form):
    written = getattr(render_group(NOTIFICATIONS, timezone=BERLIN), form)
    for notification in NOTIFICATIONS:
        assert written.count(notification.id) == 1
    assert written.count("169.94268 credits") >= 2
    assert f"{len(NOTIFICATIONS)} notifications" in written


def test_the_colour_is_that_of_the_worst():
    assert f"background:{COLOURS[Severity.CRITICAL]}" in group().html
    assert f"background:{RESOLVED}" in render_group(OVER, timezone=BERLIN).html


@given(st.permutations(NOTIFICATIONS[:8]))
def test_every_order_makes_all_that_is_over_come_last(notifications):
    lines = render_group(notifications, timezone=BERLIN).text.splitlines()[: len(notifications)]
    over = [line.startswith(("- RESOLVED", "- CLOSED")) for line in lines]
    assert over == sorted(over)


@given(st.text(), st.text())
def test_no_name_breaks_out_of_a_group(name, title):
    facts = replace(NOTIFICATIONS[0].facts, name=name, title=title, cause=title)
    told = render_group([NOTIFICATIONS[1], replace(NOTIFICATIONS[0], facts=facts)], timezone=BERLIN)
    tags = Tags()
    tags.feed(told.html)
    assert tags.seen <= TAGS
    assert told.markdown.count("`") % 2 == 0
    assert f"- WARNING: `{harmless(name)}` has 900 credits" in told.markdown


# --- summaries --------------------------------------------------------------------------------------------------------


def test_a_summary_reads_like_this():
    told = render_digest(DIGEST, timezone=BERLIN)
    assert told.subject == "Daily summary of 4 organizations: 1 critical, 1 warning, 2 messages not delivered"
    assert told.text == (
        "From 2026-11-22 16:20 UTC (17:20 Europe/Berlin) to 2026-11-23 16:20 UTC (17:20 Europe/Berlin).\n"
        "\n"
        "Open incidents\n"
        "--------------\n"
        "\n"
        "Severity  Name         What         Open for\n"
        "critical  render-farm  low credits  2 d\n"
        "warning   web-shop     no balance   9 h\n"
        "\n"
        "Deliveries that failed\n"
        "----------------------\n"
        "\n"
        "Channel  Given up  Tried again\n"
        "mail            0            3\n"
        "pager           2            1\n"
        "\n"
        "Balances\n"
        "--------\n"
        "\n"
        "Organization   Credits      Used  Topped up  Runway\n"
        "render-farm     169.94  1,020.50       0.00  15 h (11\u201319)\n"
        "web-shop      4,120.00    310.00   2,000.00  13 d (8.3\u201320)  OLD: 9 h\n"
        "lab                  ?         ?          ?  unknown        never fetched\n"
        "archive          25.00      0.00       0.00  nothing used\n"
        "\n"
        "credit-monitor, summary for channel ops\n"
    )


def test_a_summary_says_when_all_is_well():
    told = render_digest(CALM, timezone=BERLIN)
    assert told.subject == "Weekly summary of 1 organization: no open incident"
    assert "No incident is open.\n\nNo delivery failed." in told.text
    assert f"background:{RESOLVED}" in told.html


def test_a_summary_of_nothing_is_still_one():
    told = render_digest(replace(CALM, organizations=()), timezone=BERLIN)
    assert "No organization is watched for this channel." in told.text


def test_a_table_is_a_block_of_code_in_markdown_and_a_table_in_html():
    told = render_digest(DIGEST, timezone=BERLIN)
    assert "```\nSeverity  Name " in told.markdown
    assert told.markdown.count("```") == 6
    assert told.html.count("<table") == 3
    assert ">1,020.50</td>" in told.html


@given(st.text())
def test_no_name_breaks_out_of_a_summary(name):
    assume("None" not in name)  # the word that a missing figure would be
    line = DigestLine(name, None, None, None, None)
    incident = OpenLine(name, Rule.STALE, Severity.WARNING, AT)
    digest = replace(DIGEST, channel=name, organizations=(line,), incidents=(incident,), lost={name: 1}, waiting={})
    told = render_digest(digest, timezone=BERLIN)
    tags = Tags()
    tags.feed(told.html)
    assert tags.seen <= TAGS
    assert told.markdown.count("`") == 20
    assert "None" not in "".join(vars_of(told)).replace(name, "")
