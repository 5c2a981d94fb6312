"""Mail: a transaction for each recipient, and what the server says to each address of it.

Copies (cc, bcc) go with the first recipient that is accepted, and with no other.
"""

import smtplib
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any, Final

from apprise.plugins.email.base import NotifyEmail
from apprise.plugins.email.smtp import AppriseSMTPController

from monitor.channels.answers import CLOSED, NO_ANSWER, UNANSWERED
from monitor.channels.outcomes import Attempt, Outcome

PERMANENT: Final = frozenset({530, 534, 535, 550, 551, 553})  # login or address refused
LOGIN: Final = frozenset({530, 534, 535})
OK, GO_ON, GOING_AWAY = 250, 354, 421
ACCEPTED: Final = frozenset({250, 251})  # 251: it is forwarded


class Copies:
    """The attempt under way, and the addresses that get a copy."""

    attempt: Attempt | None = None
    addresses: tuple[str, ...] = ()


def install() -> None:
    """See to every mail of this process from now on."""
    AppriseSMTPController.sendmail = _send  # type: ignore[method-assign,assignment]


def prepare(service: NotifyEmail, attempt: Attempt) -> None:
    """Begin to send to the addresses of a service."""
    recipients = {address for _, address in service.targets}
    Copies.attempt = attempt
    Copies.addresses = tuple(sorted((set(service.cc) | set(service.bcc)) - recipients))
    attempt.several = len(recipients) + len(Copies.addresses) > 1


def is_delivered(recipient: str) -> bool:
    """Return whether there is nothing to send in the transaction of a recipient, its copies included."""
    assert Copies.attempt is not None  # noqa: S101 -- `prepare` came before
    if Copies.attempt.begin(recipient):
        return False
    return not (_is_taken(recipient) and _copies_wanted())


def _is_taken(recipient: str) -> bool:
    """Whether a recipient has the message: it is in the URL, and not asked again."""
    attempt = Copies.attempt
    assert attempt is not None  # noqa: S101 -- `prepare` came before
    key = attempt.key(recipient)
    target = attempt.targets.get(key)
    return target.taken if target is not None else key in attempt.wanted.taken


def _copies_wanted() -> list[str]:
    assert Copies.attempt is not None  # noqa: S101 -- `prepare` came before
    return [address for address in Copies.addresses if Copies.attempt.is_wanted(address)]


# --- one transaction --------------------------------------------------------------------------------------------------


def _send(controller: AppriseSMTPController, sender: str, addresses: list[str], letter: str) -> bool:
    """Send one letter in the controller's connection; return whether its recipient has it."""
    attempt = Copies.attempt
    assert attempt is not None  # noqa: S101 -- `prepare` came before
    server: Any = controller._socket  # noqa: SLF001 -- its own `sendmail` gives the copies to every recipient
    recipient = parseaddr(addresses[0])[1]
    progress = Progress()
    try:
        accepted = _address(server, attempt, sender, recipient, len(letter))
        if accepted:
            _transmit(server, letter, progress)
            for address in accepted:
                attempt.take(address)
        else:
            server.rset()
    except (OSError, smtplib.SMTPException, RuntimeError, UnicodeError) as error:
        outcome = of_exception(error, sent=progress.sent)
        for address in (recipient, *Copies.addresses):
            if attempt.is_open(address):
                attempt.refuse(address, outcome)
        with suppress(OSError, smtplib.SMTPException):
            server.rset()
        return False
    return _is_taken(recipient)


@dataclass
class Progress:
    """How far a transaction has come."""

    sent: bool = False  # the letter has gone out, and only the answer is missing


def _address(server: Any, attempt: Attempt, sender: str, recipient: str, size: int) -> list[str]:
    """Name the sender and whoever is still to get the letter; return those that the server accepts."""
    server.ehlo_or_helo_if_needed()
    options = [f"size={size}"] if server.does_esmtp and server.has_extn("size") else []
    _expect(server.mail(sender, options))
    accepted = []
    if not _is_taken(recipient):
        if not _accepts(server, attempt, recipient):
            return []
        accepted.append(recipient)
    for address in _copies_wanted():
        attempt.begin(address)
        if _accepts(server, attempt, address):
            accepted.append(address)
    return accepted


def _accepts(server: Any, attempt: Attempt, address: str) -> bool:
    code, _ = server.rcpt(address)
    if code == GOING_AWAY:
        raise smtplib.SMTPResponseException(code, "")
    if code not in ACCEPTED:
        attempt.refuse(address, of_code(code))
    return code in ACCEPTED


def _transmit(server: Any, letter: str, progress: Progress) -> None:
    _expect(server.docmd("data"), GO_ON)
    lines = letter.encode("ascii", "replace").splitlines()
    progress.sent = True  # all of it, for a part that is too large for the buffers may arrive whole as well
    server.send(b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n")
    _expect(server.getreply())


def _expect(reply: tuple[int, bytes], code: int = OK) -> None:
    if reply[0] != code:
        raise smtplib.SMTPResponseException(*reply)


# --- what a server says -----------------------------------------------------------------------------------------------


def of_code(code: int) -> Outcome:
    """Return what a reply of a mail server means."""
    what = "login refused by the mail server" if code in LOGIN else "refused by the mail server"
    return Outcome(f"{what} (SMTP {code})", retryable=code not in PERMANENT)


def of_exception(error: Exception, *, sent: bool) -> Outcome:
    """Return why a transaction came to nothing; what was `sent` may have arrived when no answer comes."""
    if isinstance(error, smtplib.SMTPResponseException):
        return of_code(error.smtp_code)
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return Outcome(UNANSWERED, unknown=True) if sent else Outcome(NO_ANSWER)
    if isinstance(error, UnicodeError):
        return Outcome("an address cannot be written in ASCII, and the mail server takes no other")
    return Outcome(CLOSED)
