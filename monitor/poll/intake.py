"""Store what a list or an answer newly tells of organizations: new ones, other names, another unit."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from monitor.errors import DatabaseError, LeaseLost
from monitor.model import Notification
from monitor.poll.assignment import Assignment, News
from monitor.poll.batch import Batch
from monitor.store import organizations
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Store, Transaction
from monitor.text import escape_beyond

Displace = Callable[[Transaction, Sequence[OrganizationRow], Sequence[OrganizationRow]], list[Notification]]

log = logging.getLogger(__name__)


class Intake:
    """Takes in what one account is told of organizations."""

    def __init__(self, account: str, assignment: Assignment, *, batch: Batch, store: Store, displace: Displace) -> None:
        """`displace` ends what stands of organizations that are watched no more (the first) or by another account."""
        self._account = account
        self._assignment = assignment
        self._batch = batch
        self._store = store
        self._displace = displace
        self._complained: set[str] = set()  # organizations that could not be kept, and were named
        self._unresolved: frozenset[str] = frozenset()  # said already

    async def take_in(self, news: Sequence[News]) -> list[OrganizationRow]:
        """Store the news, and watch them; what is watched no more is ended.  Return their rows."""
        rows = await self.take(news)
        await self._release_orphans()
        unresolved = frozenset(self._assignment.unresolved(self._account))
        for name in sorted(unresolved - self._unresolved):
            log.warning("%s: account %s names no default organization; set `id`", name, self._account)
        self._unresolved = unresolved
        return rows

    async def take(self, news: Sequence[News]) -> list[OrganizationRow]:
        """Store the news alone, and watch them; return their rows."""
        kept = await self._keep(news) if news else []
        for row, one in kept:
            self._assignment.take(row, one.listed.name)
        return [row for row, _ in kept]

    async def _keep(self, news: Sequence[News]) -> list[tuple[OrganizationRow, News]]:
        """Store organizations that are new or changed; one that the database does not take leaves the others alone.

        It is stored with its title escaped, or tried again in the next poll.
        """
        try:
            return list(zip(await self._ensure(news), news, strict=True))
        except DatabaseError as error:
            if len(news) == 1 or error.concerns_all or not await self._store.is_writable():
                raise
        return [(row, one) for one in news if (row := await self._ensure_alone(one))]

    async def _ensure_alone(self, one: News) -> OrganizationRow | None:
        listed = one.listed
        plain = replace(listed, name=escape_beyond(listed.name) if listed.name else None)
        for candidate in (listed, plain):
            try:
                return (await self._ensure([replace(one, listed=candidate)]))[0]
            except LeaseLost:
                raise
            except DatabaseError as error:
                cause = error
        if listed.id not in self._complained:
            self._complained.add(listed.id)
            log.error("account %s: %s could not be kept, and is tried again: %s", self._account, listed.id, cause)
        return None

    async def _ensure(self, news: Sequence[News]) -> list[OrganizationRow]:
        """Store organizations, and end what stands of those whose place they take, or that another account polled."""
        gone, moved = self._assignment.displaced(self._account, news), self._assignment.moved(self._account, news)
        provider = self._assignment.provider(self._account)
        wanted = [
            {
                "base_url": one.base_url,
                "vendor_id": one.listed.id,
                "name": one.name,
                "account": self._account,
                "title": one.listed.name or None,
                "provider": provider,
                "unit": one.unit,
            }
            for one in news
        ]

        def ensure(tx: Transaction) -> tuple[list[Notification], list[OrganizationRow]]:
            ended = self._displace(tx, gone, moved) if gone or moved else []
            return ended, organizations.ensure_organizations(tx, wanted)

        if gone:
            await self._batch.flush()  # what is known of them is judged while they are watched
        ended, rows = await self._store.write(ensure)
        self._batch.announce(ended)
        self._say_gone(gone, news)
        return rows

    def _say_gone(self, gone: Iterable[OrganizationRow], news: Sequence[News]) -> None:
        places = {one.listed.id: one for one in news}
        for row in gone:
            if here := places.get(row.vendor_id):
                words = (row.name, here.unit, row.unit, here.name)
                log.warning("%s: is counted in %s now, and no longer in %s: goes on as %s", *words)
            else:
                log.warning("account %s: %s is not its default organization any more", self._account, row.vendor_id)

    async def _release_orphans(self) -> None:
        """Watch no more what no account lists since its own has left the configuration."""
        orphans = self._assignment.orphans(self._account)
        if not orphans:
            return
        named = [replace(row, name=row.vendor_id) for row in orphans]
        self._batch.announce(await self._store.write(lambda tx: self._displace(tx, named, ())))
        for row in orphans:
            self._assignment.release(row)
            log.warning("%s: account %s is gone, and no other sees it", row.name, row.account)
