"""What became of a message at its receiver, target by target, as the child sees it.

A target is what Apprise's plug-in takes for one (an address, a room, a phone): before each it asks whether that one has
accepted the message already, and afterwards says that it has.  Both questions come here.  A target leaves the child as
a key, an HMAC, and as a name that people recognize and nobody can use.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

KEY_LENGTH: Final = 16  # hexadecimal digits
SHOWN: Final = 4  # characters of a target that is no address and no room
ROOM: Final = re.compile(r"[#@!]?[\w.-]{1,20}")
SECRETIVE: Final = 12  # characters: a longer word of letters and digits may be a key
REST: Final = ""  # the key that stands for all targets that have none here


@dataclass(frozen=True, slots=True)
class Outcome:
    """How sending ended: `error` is None when it was taken."""

    error: str | None = None
    retryable: bool = True
    unknown: bool = False  # it may have been taken
    retry_after: float | None = None  # seconds
    too_long: bool = False
    host: str = field(default="", compare=False)  # that the network did not lead to, or from


@dataclass
class Target:
    """One target in one attempt."""

    key: str
    name: str
    taken: bool = False
    outcome: Outcome | None = None  # of what was last tried for it
    closed: bool = False  # it is not asked again


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which targets a message is for: `only` these (None: all), but for those left out; those of `later` come last."""

    salt: str = ""
    only: frozenset[str] | None = None
    taken: frozenset[str] = frozenset()  # they have it
    skip: frozenset[str] = frozenset()  # not now
    later: frozenset[str] = frozenset()

    @classmethod
    def of(cls, question: Mapping[str, Any]) -> "Wanted":
        """Return what a question of the daemon says."""
        only = question.get("only")
        return cls(
            question.get("salt", ""),
            None if only is None else frozenset(only),
            frozenset(question.get("taken", ())),
            frozenset(question.get("skip", ())),
            frozenset(question.get("later", ())),
        )

    def includes(self, key: str) -> bool:
        """Whether a target is to get the message now."""
        if key in self.taken or key in self.skip:
            return False
        return self.only is None or key in self.only or REST in self.only


Report = Callable[[dict[str, Any]], None]


@dataclass
class Attempt:
    """One attempt to send a message to the targets that are wanted; those that come last are left to a second round."""

    wanted: Wanted = field(default_factory=Wanted)
    report: Report = lambda _: None
    several: bool = False  # the URL has more than one target
    targets: dict[str, Target] = field(default_factory=dict)  # by their keys, in the order in which they were asked
    parts: set[str] = field(default_factory=set)  # keys of what belongs to a target and is not sent again
    seen: set[str] = field(default_factory=set)  # what the URL has
    postponing: bool = True
    postponed: bool = False  # some are left to the second round
    _current: Target | None = None
    _asked: list[Target] = field(default_factory=list)  # what the next requests are about: some plug-ins ask for all
    _requested: bool = False  # there was a request since
    _unattributed: list[Outcome] = field(default_factory=list)

    def key(self, name: str) -> str:
        """Return the key of a target."""
        return hmac.new(self.wanted.salt.encode(), name.encode(), hashlib.sha256).hexdigest()[:KEY_LENGTH]

    def is_wanted(self, name: str) -> bool:
        """Whether a target is to be asked in this round."""
        key = self.key(name)
        self.seen.add(key)
        if not self.wanted.includes(key) or (key in self.targets and self.targets[key].closed):
            return False
        if self.postponing and key in self.wanted.later:
            self.postponed = True
            return False
        return True

    def begin(self, name: str, shown: str = "") -> bool:
        """Return whether a target is to be asked now; what comes next is about it.

        `shown` is what people know it by, where that is not its name.
        """
        if not self.is_wanted(name):
            return False
        self._close_current()
        key = self.key(name)
        self._current = self.targets.setdefault(key, Target(key, shorten(shown or name)))
        self._asked = [self._current] if self._requested else [*self._asked, self._current]
        self._requested = False
        self.report({"asked": key, "name": self._current.name, "several": self.several})
        return True

    def is_current(self, name: str) -> bool:
        """Whether a target is being asked."""
        return self._current is not None and not self._current.closed and self._current.key == self.key(name)

    def begin_part(self, name: str) -> bool:
        """Return whether a part of what the current target is sent is still to be sent."""
        key = self.key(name)
        return key not in self.wanted.taken and key not in self.parts

    def is_open(self, name: str) -> bool:
        """Whether a target was asked, and the answer is not known."""
        target = self.targets.get(self.key(name))
        return target is not None and not target.closed

    def take(self, name: str) -> None:
        """Note that a target accepted the message."""
        key = self.key(name)
        target = self.targets.get(key)
        if target is None:
            self.parts.add(key)
        else:
            target.taken, target.outcome = True, Outcome()
            self._close(target)

    def refuse(self, name: str, outcome: Outcome) -> None:
        """Note that a target did not accept the message."""
        key = self.key(name)
        target = self.targets.setdefault(key, Target(key, shorten(name)))
        target.outcome = outcome
        self._close(target)

    def note(self, outcome: Outcome) -> None:
        """Note what a request came to: the last failure is the current target's outcome, unless that accepts.

        It is also that of each target which was asked about before the same request, and of which nothing is known.
        """
        self._requested = True
        concerned = [target for target in self._asked if not target.closed]
        if not concerned:
            self._unattributed.append(outcome)
        elif outcome.error is not None:
            for target in concerned:
                if target is self._current or target.outcome is None:
                    target.outcome = outcome

    def last_failure(self) -> Outcome | None:
        """Return the last one that is no target's own."""
        return next((outcome for outcome in reversed(self._unattributed) if outcome.error), None)

    def begin_round(self) -> None:
        """Forget what belongs to no target."""
        self._unattributed.clear()
        self._current, self._asked = None, []

    def end_round(self, *, success: bool, failure: Outcome) -> None:
        """Settle what is open: `success` is the plug-in's own word, `failure` why there was none."""
        for target in self.targets.values():
            if target.closed:
                continue
            if success:
                target.taken, target.outcome = True, Outcome()
            elif target.outcome is None or target.outcome.error is None:
                target.outcome = failure
            self._close(target)

    def reopen(self, *, too_long: bool) -> bool:
        """Return whether there is a second round: of those that come last, or of those for which it was `too_long`."""
        again = False
        for target in self.targets.values():
            if too_long and target.outcome and target.outcome.too_long:
                target.closed, again = False, True
        if not too_long:
            again, self.postponed = self.postponed, False
            self.postponing = False
        return again

    def _close_current(self) -> None:
        """What was tried for a target, in vain, is over when the next one is asked."""
        if self._current is not None and self._current.outcome is not None and self._current.outcome.error:
            self._close(self._current)

    def _close(self, target: Target) -> None:
        if not target.closed:
            target.closed = True
            self.report({"ended": target.key} | answer_of(target))


def answer_of(target: Target) -> dict[str, Any]:
    """Return a target and its outcome for the daemon."""
    outcome = target.outcome or Outcome("not accepted by the service")
    return {"key": target.key, "name": target.name, **asdict(outcome)}


def shorten(name: str) -> str:
    """Return a target so that people recognize it, and so that nobody can use it."""
    local, at, _ = name.partition("@")
    if at and local:
        return f"{local[:40]}@…"
    word = name.lstrip("#@!")
    if ROOM.fullmatch(name) and (name[0] in "#@!" or len(word) <= SECRETIVE) and not word.isdigit():
        return name
    return f"{name[:SHOWN]}…"
