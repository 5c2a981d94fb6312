"""Logs each cause of failed checks once, and once that it is over, for however many organizations and polls.

For the log alone: every failed check is recorded in the database as well.
"""

import logging
import re
from collections.abc import Collection
from typing import Final

from monitor.errors import FetchError, RateLimited

NAMED_AT_MOST: Final = 5

log = logging.getLogger(__name__)


class FailureLog:
    """The causes of failure of one account, from poll to poll."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._standing: dict[str, set[str]] = {}  # cause → whom it concerned in the last poll
        self._now: dict[str, set[str]] = {}  # ... and in this one, so far

    def add(self, name: str, error: FetchError) -> None:
        """Take a failed check; log a new cause at once, because a poll of thousands of organizations takes long."""
        cause = _cause(error)
        concerned = self._now.setdefault(cause, set())
        if cause not in self._standing and not concerned:
            log.warning("%s: %s", name, error, extra={"account": self._account})
            self._standing[cause] = {name}
        concerned.add(name)

    def end_poll(self) -> None:
        """Log at the end of a poll whom else a cause concerns, and which causes are gone."""
        for cause, concerned in self._now.items():
            if more := concerned - self._standing[cause]:
                words = (self._account, _join(more), cause)
                log.warning("account %s: also %s: %s", *words, extra={"account": self._account})
        for cause in self._standing.keys() - self._now.keys():
            log.info("account %s: no longer: %s", self._account, cause, extra={"account": self._account})
        # A name is logged once until its cause is gone: organizations may fail in turn, a few in each poll.
        self._standing = {cause: self._standing[cause] | concerned for cause, concerned in self._now.items()}
        self._now = {}


def _cause(error: FetchError) -> str:
    """Return what stays the same from one check to the next: without the vendor's own words, without a countdown."""
    if isinstance(error, RateLimited):
        return "the vendor's rate limit was reached"
    return re.sub(r"\d+ s\b", "some time", str(error).partition(": ")[0])


def _join(names: Collection[str]) -> str:
    first = sorted(names)[:NAMED_AT_MOST]
    others = len(names) - len(first)
    return ", ".join(first) + (f" and {others} more" if others else "")
