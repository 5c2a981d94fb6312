"""Look at the channels: whether Apprise takes each URL, on request whether a test message arrives, and who is told.

Sends nothing without that request, and shows no URL.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from monitor import channels, check
from monitor.config import Settings
from monitor.config.checks import in_thread
from monitor.doctor.findings import Finding, look, ok, problem, warning
from monitor.errors import ConfigError

Clock = Callable[[], datetime]
CHANNELS_TIMEOUT: Final = 90.0  # seconds: Apprise loads within 30, a message may take 30
URL_TODO: Final = "see https://appriseit.com/services/ for how the service's URL is written"
SEND_TODO: Final = "see the service's side: the URL's token or password, the address, the network from here"


async def look_at_channels(settings: Settings, *, clock: Clock, send: bool, complete: bool) -> list[Finding]:
    """Return a finding for every channel whose URL can be read, and for every organization of which nobody is told.

    With `complete` False mistakes hide channels: then there is no finding on who is told.
    """
    urls = {}
    for name in settings.channels:
        with suppress(ConfigError):  # a finding of the secrets
            urls[name] = await in_thread(lambda name=name: settings.channel_url(name))  # type: ignore[misc]
    routing = list(_look_at_routing(settings)) if complete else []
    hint = "see whether the machine is overloaded, and try again"
    return [
        *await look("channels", _verify(settings, urls, clock, send=send), hint=hint, within=CHANNELS_TIMEOUT),
        *routing,
    ]


async def _verify(settings: Settings, urls: dict[str, str], clock: Clock, *, send: bool) -> list[Finding]:
    errors = await channels.verify(urls)
    findings = [problem(f"channel {name}", error, URL_TODO) for name, error in errors.items()]
    valid = [name for name in urls if name not in errors]
    if not send:
        return [*findings, *(ok(f"channel {name}", "Apprise takes its URL; nothing was sent") for name in valid)]
    for name, error in (await check.send_test(settings, valid, clock=clock)).items():
        what = f"channel {name}"
        findings.append(
            problem(what, f"took no test message: {error}", SEND_TODO) if error else ok(what, "took a test message")
        )
    return findings


def _look_at_routing(settings: Settings) -> Iterator[Finding]:
    if not settings.channels:
        state = "NOBODY WILL BE TOLD: no channel is configured"
        yield warning("telling", state, "add [channels.NAME] with url_file, then: credit-monitor notify NAME")
        return
    mute = [name for name, organization in settings.organizations.items() if organization.notify == ()]
    for name in mute:
        todo = f"leave notify out of [organizations.{name}] for every channel, or name some"
        yield warning(f"organization {name}", "nobody is told of it: its notify is empty", todo)
    if not mute:
        count = len(settings.channels)
        yield ok("telling", f"{count} channel{'' if count == 1 else 's'} would be told")
