"""Sends messages and checks channel URLs, through Apprise in short-lived child processes.

Refuses to import Apprise, to retry, to remember, and to let a URL out: URL and messages go to the child on its standard
input, its environment is minimal, and whatever it reports is in our own words.  A child that passes its deadline is
killed, and so is one whose caller gives up.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from monitor.channels.child_process import ChildEnded, ask
from monitor.model import Attempt, Message, Severity

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
        """Apprise's word for how bad it is; services make a colour or an icon of it."""
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
) -> AsyncGenerator[Attempt, None]:
    """Send messages in order through one child; yields an attempt for each as it ends.

    When a message is not answered in time, or the child dies of it, its attempt says so (it is `unknown`: it may have
    arrived), and those after it are not attempted.  None is begun at or after `until`, asked anew for each (on the
    clock since boot; None: there is no end).  Use with `aclosing`: closing or cancelling kills the child.
    """
    questions = (
        {"url": url, "seconds": per_message.total_seconds(), "until": until(), "message": _words(one)}
        for one in outgoing
    )
    waiting = iter(outgoing)
    if not outgoing:
        return
    try:
        async with aclosing(ask(questions, within=per_message)) as answers:
            async for answer in answers:
                if answer["late"]:
                    log.warning("%s: not sent: this daemon no longer leads for certain", channel)
                    return
                yield _attempt(next(waiting), answer)
    except ChildEnded as ended:
        log.debug("%s: %s", channel, ended)
        yield Attempt(next(waiting).delivery_id, str(ended), unknown=ended.asked)


async def verify(urls: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each channel's URL, by channel; empty when Apprise takes them all.  Nothing is sent."""
    wrong: dict[str, str] = {}
    if not urls:
        return wrong
    waiting = iter(urls)
    try:
        async with aclosing(ask([{"url": url} for url in urls.values()], within=PER_MESSAGE)) as answers:
            async for answer in answers:
                channel = next(waiting)
                if answer["error"] is not None:
                    wrong[channel] = str(answer["error"])
    except ChildEnded as ended:
        wrong |= dict.fromkeys(waiting, f"could not be checked: {ended}")
    return wrong


def _words(one: Outgoing) -> dict[str, str]:
    """What the child needs of a message."""
    message = one.message
    return {
        "kind": one.kind,
        "subject": message.subject,
        "text": message.text,
        "markdown": message.markdown,
        "html": message.html,
    }


def _attempt(one: Outgoing, answer: Mapping[str, Any]) -> Attempt:
    retryable, unknown = bool(answer["retryable"]), bool(answer["unknown"])
    return Attempt(one.delivery_id, answer["error"], retryable=retryable, unknown=unknown)
