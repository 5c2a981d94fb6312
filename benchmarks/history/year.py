"""One year of balances: they fall, by day faster than by night, and are topped up.

In whole microseconds and millionths.  The course is made up once; each organization begins it at another place, on
another height.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2025, 10, 1, tzinfo=UTC)
END = datetime(2026, 10, 1, tzinfo=UTC)
MICROSECONDS = (END - BEGIN) // timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CREDIT = 1_000_000
BETWEEN = 250_003  # microseconds from one organization's check to the next one's

Row = tuple[int, int, int]  # organization's id, microseconds since 1970, millionths of a credit


@dataclass(frozen=True)
class Year:
    """`polls` balances of each of `organizations`, evenly over a year."""

    organizations: int
    polls: int
    course: list[int] = field(repr=False)

    @classmethod
    def of(cls, snapshots: int, organizations: int) -> "Year":
        polls = snapshots // organizations
        return cls(organizations, polls, _course(polls) * 2)

    @property
    def snapshots(self) -> int:
        return self.organizations * self.polls

    def rows(self) -> Iterator[list[Row]]:
        """Poll by poll, as they would arrive."""
        first = (BEGIN - EPOCH) // timedelta(microseconds=1)
        step = MICROSECONDS // self.polls
        ids = range(1, self.organizations + 1)
        for number in range(self.polls):
            at = first + number * step
            yield [(id_, at + id_ * BETWEEN, self.balance(id_, number)) for id_ in ids]

    def balance(self, organization: int, number: int) -> int:
        return self.course[number + organization * 7 % self.polls] + organization * 1_000_003


def _course(polls: int) -> list[int]:
    """Use of about 120 credits a day, topped up by 5,000 below 500."""
    dice = random.Random(4)
    balance, course = 5_000 * CREDIT, []
    hours = 365 * 24 / polls
    for number in range(polls):
        busy = 9 if 8 <= number * hours % 24 < 20 else 1
        balance -= int(dice.expovariate(1) * busy * hours * CREDIT)
        if balance < 500 * CREDIT:
            balance += 5_000 * CREDIT
        course.append(balance)
    return course
