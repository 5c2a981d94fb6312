"""Sends messages and checks channel URLs, through Apprise in short-lived child processes.

Refuses to import Apprise and to let a URL out: URL and messages reach a child through a socket alone, its environment
is minimal, and whatever it reports is in our own words.  A child that passes its deadline is killed, and so is one
whose caller gives up.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from monitor.channels.child_process import CHILDREN, ChildEnded, Template
from monitor.errors import ChildError
from monitor.model import Attempt, Message, Severity

__all__ = ["CHILDREN", "PER_MESSAGE", "Outgoing", "Template", "send", "verify"]

PER_MESSAGE: Final = timedelta(seconds=60)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to one channel."""

    delivery_id: int
    message: Message
    severity: Severity
    resolved: bool = False

    @property
    def kind(self) -> str:
        """Apprise's type of notification, which services show as a colour or an icon."""
        if self.resolved:
            return "success"
        return {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}[self.severity]


async def send(
    channel: str,
    url: str,
    outgoing: Sequence[Outgoing],
    *,
    per_message: timedelta = PER_MESSAGE,
    until: Callable[[], float | None] = lambda: None,
    template: Template | None = None,
) -> AsyncGenerator[Attempt, None]:
    """Send messages in order through one child; yield an attempt for each as it ends.

    When a message is not answered in time, or the child dies of it, its attempt says so (it is `unknown`: it may have
    arrived), and those after it are not attempted.  None is begun at or after `until`, asked anew for each (on the
    clock since boot; None: there is no end).  The child is forked from `template`; without one from a template of its
    own, which costs half a second.  Use with `aclosing`: closing or cancelling kills the child.
    """
    questions = (
        {"url": url, "seconds": per_message.total_seconds(), "until": until(), "message": _content(message)}
        for message in outgoing
    )
    waiting = iter(outgoing)
    if not outgoing:
        return
    try:
        async with _opened(template) as opened, aclosing(opened.ask(questions, within=per_message)) as answers:
            async for answer in answers:
                if answer["late"]:
                    log.warning("%s: not sent: this daemon no longer leads for certain", channel)
                    return
                yield _attempt(next(waiting), answer)
    except ChildEnded as ended:
        log.debug("%s: %s", channel, ended)
        yield Attempt(next(waiting).delivery_id, str(ended), unknown=ended.asked)


async def verify(urls: Mapping[str, str], *, template: Template | None = None) -> dict[str, str]:
    """Return what is wrong with each channel's URL, by channel; empty when Apprise accepts them all.  Send nothing.

    Raise `ChildError` when that cannot be found out.
    """
    if not urls:
        return {}
    try:
        return await _verify(urls, template)
    except ChildEnded as ended:
        log.debug("the URLs are checked once more: %s", ended)
    try:
        return await _verify(urls, template)
    except ChildEnded as ended:
        raise ChildError(f"the URLs of the channels could not be checked: {ended}") from None


async def _verify(urls: Mapping[str, str], template: Template | None) -> dict[str, str]:
    wrong: dict[str, str] = {}
    waiting = iter(urls)
    questions = [{"url": url} for url in urls.values()]
    async with _opened(template) as opened, aclosing(opened.ask(questions, within=PER_MESSAGE)) as answers:
        async for answer in answers:
            channel = next(waiting)
            if answer["error"] is not None:
                wrong[channel] = str(answer["error"])
    return wrong


@asynccontextmanager
async def _opened(template: Template | None) -> AsyncIterator[Template]:
    if template is not None:
        yield template
        return
    async with Template() as own:
        yield own


def _content(outgoing: Outgoing) -> dict[str, str]:
    """Return what the child needs of a message."""
    message = outgoing.message
    return {
        "kind": outgoing.kind,
        "subject": message.subject,
        "text": message.text,
        "markdown": message.markdown,
        "html": message.html,
    }


def _attempt(outgoing: Outgoing, answer: Mapping[str, Any]) -> Attempt:
    retryable, unknown = bool(answer["retryable"]), bool(answer["unknown"])
    return Attempt(outgoing.delivery_id, answer["error"], retryable=retryable, unknown=unknown)
