"""Foreign text made harmless, wherever it is shown: terminals, log lines, spreadsheets, metrics, messages, headers.

Nothing in it moves a cursor, begins a line, becomes a formula, markup, a mention or a link.
"""

import re
import unicodedata
from typing import Final

LONGEST_NAME: Final = 80  # characters of a name in a message

# --- terminals, log lines, metrics ------------------------------------------------------------------------------------


def mask(text: str) -> str:
    """Return one line in which whatever cannot be printed (escapes, line breaks, direction marks) is a `?`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def escape(text: str) -> str:
    r"""Return one line in which whatever cannot be printed is written as in JSON and Python: `\\n`, `\\u202e`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def escape_beyond(text: str, codec: str = "ascii") -> str:
    r"""Return one line in which whatever cannot be printed, or `codec` cannot hold, is written as `\\u202e`."""
    return "".join(c if c.isprintable() and _holds(codec, c) else _escape(c) for c in text)


def _holds(codec: str, character: str) -> bool:
    try:
        character.encode(codec)
    except UnicodeError:
        return False
    return True


def escape_lines(text: str) -> str:
    """Return the text with each of its lines escaped; the line breaks are ours."""
    return "\n".join(map(escape, text.split("\n")))


def print_on_one_line(text: str) -> str:
    """Return the printable characters on one line: whitespace becomes single spaces, the rest is dropped."""
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "" for c in text).split())


# --- spreadsheets and HTTP headers ------------------------------------------------------------------------------------

_FORMULA: Final = ("=", "+", "-", "@")
_HEADER_VALUE: Final = r"[!-~]{1,200}"


def quote_formula(text: str) -> str:
    """Return a cell of a CSV file that no spreadsheet calculates: an apostrophe stands in front of a formula."""
    line = mask(text)
    return f"'{line}" if line.startswith(_FORMULA) else line


def fits_header(text: str) -> bool:
    """Return whether a text can be the value of an HTTP header without ending it."""
    return re.fullmatch(_HEADER_VALUE, text) is not None


# --- messages ---------------------------------------------------------------------------------------------------------

# Brackets and backticks would end a code span, open a link or spell a mention such as <!channel>; the others are
# emphasis, which chats see in plain text, too; a backslash would take the sign behind it for itself, as at the end of a
# code span.
_LOOKALIKES: Final = str.maketrans("<>[]`{}*~|\\", "\u2039\u203a()'()\u2217\u223c\u00a6\u2216")
_EMPHASIS: Final = r"(?<![^\W_])_|_(?![^\W_])"  # my_org has none
_LOW_LINE: Final = "\u02cd"
_LINKS: Final = r"@(?=\w)|:(?=//)"  # what chats and mail clients turn into mentions and links
_ZERO_WIDTH_SPACE: Final = "\u200b"


def harmless(foreign: str, *, longest: int = LONGEST_NAME) -> str:
    """Return foreign text as one line without control characters, markup, mentions, links; `?` when nothing is left."""
    visible = "".join(" " if _is_separator(c) else c for c in foreign if not _is_hidden(c))
    line = re.sub(_EMPHASIS, _LOW_LINE, " ".join(visible.translate(_LOOKALIKES).split()))
    if len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return re.sub(_LINKS, rf"\g<0>{_ZERO_WIDTH_SPACE}", line) or "?"


def _is_separator(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cc"


def _is_hidden(character: str) -> bool:
    """Return whether it is a direction mark, a zero-width character, a surrogate, or unassigned."""
    category = unicodedata.category(character)
    return category.startswith("C") and category != "Cc"
