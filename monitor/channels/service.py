"""Apprise: a URL becomes a service, a message is sent through it, and its logs become a short error.

Imported by the template and its children alone, never by the daemon.  No word of Apprise's logs is passed on: they may
hold the URL.
"""

import logging
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, Final

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType, OverflowMode
from apprise.logger import NotifyLogEntry
from apprise.plugins.email.base import NotifyEmail

from monitor.channels import answers, letters, mail, receivers, urls
from monitor.channels.limits import Content, Limits, fit
from monitor.channels.on_call import RESOLVED, address
from monitor.channels.outcomes import Attempt, Outcome, Report, Wanted, answer_of
from monitor.channels.receivers import UNLISTED, Receiver

log = logging.getLogger("apprise")

PLUGINS: Final = urls.PLUGINS
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

SHARE_OF_READING, SHARE_OF_CONNECTING = 0.9, 0.2  # of the time for a message
SHRINKING: Final = 3  # times that a message is cut to half, when its service says that it is too long
LEAST_CUT: Final = 40  # characters; a service that takes no more has something else against it

SMTP_STATUS: Final = re.compile(r"\(([245]\d\d), b['\"]")
NETWORK: Final = "Socket Exception"  # how Apprise's plugins begin what a network library reports
CAUSES: Final = (
    (re.compile(r"timed out|timeout", re.IGNORECASE), answers.NO_ANSWER),
    (re.compile(r"certificate|SSLError|\[SSL|STARTTLS"), answers.NO_TLS),
    (re.compile(r"resolve|resolution|name or service|nodename", re.IGNORECASE), answers.NO_HOST),
    (re.compile(r"refused", re.IGNORECASE), answers.REFUSED),
    (re.compile(r"reset|aborted|closed|disconnected|broken pipe", re.IGNORECASE), answers.CLOSED),
)
ALL: Final = Wanted()
CONNECTING: Final = re.compile(r"connect", re.IGNORECASE)
NOT_ACCEPTED: Final = "not accepted by the service"


class Sending:
    """The attempt under way, whose targets the plug-in asks about."""

    attempt: Attempt | None = None


def load() -> None:
    """Load every plugin now instead of with the first message; keep their logs from being printed."""
    log.addHandler(logging.NullHandler())
    log.propagate = False
    log.setLevel(logging.DEBUG)  # the cause of a failed connection is logged nowhere above
    PLUGINS.load_modules()  # type: ignore[no-untyped-call]
    answers.install()
    mail.install()
    letters.install()
    NotifyBase.is_delivered = _is_delivered  # type: ignore[method-assign,assignment]
    NotifyBase.mark_delivered = _mark_delivered  # type: ignore[method-assign,assignment]


def warm_up() -> None:
    """Run through sending once, to a port at which nobody can listen: what is made then is shared by all children.

    It saves each of them 1.5 MiB and 3 ms, with TLS and mail 4 MiB.
    """
    words = dict.fromkeys(("subject", "mail_subject", "text", "markdown", "html"), "-") | {"kind": "info"}
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
    if wrong := urls.misspelt(url):
        return wrong
    service = Apprise.instantiate(urls.decode_once(url), asset=ASSET)
    if service is None:
        return urls.rejection(url)
    if isinstance(service, PLUGINS["mailto"]) and (wrong := urls.not_ascii(url, service)):
        return wrong
    _harden(service)
    return service


def problem(url: str) -> str | None:
    """Return what is wrong with a URL; None when Apprise accepts it."""
    service = open_service(url)
    return service if isinstance(service, str) else None


def cautions(url: str) -> list[str]:
    """Return what should be known of a URL that Apprise accepts, in words that repeat none of it."""
    open_service.cache_clear()
    dropped = urls.Dropped()
    log.addHandler(dropped)
    try:
        service = open_service(url)
    finally:
        log.removeHandler(dropped)
    return [] if isinstance(service, str) else list(urls.cautions(url, service, dropped.count))


def insecure(url: str) -> str | None:
    """Return why others can read or change what is sent through a URL that Apprise accepts; None when they cannot."""
    service = open_service(url)
    return None if isinstance(service, str) else urls.insecure(url, service)


def _harden(service: NotifyBase) -> None:
    """Override settings of a URL that would lose or double messages."""
    service.redirects = False
    service.optional = False  # would report a failure as success
    service.retry, service.wait = 0, 0.0  # the daemon tries again, and at what it chooses
    service.overflow_mode = OverflowMode.TRUNCATE  # what is too long has been cut before; a text message costs money
    if widened_to := find_receiver(service).widened_to:
        service.body_maxlen = widened_to
    if getattr(service, "batch", False):
        service.batch = False  # type: ignore[attr-defined]  # each target is to have an outcome of its own


# --- sending ----------------------------------------------------------------------------------------------------------


def send(
    url: str, message: Mapping[str, Any], *, seconds: float, wanted: Wanted = ALL, report: Report = lambda _: None
) -> dict[str, Any]:
    """Send a message (`kind`, `subject`, `text`, `markdown`, `html`) to the service of a URL, within `seconds`.

    Each target's outcome is reported as it becomes known.  Return the outcome as a whole: that of the only target, or
    what was wrong before any was asked; with `targets`, and with the keys of all that the URL has (`seen`).

    A message may have the `key` of its incident, for services on call; one that `ends` is no incident: there it is
    resolved at once.
    """
    service = open_service(url)
    if isinstance(service, str):
        return _answer(Outcome(service, retryable=False), Attempt(wanted))
    on_call = find_receiver(service).on_call
    if on_call and message.get("key"):
        address(service, on_call, url, message["key"])
    if on_call and message.get("ends"):
        return _open_and_resolve(url, message, seconds=seconds, wanted=wanted)
    _set_timeouts(service, seconds)
    limits = Limits(service, find_receiver(service))
    letters.begin(message)
    content = choose_content(limits, message)
    if message.get("members", 1) > 1 and not limits.holds(content):
        return _answer(Outcome("too long for the service", too_long=True), Attempt(wanted))
    attempt = Attempt(wanted, report, several=len(service) > 1)
    outcome = _send_rounds(limits, content, message, attempt)
    return _answer(outcome, attempt)


def _open_and_resolve(url: str, message: Mapping[str, Any], *, seconds: float, wanted: Wanted) -> dict[str, Any]:
    """Return the outcome of both; what opened for some and was not taken for others is resolved, too."""
    alone = {name: value for name, value in message.items() if name != "ends"}
    opened = send(url, alone, seconds=seconds, wanted=wanted)
    if not any(answer["error"] is None or answer["unknown"] for answer in (opened, *opened["targets"])):
        return opened
    resolved = send(url, alone | {"kind": RESOLVED}, seconds=seconds, wanted=Wanted(wanted.salt))
    if opened["error"] is not None or resolved["error"] is None:
        return opened
    return resolved | {"targets": [], "complete": False}  # all of it is sent again


def _answer(outcome: Outcome, attempt: Attempt) -> dict[str, Any]:
    targets = [answer_of(target) for target in attempt.targets.values()]
    complete = outcome.error is None or bool(attempt.seen)
    known = {"seen": sorted(attempt.seen), "parts": sorted(attempt.parts), "complete": complete}
    return {**asdict(outcome), "targets": targets, **known}


def _send_rounds(limits: Limits, content: Content, message: Mapping[str, Any], attempt: Attempt) -> Outcome:
    """Send to all but those that come last, then to these; what is too long is cut further, unless it is joined."""
    alone = message.get("members", 1) == 1
    outcome = Outcome()
    for round_ in range(SHRINKING + 2):
        content = fit(limits, content, counted=bool(message.get("counted"))) if alone else content
        outcome = _send_round(limits, content, message["kind"], attempt, joined=not alone)
        if round_ == 0 and attempt.reopen(too_long=False):
            continue
        most = content.size() // 2
        if not alone or most < LEAST_CUT or not (attempt.reopen(too_long=True) or outcome.too_long):
            break
        limits = replace(limits, most=most)
    failed = [target.outcome for target in attempt.targets.values() if target.outcome and target.outcome.error]
    return failed[0] if failed else Outcome() if attempt.targets else outcome


def _send_round(limits: Limits, content: Content, kind: str, attempt: Attempt, *, joined: bool) -> Outcome:
    service = limits.service
    Sending.attempt = attempt
    answers.Observer.receiver, answers.Observer.joined, answers.Observer.note = limits.receiver, joined, attempt.note
    if isinstance(service, NotifyEmail):
        mail.prepare(service, attempt)
    attempt.begin_round()
    try:
        result = Apprise(service, asset=ASSET).notify(
            title=content.subject,
            body=content.body,
            body_format=content.form,
            notify_type=NotifyType(kind),
            log_level=logging.DEBUG,
        )
    finally:
        Sending.attempt = None
        answers.Observer.note = staticmethod(lambda _: None)
    outcome = Outcome() if result else attempt.last_failure() or explain(result.logs(), service)
    attempt.end_round(success=bool(result), failure=outcome)
    return outcome


def _mail_host(service: NotifyBase) -> str:
    """Return where mail is sent; "" for what is no mail, whose requests say where they went."""
    host = getattr(service, "smtp_host", "")
    return f"{host}:{service.port}" if host and service.port else str(host)


def find_receiver(service: NotifyBase) -> Receiver:
    """Return what the table has of a service."""
    known = map(receivers.find, sorted(service.schemas()))  # type: ignore[no-untyped-call]
    return next((receiver for receiver in known if receiver is not UNLISTED), UNLISTED)


def _set_timeouts(service: NotifyBase, seconds: float) -> None:
    """Wait nearly as long as the parent does: what is given up earlier may have been accepted.

    A host that takes no connection fails before the parent's time is over, for then nothing was sent.
    """
    waiting = seconds * SHARE_OF_READING
    # Mail has one limit for both.
    connecting = waiting if hasattr(service, "smtp_host") else seconds * SHARE_OF_CONNECTING
    service.socket_connect_timeout = max(service.socket_connect_timeout, connecting)
    service.socket_read_timeout = max(service.socket_read_timeout, waiting)


def choose_content(limits: Limits, message: Mapping[str, Any]) -> Content:
    """Return a message in the form that a service prefers, so that Apprise converts nothing.

    It is plain text where HTML is too long: that cannot be cut.
    """
    service = limits.service
    form = service.resolve_format()
    if form is NotifyFormat.HTML:
        form = service.resolve_format(NotifyFormat.MARKDOWN)  # chats that take both know few tags; mail takes HTML only
    is_mail = limits.receiver.mail
    text = letters.wrap(message["text"]) if is_mail else message["text"]
    body = text if form is NotifyFormat.TEXT else message[form.value]
    content = Content(limits.fit_subject(message["mail_subject" if is_mail else "subject"]), body, form)
    if form is NotifyFormat.HTML and not limits.holds(content):
        return Content(content.subject, text, NotifyFormat.TEXT)
    return content


# --- targets ----------------------------------------------------------------------------------------------------------


def _is_delivered(service: NotifyBase, key: Any, **_: Any) -> bool:
    """What a plug-in asks before it sends to a target."""
    attempt = Sending.attempt
    if attempt is None or type(key) is object:  # the latter is the whole message
        return False
    if isinstance(service, NotifyEmail):
        return mail.is_delivered(str(key))
    if _is_part(service, key, attempt):
        return not attempt.begin_part(_name(service, key))
    return not attempt.begin(_name(service, key), _shown(service, key))


def _mark_delivered(service: NotifyBase, key: Any, **_: Any) -> None:
    """What a plug-in says when a target has accepted."""
    if Sending.attempt is not None and type(key) is not object:
        Sending.attempt.take(_name(service, key))


def _is_part(service: NotifyBase, key: Any, attempt: Attempt) -> bool:
    """Whether it is a part (the text, a picture) of what the target that is being asked is sent."""
    return isinstance(key, tuple) and any(
        attempt.is_current(_name(service, part)) for part in key if not isinstance(part, int)
    )


def _name(service: NotifyBase, key: Any) -> str:
    """Return a target in words that stay the same when others leave the URL: plug-ins also count them."""
    return repr(_counted(service, key))


def _shown(service: NotifyBase, key: Any) -> str:
    """Return what of a target people know: it comes last, after what kind of target it is, and before numbers."""
    key = _counted(service, key)
    if isinstance(key, tuple | list):
        return next((_shown(service, part) for part in reversed(key) if isinstance(part, str | tuple)), str(key))
    return str(key)


def _counted(service: NotifyBase, key: Any) -> Any:
    targets = getattr(service, "targets", None)
    if isinstance(key, int) and isinstance(targets, list | tuple) and key < len(targets):
        return targets[key]
    return key


# --- failures of what is no HTTP --------------------------------------------------------------------------------------


def explain(logs: Iterable[NotifyLogEntry], service: NotifyBase) -> Outcome:
    """Return why a message was not accepted, from what the plugin logged but never in its words.

    Of mail it is what happened before any was sent.  What else took too long may have arrived, unless there was no
    connection.
    """
    network = " ".join(entry.message for entry in logs if entry.message.startswith(NETWORK))
    if statuses := SMTP_STATUS.findall(network):
        return mail.of_code(int(statuses[-1]))
    for pattern, cause in CAUSES:
        if not pattern.search(network):
            continue
        if cause == answers.NO_ANSWER and not isinstance(service, NotifyEmail) and not CONNECTING.search(network):
            return Outcome(answers.UNANSWERED, unknown=True)
        return Outcome(cause, host=_mail_host(service))
    return Outcome("connection error", host=_mail_host(service)) if network else Outcome(NOT_ACCEPTED)
