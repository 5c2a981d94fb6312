"""Formatting of credits, durations and instants, and sanitizing of foreign text for messages."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from monitor.amounts import rounded

CENT: Final = Decimal("0.01")
UNITS: Final = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "", 1))  # in seconds
LONGEST_NAME: Final = 80  # characters
LONGEST_CAUSE: Final = 300

# Brackets and backticks would end a code span, open a link or spell a mention such as <!channel>; the others are
# emphasis, which chats see in plain text, too.
LOOKALIKES: Final = str.maketrans("<>[]`{}*~|", "\u2039\u203a()'()\u2217\u223c\u00a6")
EMPHASIS: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # my_org has none
LOW_LINE: Final = "\u02cd"
LINKS: Final = re.compile(r"@(?=\w)|:(?=//)")  # what chats and mail clients turn into mentions and links
ZERO_WIDTH_SPACE: Final = "\u200b"


def format_credits(credits: Decimal) -> str:
    """Return credits exactly, to six places at most: `12,345.67`, `148.2`, `0`."""
    return f"{rounded(credits).normalize() + 0:,f}"


def shorten(credits: Decimal, *, up: bool = False) -> Decimal:
    """Return credits with two decimals, rounded down, so that 199.999 is not shown as its level 200.

    Less than a hundredth stays exact: a residue is not nothing.
    """
    if abs(credits) < CENT:
        return credits
    return credits.quantize(CENT, ROUND_CEILING if up else ROUND_FLOOR)


def format_change(change: Decimal) -> str:
    """Return a difference with its sign: `+1,000 credits`, `-12.3 credits`, `unchanged`."""
    if not rounded(change):
        return "unchanged"
    return f"{'+' if change > 0 else ''}{format_credits(change)} credits"


def format_duration(duration: timedelta) -> str:
    """Return the two largest units: `45 s`, `34 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(int(duration.total_seconds()), 0)
    for unit, length, smaller, smaller_length in UNITS:
        if seconds >= length:
            rest = seconds % length // smaller_length if smaller else 0
            return f"{seconds // length} {unit} {rest} {smaller}" if rest else f"{seconds // length} {unit}"
    return f"{seconds} s"


def format_instant(at: datetime, *, timezone: ZoneInfo) -> str:
    """Return an instant in UTC and in a time zone: `2026-11-24 23:20 UTC (2026-11-25 00:20 Europe/Berlin)`."""
    utc, local = at.astimezone(UTC), at.astimezone(timezone)
    text = f"{utc:%Y-%m-%d %H:%M} UTC"
    if str(timezone) in {"UTC", "Etc/UTC"}:
        return text
    same_day = utc.date() == local.date()
    return f"{text} ({local:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} {timezone})"


def harmless(foreign: str, *, longest: int = LONGEST_NAME) -> str:
    """Return foreign text as one line without control characters, markup, mentions, links; `?` when nothing is left."""
    visible = "".join(" " if _is_separator(c) else c for c in foreign if not _is_hidden(c))
    line = EMPHASIS.sub(LOW_LINE, " ".join(visible.translate(LOOKALIKES).split()))
    if len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return LINKS.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", line) or "?"


def _is_separator(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cc"


def _is_hidden(character: str) -> bool:
    """Return whether it is a direction mark, a zero-width character, a surrogate, or unassigned."""
    category = unicodedata.category(character)
    return category.startswith("C") and category != "Cc"
