"""Takes up balances that another process recorded (`check` beside the daemon), to be judged by these settings alone."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from monitor.errors import DatabaseError
from monitor.model import Check
from monitor.poll.batch import Batch
from monitor.store import accounts, organizations, snapshots
from monitor.store.writer import Store, Transaction, data_version

LOOK_EVERY: Final = timedelta(seconds=1)
RECENT: Final = timedelta(minutes=10)  # what is older is history: imported, or from before a clock was stepped back
AHEAD: Final = timedelta(minutes=1)  # that another machine's clock may be


class Pickup:
    """`look` at intervals."""

    def __init__(self, store: Store, batch: Batch, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._batch = batch
        self._clock = clock
        self._version: int | None = None  # of the database at the last look
        self._taken: dict[int, datetime] = {}  # the newest that was taken up, by organization

    async def look(self, _at: datetime) -> None:
        """Hand what others recorded to the batch."""
        try:
            found = await self._store.write(self._find, fenced=False)
        except DatabaseError:
            return  # which is said by whoever records
        for check in found:
            self._batch.add(check)

    def _find(self, tx: Transaction) -> list[Check]:
        version = data_version(tx)
        if version is not None and version == self._version:
            return []
        self._version = version
        now = self._clock()
        rows = organizations.unjudged(tx, since=now - RECENT)
        account_ids = {row.name: row.id for row in accounts.account_rows(tx)} if rows else {}
        found = []
        for row in rows:
            since = max(row.taken_at, self._taken.get(row.id, row.taken_at), now - RECENT)
            if since < row.newest_at <= now + AHEAD and row.account in account_ids:
                self._taken[row.id] = row.newest_at
                for snapshot in snapshots.snapshots_after(tx, row.id, since, until=row.newest_at):
                    account_id = account_ids[row.account]
                    found.append(Check(account_id, row.id, snapshot.taken_at, snapshot, by_another=True))
        return found
