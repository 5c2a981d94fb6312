"""One letter, written out in three forms: plain text, Markdown, and HTML for a mail client.

Refuses to choose words.  A letter's sentences are templates: foreign words (names, ids, causes) stand in them as
`{name}` and are put in by each form in its own safe way; everything else in them is ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from monitor.model import Message, Severity

RESOLVED: Final = "#2e7d32"
COLOURS: Final[Mapping[Severity, str]] = {
    Severity.INFO: "#1565c0",
    Severity.WARNING: "#b26a00",
    Severity.CRITICAL: "#b3261e",
}

# Label and value share a cell: mail programs without HTML then show them on one line.
PAGE: Final = """\
<div style="max-width:600px;font:15px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color:#202124">
<div style="padding:12px 16px;background:{colour};color:#ffffff;font-size:17px;font-weight:bold">{subject}</div>
<div style="padding:4px 16px 12px;border:1px solid #dadce0;border-top:0">
{lead}
<table style="border-collapse:collapse;width:100%;font-size:14px">
{rows}
</table>
<p style="margin:12px 0 0;color:#70757a;font-size:12px">{footer}</p>
</div>
</div>
"""
PARAGRAPH: Final = '<p style="margin:12px 0">{}</p>'
ROW: Final = (
    '<tr><td style="padding:5px 0;border-top:1px solid #eeeeee">'
    '<span style="display:inline-block;min-width:150px;color:#5f6368">{}:</span> {}</td></tr>'
)


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message says, before it takes a form; `foreign` holds harmless text only."""

    subject: str
    lead: tuple[str, ...]  # paragraphs
    rows: tuple[tuple[str, str], ...]  # label, value
    footer: str
    colour: str
    foreign: Mapping[str, str]


def write(letter: Letter) -> Message:
    """The letter in all its forms."""
    return Message(_plain(letter, letter.subject), _text(letter), _markdown(letter), _html(letter))


def _plain(letter: Letter, template: str) -> str:
    return template.format_map(letter.foreign)


def _text(letter: Letter) -> str:
    rows = "\n".join(f"{label}: {value}" for label, value in letter.rows)
    return _plain(letter, "\n\n".join((*letter.lead, rows, letter.footer))) + "\n"


def _markdown(letter: Letter) -> str:
    """Foreign words become code spans, in which no dialect of Markdown sees emphasis, links or mentions."""
    rows = "\n".join(f"- **{label}**: {value}" for label, value in letter.rows)
    quoted = _quote(letter, lambda word: f"`{word}`")
    return "\n\n".join((*letter.lead, rows, letter.footer)).format_map(quoted) + "\n"


def _html(letter: Letter) -> str:
    bold = _quote(letter, lambda word: f"<b>{escape(word)}</b>")
    bare = _quote(letter, escape)
    return PAGE.format(
        colour=letter.colour,
        subject=escape(letter.subject).format_map(bare),
        lead="\n".join(PARAGRAPH.format(escape(part).format_map(bold)) for part in letter.lead),
        rows="\n".join(ROW.format(escape(label), escape(value).format_map(bare)) for label, value in letter.rows),
        footer=escape(letter.footer).format_map(bare),
    )


def _quote(letter: Letter, quote: Callable[[str], str]) -> Mapping[str, str]:
    return {key: quote(word) for key, word in letter.foreign.items()}
