"""Writes the table of all services into `docs/channels.md`.  Run it after a change of it; a test compares."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services import OTHERS

from monitor.channels import receivers, service
from monitor.channels.receivers import UNLISTED, Lacks, Reads, Receiver, Says

PAGE = Path(__file__).parents[2] / "docs" / "channels.md"
BEGIN, END = "<!-- services: begin -->\n", "<!-- services: end -->\n"
# The plug-ins that look into an answer of 2xx themselves, and what they take for a no.
LOOKING = {
    "atalk": "`Recipients[].statusCode`",
    "bale": "`ok: false`",
    "cm": "`errorCode`, `messages[].messageErrorCode`",
    "enigma2": "no `result: true`",
    "github": "`errors`",
    "gorush": "`logs[]` of type failed-push",
    "gupshup": "`status: error`",
    "infobip": "`messages[].status.groupName`",
    "kaleyra": "`error`",
    "kook": "`code` ≠ 0",
    "lfg": "no `fired: true`",
    "mobilemsg": "no `status: complete`, `results[].status`",
    "notifyre": "`success: false`",
    "onebot": "`status: failed`, `retcode`",
    "psafer": "no `status: 1`",
    "pushplus": "no `code: 200`",
    "pushy": "no `success: true`",
    "reddit": "`json.errors`",
    "serwersms": "no `success: true`",
    "sfr": "no `success: true`",
    "smsc": "`error_code`",
    "smseagle": "no `result.status: ok`",
    "smstunnel": "`success: false`",
    "viber": "no `status: 0`",
    "voipms": "no `status: success`",
    "wechat": "`errcode` ≠ 0",
    "whapi": "no `sent: true`",
    "wpush": "no `code: 0`",
    "wxpusher": "no `code: 1000`",
    "zalo": "`ok: false`",
}
# What no HTTP receiver can say no to.
PROTOCOLS = {
    "amqp": "the broker refuses",
    "aprs": "the server refuses the login",
    "deltachat": "SMTP 4xx, 5xx, for each address",
    "fcm": "HTTP status, `failure`",
    "irc": "an error reply",
    "mailto": "SMTP 4xx, 5xx, for each address",
    "mqtt": "the broker refuses",
    "nostr": "the relay's `OK` is false",
    "rsyslog": "never: UDP is not answered",
    "session": "HTTP status",
    "smpp": "the server refuses",
    "syslog": "never: the log of this machine",
    "vapid": "HTTP status",
    "xmpp": "the server refuses",
}
HERE = {"blink1", "dbus", "glib", "gnome", "growl", "macosx", "windows"}  # on the screen of this machine


def document() -> str:
    """Return the page with the table of today."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table = "".join(f"{line}\n" for line in _table())
    return f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}"


def _table() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        service.load()
    yield "| service | Apprise URL | joined | cut at | pictures | how a no looks | who notices |"
    yield "|---|---|---|---|---|---|---|"
    for plugin in sorted(set(service.PLUGINS.plugins()), key=lambda plugin: str(plugin.service_name).lower()):
        yield f"| {' | '.join(_row(plugin))} |"


def _schemas(plugin: Any) -> list[str]:
    named = [name for name in (plugin.protocol, plugin.secure_protocol) if name]
    return [schema for name in named for schema in ((name,) if isinstance(name, str) else name)]


def _row(plugin: Any) -> Iterator[str]:
    schemas = _schemas(plugin)
    found = (receivers.find(schema) for schema in schemas)
    receiver = next((one for one in found if one is not UNLISTED), UNLISTED)
    yield str(plugin.service_name).replace("|", "/")
    yield ", ".join(f"`{schema}://`" for schema in schemas)
    yield "yes" if receiver.joins else "never"
    yield _limit(plugin, receiver)
    yield "yes" if plugin.attachment_support and receiver.attaches else "no"
    yield from _no(schemas, receiver)


def _limit(plugin: Any, receiver: Receiver) -> str:
    own = receiver.widened_to or plugin.body_maxlen
    characters = [most for most in (own if isinstance(own, int) else None, receiver.max_characters) if most]
    limits = [f"{min(characters):,}"] if characters else ["by the server"]
    if receiver.max_bytes:
        limits.append(f"{receiver.max_bytes:,} bytes")
    limits += [f"{most:,} with `{name}`" for name, most in receiver.max_characters_if.items()]
    return ", ".join(limits)


def _no(schemas: list[str], receiver: Receiver) -> Iterator[str]:
    """Yield how a no looks, and who notices it."""
    own = next((LOOKING[schema] for schema in schemas if schema in LOOKING), None)
    other = next((schema for schema in schemas if schema in OTHERS), None)
    if other in HERE:
        yield from ("never", "it is the screen of this machine")
    elif other:
        yield from (PROTOCOLS[other], "credit-monitor" if other in ("mailto", "deltachat", "fcm") else "Apprise")
    elif receiver.answers:
        yield from (f"HTTP status; {'; '.join(map(_words, receiver.answers))}", "credit-monitor")
    elif own:
        yield from (f"HTTP status; {own}", "Apprise")
    else:
        yield from ("HTTP status", "credit-monitor")


def _words(answer: Says | Lacks | Reads) -> str:
    if isinstance(answer, Reads):
        return "text that says so"
    path = answer.path.replace("|", "` or `")
    if isinstance(answer, Lacks):
        return f"`{path}`"
    if not answer.good:
        return f"any `{path}`"
    good = " or ".join(
        dict.fromkeys(str(word).lower() if isinstance(word, bool) else str(word) for word in answer.good)
    )
    return f"`{path}` other than {good}" + (", or without it" if answer.required else "")


if __name__ == "__main__":
    PAGE.write_text(document())
    sys.exit(0)
