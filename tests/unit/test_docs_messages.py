"""`docs/messages.md` shows every message as the code writes it, and shows every kind."""

import re
from pathlib import Path

from render_messages import NOTIFICATIONS, PICTURES, document, pictured

from monitor.model import Reason, Rule

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"


def test_the_page_is_what_the_code_writes():
    assert PAGE.read_text() == document(), "run: python tests/support/render_messages.py"


def test_the_pictures_are_of_the_html_that_the_code_writes():
    folder = PAGE.parent / "pictures"
    assert (folder / "mail.html").read_text() == pictured().html, (
        "run: python tests/support/render_messages.py; python tests/support/take_pictures.py"
    )
    assert {f"pictures/{path.name}" for path in folder.glob("mail-*.png")} <= set(re.findall(r"\((\S+)\)", PICTURES))


def test_the_page_has_the_beginning_the_reminder_and_the_end_of_every_rule():
    shown = {(notification.rule, notification.reason) for notification in NOTIFICATIONS}
    assert {(rule, reason) for rule in Rule for reason in (Reason.OPENED, Reason.REMINDER, Reason.RESOLVED)} <= shown
    assert {reason for _, reason in shown} == set(Reason) - {Reason.DIGEST}
