"""The database that a daemon of version 0.1.0 left, loaded anew for each test, and what that version said of it.

`python -m tests.support.upgraded` writes what is said of it now, after a deliberate change of words.
"""

import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa

from monitor.config.vendors import STABILITY_VENDOR
from monitor.message import render_group
from monitor.model import Message, Notification, Reason, Rule, Severity, Subject
from monitor.store import migrate
from monitor.store.engines import transaction
from monitor.store.facts import load_facts
from monitor.store.tables import deliveries, incidents, notifications
from monitor.store.writer import Store

OLD: Final = Path(__file__).parents[1] / "fixtures" / "0.1.0"
CONFIG: Final = (OLD / "config.toml").read_text(encoding="utf-8")
SCHEMA: Final = "0002"  # of 0.1.0
END: Final = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)  # when it was left
_COPY: Final = re.compile(r"^(COPY [^\n]* FROM stdin);\n(.*?)^\\\.\n", re.MULTILINE | re.DOTALL)


def load(url: str) -> None:
    """Load it into a database that is empty, or not there yet."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(gzip.decompress((OLD / "monitor.sqlite.gz").read_bytes()))
        path.chmod(0o600)
        return
    with psycopg.connect(url) as connection:
        for number, part in enumerate(_COPY.split((OLD / "monitor.postgresql.sql").read_text(encoding="utf-8"))):
            if number % 3 == 0:  # statements, the head of a COPY, its rows; and again
                connection.execute(part)  # type: ignore[arg-type]
            elif number % 3 == 1:
                head = part
            else:
                with connection.cursor().copy(head) as copy:  # type: ignore[arg-type]
                    copy.write(part)


def known(name: str) -> Any:
    """What one of the JSON files of 0.1.0 holds."""
    return json.loads((OLD / f"{name}.json").read_text(encoding="utf-8"))


def rows(engine: sa.Engine) -> list[dict[str, Any]]:
    """Every notification as it is stored, oldest first."""
    question = (
        sa.select(notifications, incidents.c.subject, incidents.c.rule)
        .outerjoin(incidents, incidents.c.id == notifications.c.incident_id)
        .order_by(notifications.c.created_at, notifications.c.id)
    )
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(question).mappings()]


def pending(engine: sa.Engine) -> list[dict[str, Any]]:
    """Every delivery that is on its way, oldest first."""
    question = sa.select(deliveries).where(deliveries.c.state == "pending").order_by(deliveries.c.id)
    with transaction(engine) as connection:
        return [dict(row) for row in connection.execute(question).mappings()]


def words(engine: sa.Engine) -> dict[str, dict[str, str]]:
    """What the present code says of each notification, and of what goes out as one message (by group)."""
    said = {row["id"]: row for row in rows(engine)}
    found = {key: _written(_message([row])) for key, row in said.items()}
    groups: dict[str, list[dict[str, Any]]] = {}
    for delivery in pending(engine):
        if delivery["group_id"]:
            groups.setdefault(delivery["group_id"], []).append(said[delivery["notification_id"]])
    return found | {key: _written(_message(members)) for key, members in groups.items()}


def _message(members: list[dict[str, Any]]) -> Message:
    zone = ZoneInfo("UTC")
    if members[0]["reason"] == Reason.DIGEST.value:
        return Message(*json.loads(members[0]["facts"]))
    said = [_notification(row) for row in members]
    pages = dict.fromkeys((one.facts.account for one in said), STABILITY_VENDOR.top_up_url or "")
    return render_group(said, timezone=zone, top_up_urls=pages)


def _notification(row: dict[str, Any]) -> Notification:
    return Notification(
        row["id"],
        row["incident_id"],
        Subject(row["subject"]),
        Rule(row["rule"]),
        Reason(row["reason"]),
        Severity.of(row["severity"]),
        load_facts(row["facts"]),
    )


def _written(message: Message) -> dict[str, str]:
    """Subject and text in full; of the other forms that they are the same."""
    forms = asdict(message)
    short = {name: hashlib.sha256(forms[name].encode()).hexdigest()[:16] for name in ("markdown", "html")}
    return {"subject": message.subject, "text": message.text} | short


def days(engine: sa.Engine) -> Iterator[str]:
    """Use by organization and UTC day as the view for people has it, to the millionth; lines of CSV."""
    question = "SELECT organization, day, used, topped_up FROM balance_usage_daily ORDER BY 1, 2"
    yield "organization,day,used,topped_up"
    with transaction(engine) as connection:
        for row in connection.execute(sa.text(question)):
            yield f"{row.organization},{row.day},{row.used:.6f},{row.topped_up:.6f}"


def main() -> None:
    """Write anew what is said."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/monitor.db"
        load(url)
        migrate.upgrade(engine := Store(url).engine)
        text = json.dumps(words(engine), ensure_ascii=False, indent=0)
        engine.dispose()
    (OLD / "words.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
