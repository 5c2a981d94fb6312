"""The daemon's account of one message: whom it is for, what is known of each recipient, and what comes of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from monitor.channels.child_process import ChildEnded
from monitor.model import Attempt, Message, Severity, TargetOutcome, Targets
from monitor.text import mask
from monitor.text.redaction import redact

CHILDREN: Final = 3  # for one message; what the last one leaves undone waits for the next attempt


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to one channel.

    `mail_id` is the same whichever attempt; `mail_thread` is that of the first message of its incident there.
    """

    delivery_id: int
    message: Message
    severity: Severity
    resolved: bool = False
    mail_id: str = ""
    mail_thread: str = ""
    members: int = 1  # so many notifications in one: it is refused rather than cut when it is too long
    counted: bool = False  # each line is one of a list: when it is cut, it says how many more there were
    targets: Targets | None = None  # whom it is still for; None: everybody
    due: frozenset[str] | None = None  # keys of those of them that are asked now; None: all
    key: str | None = None  # of its incident, for a service that keeps one open until it is resolved by its key
    ends: bool = False  # there it is no incident: it is resolved at once

    @property
    def kind(self) -> str:
        """Apprise's type of notification, which services show as a colour or an icon."""
        if self.resolved:
            return "success"
        return {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}[self.severity]


class Progress:
    """One message, through as many children as it takes."""

    def __init__(self, outgoing: Outgoing, *, salt: str, failing: Collection[str]) -> None:
        self._outgoing = outgoing
        self._salt = outgoing.targets.salt if outgoing.targets else salt
        self._failing = list(failing)
        self._outcomes: dict[str, TargetOutcome] = {}
        self._open: dict[str, str] = {}  # asked, and not known yet: names by keys
        self._several = outgoing.targets is not None
        self._children = 1
        self._parts: tuple[str, ...] = ()
        self._retry_after: float | None = None

    @property
    def delivery_id(self) -> int:
        """The delivery that it is sent for."""
        return self._outgoing.delivery_id

    @property
    def question(self) -> dict[str, Any]:
        """What the child has to know: without those whose outcome is known."""
        question: dict[str, Any] = {
            "message": _content(self._outgoing),
            "salt": self._salt,
            "skip": list(self._outcomes),
            "later": self._failing,
        }
        if targets := self._outgoing.targets:
            waiting = [target.key for target in targets.waiting]
            due = waiting if self._outgoing.due is None else [key for key in waiting if key in self._outgoing.due]
            question["only"], question["taken"] = due, list(targets.taken)
            question["skip"] += [key for key in waiting if key not in due]
        return question

    def add(self, answer: Mapping[str, Any]) -> None:
        """Keep what a child says of one recipient before it is done with the message."""
        if "asked" in answer:
            self._open[answer["asked"]] = answer["name"]
            self._several |= answer["several"]
        else:
            self._keep(answer)

    def _keep(self, answer: Mapping[str, Any]) -> None:
        key = answer["key"]
        self._open.pop(key, None)
        self._outcomes[key] = TargetOutcome(
            key, answer["name"], _error(answer), retryable=answer["retryable"], unknown=answer["unknown"]
        )
        self._wait(answer["retry_after"])

    def _wait(self, seconds: float | None) -> None:
        self._retry_after = max(filter(None, (self._retry_after, seconds)), default=None)

    def can_go_on(self, ended: ChildEnded) -> bool:
        """Keep that a child ended amid the message; return whether another one is to ask the remaining recipients."""
        for key, name in self._open.items():
            self._outcomes[key] = TargetOutcome(key, name, str(ended), unknown=True)
        amid = bool(self._open)
        self._open = {}
        self._children += 1
        return amid and self._children <= CHILDREN

    def conclude(self, answer: Mapping[str, Any]) -> Attempt:
        """Return the attempt, after the child's last word on it."""
        for target in answer["targets"]:
            self._keep(target)
        self._wait(answer["retry_after"])
        self._parts = tuple(answer["parts"])
        seen = frozenset(answer["seen"]) if answer["complete"] else None
        whole = TargetOutcome("", "", _error(answer), retryable=answer["retryable"], unknown=answer["unknown"])
        return self._attempt(whole, seen, too_long=answer["too_long"])

    def interrupt(self, error: str) -> Attempt:
        """Return the attempt as it stands when it is broken off: who was being asked may have got it."""
        for key, name in self._open.items():
            self._outcomes[key] = TargetOutcome(key, name, error, unknown=True)
        return self._attempt(TargetOutcome("", "", error, unknown=True), None)

    def give_up(self, ended: ChildEnded) -> Attempt:
        """Return the attempt when no child can go on with it."""
        return self._attempt(TargetOutcome("", "", str(ended), unknown=ended.asked), None)

    def _attempt(self, whole: TargetOutcome, seen: frozenset[str] | None, *, too_long: bool = False) -> Attempt:
        """`whole` is what is known where there is one recipient, or none that was asked."""
        outcomes = tuple(self._outcomes.values())
        several = self._several or len(outcomes) > 1
        failed = [outcome for outcome in outcomes if outcome.error is not None] or [
            outcome for outcome in (whole,) if outcome.error is not None
        ]
        reached = any(outcome.error is None for outcome in outcomes)
        return Attempt(
            self._outgoing.delivery_id,
            _words(failed, named=several) if failed else None,
            retryable=reached or not failed or any(outcome.retryable for outcome in failed),
            unknown=not reached and any(outcome.unknown for outcome in failed),
            retry_after=timedelta(seconds=self._retry_after) if self._retry_after else None,
            too_long=too_long,
            targets=outcomes if several else (),
            parts=self._parts if several else (),
            seen=seen if several else None,
        )


def _content(outgoing: Outgoing) -> dict[str, Any]:
    """Return what the child needs of a message."""
    message = outgoing.message
    return {
        "kind": outgoing.kind,
        "mail_id": outgoing.mail_id,
        "mail_thread": outgoing.mail_thread,
        "subject": message.subject,
        "mail_subject": message.mail_subject or message.subject,
        "text": message.text,
        "markdown": message.markdown,
        "html": message.html,
        "members": outgoing.members,
        "counted": outgoing.counted,
        "key": outgoing.key,
        "ends": outgoing.ends,
    }


def _error(answer: Mapping[str, Any]) -> str | None:
    """Return what went wrong, with the host where it was the network."""
    error, host = answer["error"], answer["host"]
    return redact(f"{error} ({mask(host)})" if host else error) if error is not None else None


def _words(failed: Collection[TargetOutcome], *, named: bool) -> str:
    """Return what went wrong: each reason once, with those it is about."""
    names: dict[str, list[str]] = {}
    for outcome in failed:
        names.setdefault(str(outcome.error), []).append(outcome.name)
    who = {error: ", ".join(dict.fromkeys(filter(None, those))) for error, those in names.items()}
    return "; ".join(f"{who[error]}: {error}" if named and who[error] else error for error in names)
