"""Mail: the headers by which a mailbox knows a message, a text part of our own, and what is wrong with a mail's URL.

Imported by the child alone.  Apprise makes the mail; what is ours replaces what it would put there.
"""

import hashlib
import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from apprise import NotifyFormat

COLUMNS: Final = 72
HEADERS: Final[Mapping[str, str]] = {
    "Auto-Submitted": "auto-generated",  # RFC 3834: nothing answers it by itself
    "X-Auto-Response-Suppress": "All",  # the same for Exchange
}
OWN: Final = frozenset({"message-id", "in-reply-to", "references", "date"})  # whatever the URL sets


@dataclass(slots=True)
class Letter:
    """The message under way; `key` is the same for each of its attempts, `thread` is the key of what it follows."""

    key: str = ""
    thread: str = ""
    html: str = ""
    text: str = ""
    id: str = field(default="")  # of the mail to one recipient


UNDER_WAY: Final = Letter()


def install() -> None:
    """Have every plug-in for mail use what is ours; when all of them are loaded."""
    base: Any = importlib.import_module("apprise.plugins.email.base")
    convert, make_id = base.convert_between, base.make_msgid
    if isinstance(make_id, partial):  # done before
        return
    base.NotifyEmail.prepare_emails = staticmethod(partial(_prepare, base.NotifyEmail.prepare_emails))
    base.make_msgid = partial(_make_id, make_id)
    ours: Callable[..., Any] = partial(_convert, convert)
    for name, module in list(sys.modules.items()):
        if name.startswith("apprise.plugins.") and getattr(module, "convert_between", None) is convert:
            vars(module)["convert_between"] = ours


def begin(message: Mapping[str, str]) -> None:
    """The next mail that Apprise makes is this message."""
    UNDER_WAY.key, UNDER_WAY.thread = message.get("mail_id", ""), message.get("mail_thread", "")
    UNDER_WAY.html, UNDER_WAY.text, UNDER_WAY.id = message["html"].strip(), wrap(message["text"]), ""


def _make_id(make_id: Callable[..., str], **options: Any) -> str:
    return UNDER_WAY.id or make_id(**options)


def _prepare(
    prepare: Callable[..., Iterator[Any]],
    *,
    to: list[tuple[Any, str]],
    from_addr: Any,
    headers: dict[str, str],
    **rest: Any,
) -> Iterator[Any]:
    """Yield what Apprise makes of the message for each recipient, with our headers."""
    given = {name: value for name, value in headers.items() if name.strip().lower() not in OWN}
    known = {name.strip().lower() for name in given}
    given |= {name: value for name, value in HEADERS.items() if name.lower() not in known}
    for recipient in to:
        more = {}
        if UNDER_WAY.key:
            UNDER_WAY.id = message_id(UNDER_WAY.key, recipient[1], from_addr[1])
        if UNDER_WAY.thread:
            first = message_id(UNDER_WAY.thread, recipient[1], from_addr[1])
            more = {"In-Reply-To": first, "References": first}
        yield from prepare(to=[recipient], from_addr=from_addr, headers=given | more, **rest)
        UNDER_WAY.id = ""


def message_id(key: str, recipient: str, sender: str) -> str:
    """Return the Message-ID of a message to one recipient: the same whenever it is sent."""
    target = hashlib.sha256(recipient.strip().lower().encode()).hexdigest()[:12]
    domain = sender.rpartition("@")[2]
    return f"<{key}.{target}@{domain if domain.isascii() else 'credit-monitor.invalid'}>"


def _convert(convert: Callable[..., Any], source: Any, target: Any, content: str, *args: Any, **options: Any) -> Any:
    """Return our own text where Apprise would make one of our HTML."""
    if target == NotifyFormat.TEXT and UNDER_WAY.html and content.strip() == UNDER_WAY.html:
        return UNDER_WAY.text
    return convert(source, target, content, *args, **options)


# --- plain text -------------------------------------------------------------------------------------------------------


def wrap(text: str) -> str:
    """Return the text with no line longer than a mail's should be, but for tables and words that are longer."""
    return "\n".join(_wrapped(line) for line in text.split("\n"))


def _wrapped(line: str) -> str:
    if len(line) <= COLUMNS or "  " in line.strip():  # columns of a table
        return line
    label, separator, _ = line.partition(": ")
    is_row = bool(separator) and len(label) < COLUMNS // 3 and "." not in label
    indent = "  " if is_row or line.startswith("- ") else ""
    return textwrap.fill(line, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
