"""Apprise: a URL becomes a service, a message is sent through it, and its logs become a short error.

Imported by the template and its children alone, never by the daemon.  No word of Apprise's logs is passed on: they may
hold the URL.
"""

import logging
import os
import re
import smtplib
import socket
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType, OverflowMode
from apprise.logger import NotifyLogEntry
from apprise.manager_plugins import NotificationManager

log = logging.getLogger("apprise")

PLUGINS: Final = NotificationManager()  # type: ignore[no-untyped-call]
ASSET: Final = AppriseAsset(
    app_id="credit-monitor",
    app_desc="credit-monitor",
    http_redirects=False,  # a message posted to a redirect is lost, and was reported as sent
    storage_mode="memory",
    async_mode=False,
    service_timeout=0,  # the parent keeps the time, and kills
    allow_templates=False,
    interpret_emojis=False,
    pgp_autogen=False,
    pem_autogen=False,
)

PERMANENT_HTTP: Final = frozenset({401, 403, 404, 410})
PERMANENT_SMTP: Final = frozenset({530, 534, 535, 550, 551, 553})  # login or address refused
LOGIN_SMTP: Final = frozenset({530, 534, 535})
LEAST_REDIRECT, LEAST_REFUSAL, LEAST_FAULT = 300, 400, 500

SHARE_OF_READING, SHARE_OF_CONNECTING = 0.9, 0.2  # of the time for a message
SEND_DATA: Final = smtplib.SMTP.data
LETTER: Final[list[bool]] = []  # not empty: the letter under way has been sent to the mail server

HTTP_STATUS: Final = re.compile(r"\b(?:error|code|status)=([1-5]\d\d)\b")
SMTP_STATUS: Final = re.compile(r"\(([245]\d\d), b['\"]|was refused: ([245]\d\d) ")
UNANSWERED: Final = "no answer after the message was sent"  # which may have arrived
READ_LATE: Final = re.compile(r"Read timed out|read operation timed out")
NETWORK: Final = "Socket Exception"  # how Apprise's plugins begin what a network library reports
CAUSES: Final = (
    (re.compile(r"timed out|timeout", re.IGNORECASE), "no answer"),
    (
        re.compile(r"certificate|SSLError|\[SSL|STARTTLS"),
        "no secure connection: TLS or the certificate was not accepted",
    ),
    (re.compile(r"resolve|resolution|name or service|nodename", re.IGNORECASE), "its host name was not found"),
    (re.compile(r"refused", re.IGNORECASE), "connection refused"),
    (re.compile(r"reset|aborted|closed|disconnected|broken pipe", re.IGNORECASE), "connection closed by the service"),
)

Outcome = tuple[str | None, bool]  # the error, and whether trying again may help


def load() -> None:
    """Load every plugin now instead of with the first message; keep their logs from being printed."""
    log.addHandler(logging.NullHandler())
    log.propagate = False
    log.setLevel(logging.DEBUG)  # the cause of a failed connection is logged nowhere above
    PLUGINS.load_modules()  # type: ignore[no-untyped-call]
    # What it sends may arrive, whatever comes then.
    smtplib.SMTP.data = _send_data  # type: ignore[method-assign,assignment]


def warm_up() -> None:
    """Run through sending once, to a port at which nobody can listen: what is made then is shared by all children.

    It saves each of them 1.5 MiB and 3 ms, with TLS and mail 4 MiB.
    """
    words = dict.fromkeys(("subject", "text", "markdown", "html"), "-") | {"kind": "info"}
    proxies = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"  # nothing leaves this machine
    try:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{nobody.getsockname()[1]}"
            for url in (
                f"json://{address}/",
                f"jsons://{address}/",
                f"mailto://{address}/?from=a@b.example&to=a@b.example",
            ):
                send(url, words, seconds=1)
    except OSError:  # without a loopback interface it is only slower
        pass
    finally:
        open_service.cache_clear()
        os.environ.pop("no_proxy")
        if proxies is not None:
            os.environ["no_proxy"] = proxies


# --- URLs -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def open_service(url: str) -> NotifyBase | str:
    """Return the service that a URL names, or what is wrong with it, in words that repeat none of it."""
    scheme, separator, _ = url.partition("://")
    if not url:
        return "the URL is empty"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "the URL has a space or a line break in it; a space is written %20"
    if not separator:
        return "this is no Apprise URL: those begin with a service and ://"
    service = Apprise.instantiate(url, asset=ASSET)
    if service is None:
        return _rejection(scheme.lower())
    _harden(service)
    return service


def problem(url: str) -> str | None:
    """Return what is wrong with a URL; None when Apprise accepts it."""
    service = open_service(url)
    return service if isinstance(service, str) else None


def _rejection(scheme: str) -> str:
    if scheme not in PLUGINS:
        return "the URL names no service that Apprise knows"
    plugin = PLUGINS[scheme]
    if not plugin.enabled:
        return f"{plugin.service_name} needs a Python library that is not installed"
    return f"{plugin.service_name} does not take the URL: something in it is missing or malformed"


def _harden(service: NotifyBase) -> None:
    """Override settings of a URL that would lose messages."""
    service.redirects = False
    service.optional = False  # would report a failure as success
    if service.overflow_mode is OverflowMode.UPSTREAM:
        service.overflow_mode = OverflowMode.TRUNCATE  # the subject comes first; a text message costs money


# --- sending ----------------------------------------------------------------------------------------------------------


def send(url: str, message: Mapping[str, str], *, seconds: float) -> Outcome:
    """Send a message (`kind`, `subject`, `text`, `markdown`, `html`) to the service of a URL, within `seconds`."""
    service = open_service(url)
    if isinstance(service, str):
        return service, False
    _set_timeouts(service, seconds)
    LETTER.clear()
    form = choose_form(service, message)
    apprise = Apprise(service, asset=ASSET)
    result = apprise.notify(
        title=message["subject"],
        body=message[form.value],
        body_format=form,
        notify_type=NotifyType(message["kind"]),
        log_level=logging.DEBUG,
    )
    return (None, True) if result else explain(result.logs())


def _set_timeouts(service: NotifyBase, seconds: float) -> None:
    """Wait nearly as long as the parent does: what is given up earlier may have been accepted.

    A host that takes no connection fails before the parent's time is over, for then nothing was sent.
    """
    waiting = seconds * SHARE_OF_READING
    # Mail has one limit for both.
    connecting = waiting if hasattr(service, "smtp_host") else seconds * SHARE_OF_CONNECTING
    service.socket_connect_timeout = max(service.socket_connect_timeout, connecting)
    service.socket_read_timeout = max(service.socket_read_timeout, waiting)


def _send_data(server: smtplib.SMTP, message: Any) -> tuple[int, bytes]:
    LETTER.append(True)
    return SEND_DATA(server, message)


def choose_form(service: NotifyBase, message: Mapping[str, str]) -> NotifyFormat:
    """Return the form that a service prefers, so that Apprise converts nothing; plain text when it is too long."""
    form = service.resolve_format()
    if form is NotifyFormat.HTML:
        form = service.resolve_format(NotifyFormat.MARKDOWN)  # chats that take both know few tags; mail takes HTML only
    if len(message["subject"]) + len(message[form.value]) > service.body_maxlen:
        return NotifyFormat.TEXT
    return form


# --- failures ---------------------------------------------------------------------------------------------------------


def explain(logs: Iterable[NotifyLogEntry]) -> Outcome:
    """Return why a message was not accepted, from what the plugin logged but never in its words."""
    entries = list(logs)
    # Payloads are logged too, at DEBUG, and may say anything.
    warnings = " ".join(entry.message for entry in entries if entry.level not in {"DEBUG", "TRACE"})
    network = " ".join(entry.message for entry in entries if entry.message.startswith(NETWORK))
    if statuses := SMTP_STATUS.findall(f"{network} {warnings}"):
        return _smtp_outcome(int("".join(statuses[-1])))
    if statuses := HTTP_STATUS.findall(warnings):
        return _http_outcome(int(statuses[-1]))
    if READ_LATE.search(network) or (LETTER and "timed out" in network):
        return UNANSWERED, True
    for pattern, cause in CAUSES:
        if pattern.search(network):
            return cause, True
    return "connection error" if network else "not accepted by the service", True


def _smtp_outcome(status: int) -> Outcome:
    what = "login refused by the mail server" if status in LOGIN_SMTP else "refused by the mail server"
    return f"{what} (SMTP {status})", status not in PERMANENT_SMTP


def _http_outcome(status: int) -> Outcome:
    if LEAST_REDIRECT <= status < LEAST_REFUSAL:
        return f"redirected (HTTP {status}), which is not followed", True
    verb = "failed" if status >= LEAST_FAULT else "refused"
    return f"{verb} with HTTP {status}", status not in PERMANENT_HTTP
