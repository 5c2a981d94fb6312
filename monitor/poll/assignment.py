"""Which organizations are watched, under which names, and which key asks for each.

Two keys that see one organization poll it once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from monitor.config import Organization, Settings
from monitor.model import VendorOrganization
from monitor.store.organizations import OrganizationRow


class Placement:
    """The configured organizations by what they are known by."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base_urls = {name: account.base_url for name, account in settings.accounts.items()}
        self._by_id: dict[tuple[str, str], Organization] = {}
        self._nameless: dict[str, list[Organization]] = defaultdict(list)  # account → those without the vendor's id
        for one in settings.organizations.values():
            if one.id is None:
                self._nameless[one.account].append(one)
            else:
                self._by_id[self._base_urls[one.account], one.id] = one

    def listed(self) -> dict[tuple[str, str], Organization]:
        """Those whose vendor's id the file gives, by base URL and that id."""
        return self._by_id

    def nameless(self, account: str) -> list[Organization]:
        """Those of an account whose vendor's id it has to tell: they stand for its default organization."""
        return self._nameless.get(account, [])

    def of_known(self, known: OrganizationRow) -> tuple[str, str, bool]:
        """Name, account and whether it is watched, of an organization that the database knows."""
        one = self._by_id.get((known.base_url, known.vendor_id))
        if one is None:
            # Resolved before through the account endpoint: it stays until that is asked again.
            one = self._settings.organizations.get(known.name)
            if one and (one.id is not None or self._base_urls[one.account] != known.base_url):
                one = None
        if one:
            return one.name, one.account, True
        account = self._settings.accounts.get(known.account)
        if account and account.organizations_all and account.base_url == known.base_url:
            return known.vendor_id, known.account, known.watched
        taken = known.name in self._settings.organizations
        return known.vendor_id if taken else known.name, known.account, False

    def name_of_listed(self, account: str, vendor_id: str, *, is_default: bool) -> str | None:
        """Our name for what an account's list names; None when it is not for this account to watch."""
        one = self._by_id.get((self._base_urls[account], vendor_id))
        if one:
            return one.name if one.account == account else None
        if is_default and self.nameless(account):
            return self.nameless(account)[0].name
        return vendor_id if self._settings.accounts[account].organizations_all else None


class Assignment:
    """Every watched organization, claimed by exactly one account."""

    def __init__(self, settings: Settings, known: Iterable[OrganizationRow]) -> None:
        self._settings = settings
        self._placement = Placement(settings)
        self._claims: dict[tuple[str, str], OrganizationRow] = {}
        self._accounts: dict[str, dict[int, OrganizationRow]] = {}  # account → what it polls, by id
        self._titles: dict[int, str | None] = {}
        for one in known:
            if one.watched:
                self._claim(one, one.title)
        self.turn = asyncio.Lock()  # for who looks for news and takes them in

    def of(self, account: str) -> list[OrganizationRow]:
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

    def displaced(self, account: str, news: Sequence[tuple[str, VendorOrganization]]) -> list[OrganizationRow]:
        """The account's organizations whose configured name is another one's now: the key's default has changed."""
        names = {name for name, _ in news}
        ids = {one.id for _, one in news}
        return [one for one in self.of(account) if one.name in names and one.vendor_id not in ids]

    def take(self, row: OrganizationRow, title: str | None) -> None:
        """Watch a row; the organization that was an account's default before, by the same name, is no longer it."""
        if any(one.name == row.name for one in self._placement.nameless(row.account)):
            for other in self.of(row.account):
                if other.name == row.name and other.id != row.id:
                    self._drop(other)
        self._claim(row, title)

    def _claim(self, row: OrganizationRow, title: str | None) -> None:
        before = self._claims.get((row.base_url, row.vendor_id))
        if before and before.account != row.account:
            self._drop(before)
        self._claims[row.base_url, row.vendor_id] = row
        self._accounts.setdefault(row.account, {})[row.id] = row
        self._titles[row.id] = title

    def _drop(self, row: OrganizationRow) -> None:
        del self._claims[row.base_url, row.vendor_id]
        del self._accounts[row.account][row.id]


def _default(listed: Sequence[VendorOrganization]) -> VendorOrganization | None:
    """The key's default organization: the first that says so, else the only one."""
    first = next((one for one in listed if one.is_default), None)
    return first or (listed[0] if len(listed) == 1 else None)
