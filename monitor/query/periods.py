"""Periods of time handed to the database as one or two parameters, so that no question gets longer with them."""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa

from monitor.store.tables import EPOCH, MICROSECOND, Instant


class Period(NamedTuple):
    """`since` <= instant < `until`."""

    since: datetime
    until: datetime


def given(dialect: str, periods: Sequence[Period]) -> dict[str, Any]:
    """The parameters that `table` and `number` need."""
    if dialect == "sqlite":
        return {"periods": json.dumps([[(end - EPOCH) // MICROSECOND for end in one] for one in periods])}
    return {
        "begins": [one.since for one in periods],
        "ends": [one.until for one in periods],
        "borders": list(chain.from_iterable(periods)),
    }


def table(dialect: str) -> sa.FromClause:
    """A table of them with the columns `n` (from 0), `since` and `until`."""
    return _of_sqlite() if dialect == "sqlite" else _of_postgres()


def number(at: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
    """On PostgreSQL: twice the number (from 0) of the period that an instant is in, and 1; an even number for none.

    The periods must be in order; they may touch.
    """
    return sa.func.width_bucket(at, _array("borders"), type_=sa.Integer())


def _of_sqlite() -> sa.FromClause:
    each = sa.func.json_each(sa.bindparam("periods", type_=sa.Text())).table_valued("key", "value")

    def end(place: int) -> sa.ColumnElement[Any]:
        return sa.type_coerce(sa.func.json_extract(each.c.value, f"$[{place}]"), Instant())

    question = sa.select(each.c.key.label("n"), end(0).label("since"), end(1).label("until"))
    return question.cte("periods").prefix_with("MATERIALIZED")


def _of_postgres() -> sa.FromClause:
    columns = (sa.column("since", Instant()), sa.column("until", Instant()))
    arrays = (_array("begins"), _array("ends"))
    each = sa.func.unnest(*arrays).table_valued(*columns, with_ordinality="place", name="each").render_derived()
    return sa.select((each.c.place - 1).label("n"), each.c.since, each.c.until).subquery("periods")


def _array(name: str) -> sa.ColumnElement[Any]:
    return sa.cast(sa.bindparam(name, type_=sa.ARRAY(Instant())), sa.ARRAY(sa.DateTime(timezone=True)))
