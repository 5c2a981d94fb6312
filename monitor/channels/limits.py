"""What a service can hold: whether a message fits, and what is left of one that does not.

A text is cut between two lines where that is possible, and says that it was cut.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apprise import NotifyBase, NotifyFormat, NotifyType, OverflowMode

from monitor.channels.receivers import Receiver

CUT: Final = "… (cut)"
MORE: Final = "… and {} more"
ELLIPSIS: Final = "…"
FENCE: Final = "```"  # before and after a table, in Markdown


@dataclass(frozen=True, slots=True)
class Content:
    """A message as it is handed to a plug-in."""

    subject: str
    body: str
    form: NotifyFormat

    def size(self) -> int:
        """Return its length in characters."""
        return len(self.subject) + len(self.body)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service of one URL holds: what its plug-in says, and what the table of receivers adds."""

    service: NotifyBase
    receiver: Receiver
    most: int | None = None  # characters; after the service has said that it was too long

    def holds(self, content: Content) -> bool:
        """Whether a message arrives whole."""
        if self.most is not None and content.size() > self.most:
            return False
        pieces = self._pieces(content)
        return len(pieces) == 1 and self._holds_piece(pieces[0])

    def _pieces(self, content: Content) -> list[dict[str, Any]]:
        """What the plug-in would send, with its own conversions."""
        return list(
            self.service._build_send_calls(  # noqa: SLF001 -- `notify` would send it, too
                title=content.subject,
                body=content.body,
                notify_type=NotifyType.INFO,
                overflow=OverflowMode.SPLIT,
                body_format=content.form,
            )
        )

    def _holds_piece(self, piece: Mapping[str, Any]) -> bool:
        text = f"{piece['title']}\n{piece['body']}" if piece["title"] else piece["body"]
        lines = self.service.body_max_line_count
        if lines and text.count("\n") >= lines:
            return False
        characters, size = self.characters, self.receiver.max_bytes
        return (characters is None or len(text) <= characters) and (size is None or len(text.encode()) <= size)

    @property
    def characters(self) -> int | None:
        """What the table says."""
        further = [most for name, most in self.receiver.max_characters_if.items() if getattr(self.service, name, False)]
        return min((most for most in (self.receiver.max_characters, *further) if most is not None), default=None)

    def fit_subject(self, subject: str) -> str:
        """Return a subject cut at a word, for a service that shows it apart."""
        most = self.service.title_maxlen
        if most <= 0 or len(subject) <= most:
            return subject
        kept = subject[: most - len(ELLIPSIS)]
        return (kept.rpartition(" ")[0] or kept).rstrip() + ELLIPSIS


def fit(limits: Limits, content: Content, *, counted: bool) -> Content:
    """Return a message that the service holds, cut where it has to be.

    `counted`: each line is one thing of a list, so the end says how many more there were.
    """
    content = Content(limits.fit_subject(content.subject), content.body, content.form)
    if limits.holds(content):
        return content
    lines = content.body.rstrip().splitlines()
    kept = _most(len(lines), lambda count: limits.holds(_lines(content, lines, count, counted=counted)))
    if kept:
        return _lines(content, lines, kept, counted=counted)
    kept = _most(len(content.body), lambda count: limits.holds(_letters(content, count)))
    if limits.holds(_letters(content, kept)):
        return _letters(content, kept)
    # Not even the subject fits, where that is a part of the text.
    kept = _most(len(content.subject), lambda count: limits.holds(_subject(content, count)))
    return _subject(content, kept)


def _lines(content: Content, lines: list[str], count: int, *, counted: bool) -> Content:
    """So many lines of a message, and how it ends then."""
    kept, rest = lines[:count], lines[count:]
    while kept and not kept[-1].strip():
        kept = kept[:-1]
    if sum(line == FENCE for line in kept) % 2:  # a table was cut
        kept = [*kept, FENCE]
    more = sum(1 for line in rest[:-1] if line.strip() and line != FENCE)  # the last one is no thing of the list
    ending = MORE.format(more) if counted and more else CUT
    return Content(content.subject, "\n".join((*kept, ending)), content.form)


def _letters(content: Content, count: int) -> Content:
    return Content(content.subject, f"{content.body[:count].rstrip()}{CUT}", NotifyFormat.TEXT)


def _subject(content: Content, count: int) -> Content:
    return Content(content.subject[:count].rstrip() + ELLIPSIS, CUT, NotifyFormat.TEXT)


def _most(highest: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `highest` that fits; 0 where none does."""
    low = 0
    while low < highest:
        middle = (low + highest + 1) // 2
        if fits(middle):
            low = middle
        else:
            highest = middle - 1
    return low
