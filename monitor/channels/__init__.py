"""Sends messages and checks channel URLs, through Apprise in short-lived child processes.

Refuses to import Apprise and to let a URL out: URL and messages reach a child through a socket alone, its environment
is minimal, and whatever it reports is in our own words.  A child that passes its deadline is killed, and so is one
whose caller gives up.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from monitor.channels import receivers
from monitor.channels.child_process import CHILDREN, ChildEnded, Template
from monitor.channels.progress import Outgoing, Progress
from monitor.channels.receivers import may_be_insecure
from monitor.errors import ChildError
from monitor.model import Attempt

__all__ = [
    "CHILDREN",
    "PER_MESSAGE",
    "SALT",
    "Examined",
    "Outgoing",
    "Template",
    "UnderWay",
    "examine",
    "incident_key",
    "is_on_call",
    "may_be_insecure",
    "on_call_overrides",
    "send",
    "verify",
]

PER_MESSAGE: Final = timedelta(seconds=60)
SALT: Final = secrets.token_hex(8)  # of the keys of recipients, for what this process sends for the first time

log = logging.getLogger(__name__)


def incident_key(installation: str, incident: int | str) -> str:
    """Return the key by which on-call services know an incident of ours: stable, and fit for a path."""
    return f"credit-monitor.{installation}.{incident}"


def is_on_call(url: str) -> bool:
    """Return whether the service of a URL keeps an incident open for what it is sent, until that is resolved."""
    return receivers.find_url(url).on_call is not None


def on_call_overrides(url: str) -> Iterator[str]:
    """Yield what it means that the URL of an on-call service sets the key or the action of its incidents itself."""
    on_call = receivers.find_url(url).on_call
    if on_call is None:
        return
    if keys := receivers.own_keys(url, on_call):
        what = f"the URL sets the key of the incident ({', '.join(keys)}): all incidents share it"
        yield f"{what}, and the end of one ends the others there; without it each has its own"
    if actions := receivers.own_actions(url, on_call):
        what = f"the URL sets what a message does ({', '.join(f'{action}=' for action in actions)})"
        yield f"{what}: that holds whatever happened; without it an incident there is opened, and resolved when it ends"


@dataclass
class UnderWay:
    """What somebody who breaks a message off can still learn of it."""

    progress: Progress | None = None  # of the message that a child was last heard of

    def interrupt(self, delivery_id: int, error: str) -> Attempt:
        """Return the attempt to send a message that was broken off."""
        if self.progress is not None and self.progress.delivery_id == delivery_id:
            return self.progress.interrupt(error)
        return Attempt(delivery_id, error, unknown=True)


async def send(
    channel: str,
    url: str,
    outgoing: Sequence[Outgoing],
    *,
    per_message: timedelta = PER_MESSAGE,
    until: Callable[[], float | None] = lambda: None,
    template: Template | None = None,
    failing: Collection[str] = (),
    salt: str = SALT,
    under_way: UnderWay | None = None,
) -> AsyncGenerator[Attempt, None]:
    """Send messages in order through one child; yield an attempt for each as it ends.

    `per_message` is for each recipient.  When one does not answer in time, or the child dies of it, the outcome of that
    one is `unknown` (it may have arrived), and the rest are asked through another child; where nobody knows which it
    was, the attempt as a whole is unknown, and the messages after it are not attempted.  The recipients with the keys
    `failing` are asked last.

    No message is begun at or after `until`, asked anew for each (on the clock since boot; None: there is no end).  The
    child is forked from `template`; without one from a template of its own, which costs half a second.  Use with
    `aclosing`: closing or cancelling kills the child.
    """
    if not outgoing:
        return
    remaining = [Progress(message, salt=salt, failing=failing) for message in outgoing]
    async with _opened(template) as opened:
        while remaining:
            questions = (
                progress.question | {"url": url, "seconds": per_message.total_seconds(), "until": until()}
                for progress in list(remaining)
            )
            try:
                async with aclosing(opened.ask(questions, within=per_message)) as answers:
                    async for answer in answers:
                        if under_way is not None:
                            under_way.progress = remaining[0]
                        if "progress" in answer:
                            remaining[0].add(answer)
                        elif answer["late"]:
                            log.warning("%s: not sent: this daemon no longer leads for certain", channel)
                            return
                        else:
                            yield remaining.pop(0).conclude(answer)
            except ChildEnded as ended:
                log.debug("%s: %s", channel, ended)
                if remaining[0].can_go_on(ended):
                    continue
                yield remaining.pop(0).give_up(ended)
                return


@dataclass(frozen=True, slots=True)
class Examined:
    """What was seen of a channel's URL: why it cannot be used, what should be known of it, whether it pages people.

    `insecure`: why others can read or change what is sent, and what to write.
    """

    error: str | None
    cautions: tuple[str, ...] = ()
    pages: bool = False
    insecure: str | None = None


async def verify(urls: Mapping[str, str], *, template: Template | None = None) -> dict[str, str]:
    """Return what is wrong with each channel's URL, by channel; empty when Apprise accepts them all.  Send nothing.

    Raise `ChildError` when that cannot be found out.
    """
    examined = await examine(urls, template=template)
    return {channel: found.error for channel, found in examined.items() if found.error is not None}


async def examine(urls: Mapping[str, str], *, template: Template | None = None) -> dict[str, Examined]:
    """Return what Apprise says of each channel's URL, by channel.  Send nothing.

    Raise `ChildError` when that cannot be found out.
    """
    if not urls:
        return {}
    try:
        return await _examine(urls, template)
    except ChildEnded as ended:
        log.debug("the URLs are checked once more: %s", ended)
    try:
        return await _examine(urls, template)
    except ChildEnded as ended:
        raise ChildError(f"the URLs of the channels could not be checked: {ended}") from None


async def _examine(urls: Mapping[str, str], template: Template | None) -> dict[str, Examined]:
    examined: dict[str, Examined] = {}
    waiting = iter(urls)
    pages = {channel: is_on_call(url) for channel, url in urls.items()}
    questions = [{"url": url} for url in urls.values()]
    async with _opened(template) as opened, aclosing(opened.ask(questions, within=PER_MESSAGE)) as answers:
        async for answer in answers:
            channel = next(waiting)
            cautions, insecure = tuple(answer["cautions"]), answer["insecure"]
            examined[channel] = Examined(answer["error"], cautions, pages[channel], insecure)
    return examined


@asynccontextmanager
async def _opened(template: Template | None) -> AsyncIterator[Template]:
    if template is not None:
        yield template
        return
    async with Template() as own:
        yield own
