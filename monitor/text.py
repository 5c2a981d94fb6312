"""Foreign text made fit for a terminal, a log line or a spreadsheet: nothing in it moves a cursor or starts a line.

Refuses to change what can be printed.
"""

from typing import Final

FORMULA: Final = ("=", "+", "-", "@")


def masked(text: str) -> str:
    """One line in which whatever cannot be printed (escapes, line breaks, direction marks) is a `?`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def escaped(text: str) -> str:
    r"""One line in which whatever cannot be printed is written as JSON and Python write it: `\\n`, `\\u202e`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def lines(text: str) -> str:
    """The same for a text of several lines that are ours."""
    return "\n".join(map(escaped, text.split("\n")))


def no_formula(text: str) -> str:
    """A cell of a CSV file that no spreadsheet calculates: text in place of a formula gets an apostrophe in front."""
    line = masked(text)
    return f"'{line}" if line.startswith(FORMULA) else line
