"""Every word of a notification, and that no name can break out of it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from figures import changed, flat
from hypothesis import given
from hypothesis import strategies as st
from tags import TAGS, Tags, vars_of

from monitor import message
from monitor.message import format_change, format_credits, format_duration, format_instant, render
from monitor.model import Facts, Message, Notification, Reason, Rule, Severity, Subject
from monitor.text import harmless

AT = datetime(2026, 11, 24, 23, 20, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ZULU = ZoneInfo("UTC")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

FACTS = flat(
    name="render-farm",
    account="studio",
    at=AT,
    vendor_id="org-123456",
    title="Acme Render",
    credits=Decimal("148.2"),
    taken_at=AT,
    level=Decimal(200),
    clear=Decimal(210),
    previous_credits=Decimal("160.5"),
    previous_at=AT - 5 * MINUTE,
    day_ago_credits=Decimal(1900),
    day_ago_at=AT - DAY - 3 * MINUTE,
    top_up_credits=Decimal(1000),
    top_up_at=AT - 3 * DAY,
    opened_at=AT - 2 * HOUR,
)
LOW = changed(FACTS, credits=Decimal(640), level=Decimal(1000), clear=Decimal(1050))
FAILED = changed(FACTS, level=None, clear=None, taken_at=AT - 34 * MINUTE, cause="no answer within 15 s")
KEY = flat(name="studio", account="studio", at=AT, cause="401 unauthorized", opened_at=AT - 28 * HOUR)
CLOSED = changed(FACTS, reconfigured=True, topped_up=Decimal(5000))


def notification(
    facts: Facts = FACTS,
    *,
    rule: Rule = Rule.CREDITS,
    reason: Reason = Reason.OPENED,
    severity: Severity = Severity.CRITICAL,
) -> Notification:
    subject = Subject.ACCOUNT if rule in {Rule.CREDENTIAL, Rule.OUTAGE} else Subject.ORGANIZATION
    return Notification("0192f3a4-7c1e", 7, subject, rule, reason, severity, facts)


def said(facts: Facts = FACTS, timezone: ZoneInfo = ZULU, **kinds) -> Message:
    return render(notification(facts, **kinds), timezone=timezone)


# --- subjects ---------------------------------------------------------------------------------------------------------

OPENED, ESCALATED, EASED = Reason.OPENED, Reason.ESCALATED, Reason.EASED
RESOLVED, REMINDER = Reason.RESOLVED, Reason.REMINDER
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL

SUBJECTS = [
    (Rule.CREDITS, OPENED, CRITICAL, FACTS, "CRITICAL: render-farm has 148.2 credits, below 200"),
    (Rule.CREDITS, OPENED, WARNING, LOW, "WARNING: render-farm has 640 credits, below 1,000"),
    (Rule.CREDITS, OPENED, CRITICAL, changed(FACTS, no_credits=True), "CRITICAL: render-farm has no credits left"),
    (Rule.CREDITS, OPENED, CRITICAL, changed(FACTS, credits=None), "CRITICAL: render-farm has no credits left"),
    (Rule.CREDITS, ESCALATED, CRITICAL, FACTS, "CRITICAL: render-farm has 148.2 credits, below 200"),
    (Rule.CREDITS, EASED, WARNING, LOW, "EASED to WARNING: render-farm has 640 credits, below 1,000"),
    (
        Rule.CREDITS,
        EASED,
        WARNING,
        changed(LOW, credits=Decimal(1010)),
        "EASED to WARNING: render-farm has 1,010 credits, not yet 1,050",
    ),
    (Rule.CREDITS, REMINDER, CRITICAL, FACTS, "STILL CRITICAL: render-farm has 148.2 credits, below 200 (for 2 h)"),
    (
        Rule.CREDITS,
        RESOLVED,
        WARNING,
        changed(LOW, credits=Decimal("5148.2")),
        "RESOLVED: render-farm has 5,148.2 credits again",
    ),
    (Rule.CREDITS, RESOLVED, CRITICAL, CLOSED, "CLOSED: low credits of render-farm: the configuration changed"),
    (Rule.STALE, OPENED, WARNING, FAILED, "WARNING: no balance of render-farm for 34 min"),
    (
        Rule.STALE,
        OPENED,
        WARNING,
        changed(FAILED, credits=None, taken_at=None, stale_after=30 * MINUTE),
        "WARNING: no balance of render-farm for more than 30 min",
    ),
    (Rule.STALE, RESOLVED, WARNING, FACTS, "RESOLVED: the balance of render-farm is known again: 148.2 credits"),
    (Rule.STALE, RESOLVED, WARNING, CLOSED, "CLOSED: no balance of render-farm: the configuration changed"),
    (Rule.ACCESS, OPENED, CRITICAL, FAILED, "CRITICAL: the key of account studio has no access to render-farm"),
    (Rule.ACCESS, RESOLVED, CRITICAL, FACTS, "RESOLVED: access to render-farm is back, it has 148.2 credits"),
    (Rule.ACCESS, RESOLVED, CRITICAL, CLOSED, "CLOSED: no access of render-farm: the configuration changed"),
    (Rule.CREDENTIAL, OPENED, CRITICAL, KEY, "CRITICAL: the API key of account studio is refused"),
    (Rule.CREDENTIAL, RESOLVED, CRITICAL, KEY, "RESOLVED: the API key of account studio works again"),
    (
        Rule.CREDENTIAL,
        RESOLVED,
        CRITICAL,
        changed(KEY, reconfigured=True),
        "CLOSED: refused API key of account studio: the configuration changed",
    ),
]


@pytest.mark.parametrize(("rule", "reason", "severity", "facts", "subject"), SUBJECTS)
def test_the_subject_says_it_all(rule, reason, severity, facts, subject):
    assert said(facts, rule=rule, reason=reason, severity=severity).subject == subject


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_an_alert_reads_like_this():
    assert said(timezone=BERLIN).text == (
        "The balance of render-farm is 148.2 credits, below 200.\n"
        "\n"
        "What to do: buy credits, or work that needs them will fail.\n"
        "\n"
        "Organization: render-farm (Acme Render, org-123456)\n"
        "Account: studio\n"
        "Balance: 148.2 credits\n"
        "Level: 200 credits, clear again at 210\n"
        "Since last snapshot: -12.3 credits, in 5 min\n"
        "Over 24 hours: -1,751.8 credits\n"
        "Last top-up: +1,000 credits, 2026-11-21 23:20 UTC (2026-11-22 00:20 Europe/Berlin)\n"
        "Time: 2026-11-24 23:20 UTC (2026-11-25 00:20 Europe/Berlin)\n"
        "To silence it: credit-monitor silence render-farm --for 4h\n"
        "\n"
        "credit-monitor, notification 0192f3a4-7c1e (the same id twice is the same message twice)\n"
    )


def test_the_three_forms_say_the_same():
    for form in (said().markdown, said().html):
        for words in ("148.2 credits, below 200", "-12.3 credits, in 5 min", "-1,751.8", "org-123456", "0192f3a4-7c1e"):
            assert words in form


def test_a_resolved_message_says_what_was_topped_up_and_how_long_it_lasted():
    text = said(changed(FACTS, topped_up=Decimal(5000)), reason=RESOLVED).text
    assert "Topped up since it began: 5,000 credits. It lasted 2 h." in text


@pytest.mark.parametrize("rule", [Rule.CREDITS, Rule.STALE, Rule.ACCESS])
def test_an_ending_by_configuration_never_speaks_of_a_top_up_since_it_began(rule):
    text = said(CLOSED, rule=rule, reason=RESOLVED).text
    assert "Topped up" not in text
    assert "because the configuration changed, not because anything got better. It stood for 2 h." in text


def test_an_escalated_message_says_what_it_was_before():
    text = said(changed(FACTS, previous_severity=WARNING), reason=ESCALATED).text
    assert "It was warning, and is critical now. It began 2 h ago." in text


def test_an_eased_message_says_what_still_stands():
    text = said(changed(LOW, previous_severity=CRITICAL), reason=EASED, severity=WARNING).text
    assert "It was critical, and is only warning now." in text


def test_an_eased_message_after_a_change_of_configuration_says_so():
    facts = changed(LOW, previous_severity=CRITICAL, reconfigured=True)
    assert "only warning now because the configuration changed" in said(facts, reason=EASED, severity=WARNING).text


def test_a_stale_message_marks_the_last_figure_old_and_gives_the_cause():
    text = said(FAILED, rule=Rule.STALE, severity=WARNING).text
    assert "Last known balance: 148.2 credits, OLD: taken 34 min earlier, 2026-11-24 22:46 UTC" in text
    assert "Cause: no answer within 15 s" in text
    assert "\nBalance:" not in text


def test_a_stale_message_without_any_balance_says_so():
    text = said(changed(FAILED, credits=None, taken_at=None), rule=Rule.STALE, severity=WARNING).text
    assert "no balance was ever seen" in text


def test_an_answer_of_no_credits_is_not_told_as_the_old_figure():
    text = said(changed(FAILED, no_credits=True)).text
    assert "Balance: none left, as the vendor answers" in text
    assert "OLD: taken 34 min earlier" in text


def test_a_refused_key_says_what_to_do():
    text = said(KEY, rule=Rule.CREDENTIAL).text
    assert "renew the key at the vendor" in text
    assert "Organization" not in text


def test_a_resolved_message_has_no_cause():
    assert "Cause" not in said(changed(FACTS, cause="old trouble"), reason=RESOLVED).text


def test_a_short_history_says_since_when():
    text = said(changed(FACTS, day_ago_at=AT - 7 * HOUR)).text
    assert "Over 7 h: -1,751.8 credits, since 2026-11-24 16:20 UTC" in text


def test_a_history_of_two_snapshots_says_its_change_once():
    text = said(changed(FACTS, day_ago_at=AT - 5 * MINUTE, day_ago_credits=Decimal("160.5"))).text
    assert text.count("-12.3") == 1


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("reason", list(Reason))
def test_the_barest_facts_still_make_a_message(rule, reason):
    bare = flat(name="render-farm", account="studio", at=AT)
    assert "None" not in "".join(vars_of(said(bare, rule=rule, reason=reason)))


def test_a_test_message_says_that_it_is_one():
    told = message.test_message("ops", at=AT, timezone=BERLIN)
    assert told.subject == "TEST: credit-monitor reaches channel ops"
    assert "Nothing is wrong" in told.text
    assert "2026-11-25 00:20 Europe/Berlin" in told.html
    assert "incident" not in told.text


def test_a_test_message_to_an_on_call_service_says_that_it_ends_at_once():
    told = message.test_message("pager", at=AT, timezone=BERLIN, ends=True)
    assert "It opens an incident of its own, which is resolved at once." in told.text


# --- what to do -------------------------------------------------------------------------------------------------------

BAD = (OPENED, ESCALATED, REMINDER, EASED)
PAGE = "https://vendor.example.com/billing?org=1&tab=2"


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("reason", BAD)
def test_every_kind_of_alert_says_what_to_do_and_how_to_silence_it(rule, reason):
    told = said(KEY if rule in (Rule.CREDENTIAL, Rule.OUTAGE) else FACTS, rule=rule, reason=reason)
    name = "studio" if rule in (Rule.CREDENTIAL, Rule.OUTAGE) else "render-farm"
    more = " --rule credential" if rule is Rule.CREDENTIAL else ""
    for form in (told.text, told.markdown, told.html):
        assert form.count("What to do: ") == 1
        assert f"credit-monitor silence {name} --for 4h{more}" in form


@pytest.mark.parametrize("facts", [FACTS, CLOSED])
def test_what_is_over_asks_for_nothing(facts):
    told = render(notification(facts, reason=RESOLVED), timezone=ZULU, top_up_urls={"studio": PAGE})
    assert not re.search("What to do|silence|billing", "".join(vars_of(told)))


def test_what_concerns_every_account_has_no_name_to_silence():
    everything = flat(name="every account", account="every account", at=AT)
    alert = Notification("1", 7, Subject.MONITOR, Rule.OUTAGE, OPENED, WARNING, everything)
    assert "silence" not in render(alert, timezone=ZULU).text


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("two words", "credit-monitor silence 'two words' --for 4h"),
        ("-x; rm", "credit-monitor silence --for 4h -- '-x; rm'"),
        ("a`b", None),  # it is written otherwise here, and the command would not find it
    ],
)
def test_the_command_can_be_pasted(name, command):
    told = said(changed(FACTS, name=name)).text
    assert f"To silence it: {command}" in told if command else "To silence it" not in told


@pytest.mark.parametrize("rule", list(Rule))
def test_where_credits_are_bought_stands_where_buying_helps(rule):
    told = render(notification(FACTS, rule=rule), timezone=ZULU, top_up_urls={"studio": PAGE})
    helps = rule in (Rule.CREDITS, Rule.RUNWAY, Rule.SPEND)
    assert (f"\nBuy credits: {PAGE}\n" in told.text) is helps
    assert (f"\nBuy credits: {PAGE}\n" in told.markdown) is helps
    assert (f'<a href="{PAGE.replace("&", "&amp;")}"' in told.html) is helps
    assert ("vendor.example.com" in told.text) is helps


# --- the subject of a mail --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", list(Rule))
def test_the_subject_of_a_mail_begins_with_state_and_name_and_a_reminder_changes_its_first_word_alone(rule):
    later = changed(FACTS, credits=Decimal(12), taken_at=AT + HOUR, at=AT + 5 * HOUR, spent=Decimal(7))
    opened, reminder = said(FACTS, rule=rule).mail_subject, said(later, rule=rule, reason=REMINDER).mail_subject
    whose = "account studio" if rule in (Rule.CREDENTIAL, Rule.OUTAGE) else "render-farm"
    assert opened.startswith(f"CRITICAL: {whose}: ")
    assert reminder == f"STILL-{opened}"
    assert said(FACTS, rule=rule, reason=RESOLVED).mail_subject.startswith(f"RESOLVED: {whose}: ")
    assert said(CLOSED, rule=rule, reason=RESOLVED).mail_subject.startswith(f"CLOSED: {whose}: ")


# --- figures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credits", "words"),
    [
        ("148.2", "148.2"),
        ("148.200000", "148.2"),
        ("1E+3", "1,000"),
        ("12345.67", "12,345.67"),
        ("0.000001", "0.000001"),
        ("0.0000004", "0"),
        ("-0.0", "0"),
        ("-3.25", "-3.25"),
        ("999999999999.999999", "999,999,999,999.999999"),
    ],
)
def test_credits_are_exact_and_trimmed(credits, words):
    assert format_credits(Decimal(credits)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0 s"), (-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (2040, "34 min"), (3600, "1 h")),
        *((7500, "2 h 5 min"), (86_400, "1 d"), (86_459, "1 d"), (273_600, "3 d 4 h")),
    ],
)
def test_durations_have_two_units_at_most(seconds, words):
    assert format_duration(timedelta(seconds=seconds)) == words


def test_a_change_has_its_sign():
    assert [format_change(Decimal(c)) for c in ("1000", "-12.3", "0")] == [
        "+1,000 credits",
        "-12.3 credits",
        "unchanged",
    ]


def test_an_instant_in_utc_is_said_once():
    assert format_instant(AT, timezone=ZULU) == "2026-11-24 23:20 UTC"
    assert format_instant(AT - 12 * HOUR, timezone=BERLIN) == "2026-11-24 11:20 UTC (12:20 Europe/Berlin)"


# --- names that would break out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("foreign", "line"),
    [
        ("two\r\nlines", "two lines"),
        ("Subject: x\nBcc: evil@example.com", "Subject: x Bcc: evil@\u200bexample.com"),
        ("\u202eevil\u2066", "evil"),
        ("a\x1b[31mred", "a (31mred"),
        ("<!channel> <@U123>", "\u2039!channel\u203a \u2039@\u200bU123\u203a"),
        ("@everyone and a@here", "@\u200beveryone and a@\u200bhere"),
        ("[click](http://x) `code` {name}", "(click)(http:\u200b//x) 'code' (name)"),
        ("*bold* ~~s~~ ||h||", "\u2217bold\u2217 \u223c\u223cs\u223c\u223c \u00a6\u00a6h\u00a6\u00a6"),
        ("_it_ __it__", "\u02cdit\u02cd \u02cd\u02cdit\u02cd\u02cd"),
        ("my_org_2 insufficient_balance", "my_org_2 insufficient_balance"),
        ("\u2028\u200b", "?"),
        ("studio\\", "studio\u2216"),
        ("x" * 200, "x" * 79 + "…"),
    ],
)
def test_foreign_text_becomes_one_harmless_line(foreign, line):
    assert harmless(foreign) == line


@given(st.text(), st.text(), st.text(), st.sampled_from(list(Rule)))
def test_no_name_breaks_out_of_any_form(name, title, cause, rule):
    facts = changed(FAILED, name=name, account=name, title=title, vendor_id=title, cause=cause)
    told = said(facts, rule=rule)
    assert told.subject.isprintable() or "\u200b" in told.subject
    assert len(told.subject.splitlines()) == 1
    assert len(told.subject) < 250
    tags = Tags()
    tags.feed(told.html)
    assert tags.seen <= TAGS
    for form in (told.subject, told.text, told.markdown):
        assert "<" not in form
        assert not re.search(r"(?<!\w)@\w", form)
        assert "](" not in form


@given(st.text())
def test_a_name_in_markdown_stays_in_its_code_span(name):
    told = said(changed(FACTS, name=name))
    assert told.markdown.count("`") % 2 == 0
    assert f"The balance of `{harmless(name)}` is" in told.markdown
