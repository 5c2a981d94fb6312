"""Whether Apprise takes each channel's URL, whether a test message arrives when asked to send one, and who is told.

Refuses to send otherwise, and to repeat a URL.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from monitor import channels, check
from monitor.config import Settings
from monitor.doctor.findings import Finding, apart, look, ok, problem, warning
from monitor.errors import ConfigError

Clock = Callable[[], datetime]
LONG: Final = 90.0  # seconds: Apprise loads within 30, a message may take 30
URL_TODO: Final = "see https://appriseit.com/services/ for how the service's URL is written"
SEND_TODO: Final = "see the service's side: the URL's token or password, the address, the network from here"


async def look_at_channels(settings: Settings, *, clock: Clock, send: bool, complete: bool) -> list[Finding]:
    """A finding for every channel whose URL can be read, and for everybody who would be told nothing.

    `complete` False: mistakes hide channels, so nothing is said of who is told.
    """
    urls = {}
    for name in settings.channels:
        with suppress(ConfigError):  # which is found among the secrets
            urls[name] = await apart(lambda name=name: settings.channel_url(name))  # type: ignore[misc]
    told = list(_told(settings)) if complete else []
    hint = "see whether the machine is overloaded, and try again"
    return [*await look("channels", _ask(settings, urls, clock, send=send), hint=hint, within=LONG), *told]


async def _ask(settings: Settings, urls: dict[str, str], clock: Clock, *, send: bool) -> list[Finding]:
    wrong = await channels.verify(urls)
    found = [problem(f"channel {name}", said, URL_TODO) for name, said in wrong.items()]
    good = [name for name in urls if name not in wrong]
    if not send:
        return [*found, *(ok(f"channel {name}", "Apprise takes its URL; nothing was sent") for name in good)]
    for name, error in (await check.send_test(settings, good, clock=clock)).items():
        what = f"channel {name}"
        found.append(
            problem(what, f"took no test message: {error}", SEND_TODO) if error else ok(what, "took a test message")
        )
    return found


def _told(settings: Settings) -> Iterator[Finding]:
    if not settings.channels:
        found = "NOBODY WILL BE TOLD: no channel is configured"
        yield warning("telling", found, "add [channels.NAME] with url_file, then: credit-monitor notify NAME")
        return
    mute = [name for name, one in settings.organizations.items() if one.notify == ()]
    for name in mute:
        todo = f"leave notify out of [organizations.{name}] for every channel, or name some"
        yield warning(f"organization {name}", "nobody is told of it: its notify is empty", todo)
    if not mute:
        yield ok(
            "telling", f"{len(settings.channels)} channel{'' if len(settings.channels) == 1 else 's'} would be told"
        )
