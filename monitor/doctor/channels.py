"""Look at the channels: whether Apprise takes each URL, on request whether a test message arrives, and who is told.

Sends nothing without that request, and shows no URL.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from monitor import channels, check
from monitor.config import Settings
from monitor.config.checks import in_thread
from monitor.doctor.findings import Finding, look, ok, problem, warning
from monitor.errors import ConfigError
from monitor.model import Attempt

Clock = Callable[[], datetime]
CHANNELS_TIMEOUT: Final = 90.0  # seconds: Apprise loads within 30, a message may take 30
URL_TODO: Final = "see https://appriseit.com/services/ for how the service's URL is written"
SEND_TODO: Final = "see the service's side: the URL's token or password, the address, the network from here"
TODO: Final = (  # what an error says, and what to do then
    ("host name was not found", "see whether the host in the URL is spelled right, and whether this machine has DNS"),
    ("connection refused", "see whether the service runs there, on that port"),
    ("no answer", "see whether a firewall or a proxy stands between this machine and the service"),
    ("TLS", "see whether it speaks TLS on that port, and whether this machine trusts its certificate (SSL_CERT_FILE)"),
    ("the proxy", "see https_proxy and no_proxy in the environment: messages go through that proxy"),
    (
        r"HTTP 40[13]|login refused",
        "see whether the token, or login and password, in the URL are right and still valid",
    ),
    (
        r"HTTP 404|HTTP 410",
        "see whether the address in the URL is right: the web hook, the chat, the topic may be gone",
    ),
    (r"SMTP 55[013]", "see whether the mailbox exists, and whether the server lets this sender send to it"),
)


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
    examined = await channels.examine(urls)
    findings = [problem(f"channel {name}", one.error, URL_TODO) for name, one in examined.items() if one.error]
    for name, one in examined.items():
        insecure = one.insecure if not settings.channels[name].allow_insecure else None
        findings += [_caution(name, caution) for caution in (*one.cautions, insecure) if caution]
    valid = [name for name, one in examined.items() if not one.error]
    if not send:
        return [*findings, *(ok(f"channel {name}", "Apprise takes its URL; nothing was sent") for name in valid)]
    on_call = {name for name in valid if channels.is_on_call(urls[name])}
    for name, attempt in (await check.send_test(settings, valid, clock=clock)).items():
        findings += _test_findings(f"channel {name}", attempt, is_on_call=name in on_call)
    return findings


def _test_findings(what: str, attempt: Attempt, *, is_on_call: bool) -> Iterator[Finding]:
    """Yield what became of a test message, at each of several recipients."""
    taken = "took a test message" + (", opened an incident for it and resolved it" if is_on_call else "")
    if not attempt.targets:
        error = attempt.error
        yield ok(what, taken) if error is None else problem(what, f"took no test message: {error}", todo_of(error))
        return
    if reached := ", ".join(target.name for target in attempt.targets if target.error is None):
        yield ok(what, f"{taken} for {reached}")
    for target in attempt.targets:
        if target.error is not None:
            found = f"took no test message for {target.name}: {target.error}"
            yield problem(what, found, todo_of(target.error))


def todo_of(error: str) -> str:
    """Return what to do about a message that was not taken."""
    return next((todo for pattern, todo in TODO if re.search(pattern, error)), SEND_TODO)


def _caution(name: str, caution: str) -> Finding:
    """Return a warning; what to do stands behind its last semicolon."""
    found, _, todo = caution.rpartition("; ")
    return warning(f"channel {name}", found, todo)


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
