"""Which organizations each account polls.  Two keys that see one organization poll it once."""

import asyncio
from collections.abc import Iterable, Sequence

from monitor.config import Settings
from monitor.model import VendorOrganization
from monitor.poll.placement import Placement
from monitor.store.organizations import Identity


class Assignment:
    """Every watched organization, claimed by exactly one account."""

    def __init__(self, settings: Settings, known: Iterable[Identity]) -> None:
        self._settings = settings
        self._placement = Placement(settings)
        self._claims: dict[tuple[str, str], Identity] = {}
        self._accounts: dict[str, dict[int, Identity]] = {}  # account → what it polls, by id
        self._titles: dict[int, str | None] = {}
        for one in known:
            if one.watched:
                self._claim(one, one.title)
        self.turn = asyncio.Lock()  # for who looks for news and takes them in

    def of(self, account: str) -> list[Identity]:
        """The organizations that this account polls."""
        return list(self._accounts.get(account, {}).values())

    def base_url(self, account: str) -> str:
        """Where the account's vendor is."""
        return self._settings.accounts[account].base_url

    def unresolved(self, account: str) -> list[str]:
        """Configured organizations of the account whose vendor's id is not known yet."""
        nameless = self._placement.nameless(account)
        known = {one.name for one in self.of(account)} if nameless else set()
        return [one.name for one in nameless if one.name not in known]

    def asks_account(self, account: str, *, resolved: bool) -> bool:
        """Whether the account endpoint has something to tell: all organizations, or the default one's id."""
        if self._settings.accounts[account].organizations_all:
            return True
        return bool(self._placement.nameless(account)) and not resolved

    def news(self, account: str, listed: Sequence[VendorOrganization]) -> list[tuple[str, VendorOrganization]]:
        """What the account endpoint lists that is new or changed for this account, each with our name for it."""
        base_url = self._settings.accounts[account].base_url
        default = _default(listed)
        news = []
        for one in listed:
            claim = self._claims.get((base_url, one.id))
            name = self._placement.name_of_listed(account, one.id, is_default=one is default)
            if name is None or (claim and claim.account != account):
                continue
            if claim is None or claim.name != name or self._titles.get(claim.id) != one.name:
                news.append((name, one))
        return news

    def displaced(self, account: str, news: Sequence[tuple[str, VendorOrganization]]) -> list[Identity]:
        """The account's organizations whose configured name is another one's now: the key's default has changed."""
        names = {name for name, _ in news}
        ids = {one.id for _, one in news}
        return [one for one in self.of(account) if one.name in names and one.vendor_id not in ids]

    def take(self, row: Identity, title: str | None) -> None:
        """Watch a row; the organization that was an account's default before, by the same name, is no longer it."""
        if any(one.name == row.name for one in self._placement.nameless(row.account)):
            for other in self.of(row.account):
                if other.name == row.name and other.id != row.id:
                    self._drop(other)
        self._claim(row, title)

    def _claim(self, row: Identity, title: str | None) -> None:
        before = self._claims.get((row.base_url, row.vendor_id))
        if before and before.account != row.account:
            self._drop(before)
        self._claims[row.base_url, row.vendor_id] = row
        self._accounts.setdefault(row.account, {})[row.id] = row
        self._titles[row.id] = title

    def _drop(self, row: Identity) -> None:
        del self._claims[row.base_url, row.vendor_id]
        del self._accounts[row.account][row.id]


def _default(listed: Sequence[VendorOrganization]) -> VendorOrganization | None:
    """The key's default organization: the first that says so, else the only one."""
    first = next((one for one in listed if one.is_default), None)
    return first or (listed[0] if len(listed) == 1 else None)
