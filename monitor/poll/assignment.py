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
        self._without_id: dict[str, list[Organization]] = defaultdict(list)  # by account
        for organization in settings.organizations.values():
            if organization.id is None:
                self._without_id[organization.account].append(organization)
            else:
                self._by_id[self._base_urls[organization.account], organization.id] = organization

    def with_id(self) -> dict[tuple[str, str], Organization]:
        """Return the organizations whose vendor's id the file gives, by base URL and that id."""
        return self._by_id

    def without_id(self, account: str) -> list[Organization]:
        """Return an account's organizations whose vendor's id the file leaves out: each is the key's default one."""
        return self._without_id.get(account, [])

    def of_known(self, known: OrganizationRow) -> tuple[str, str, bool]:
        """Return name, account and whether it is watched, of an organization that the database knows."""
        organization = self._by_id.get((known.base_url, known.vendor_id)) or self._resolved_before(known)
        if organization:
            return organization.name, organization.account, True
        account = self._settings.accounts.get(known.account)
        if account and account.organizations_all and account.base_url == known.base_url:
            return known.vendor_id, known.account, known.watched
        taken = known.name in self._settings.organizations
        return known.vendor_id if taken else known.name, known.account, False

    def _resolved_before(self, known: OrganizationRow) -> Organization | None:
        """Return what the account endpoint resolved to this row before: it stays until that is asked again."""
        organization = self._settings.organizations.get(known.name)
        if organization is None or organization.id is not None:
            return None
        return organization if self._base_urls[organization.account] == known.base_url else None

    def configured_name(self, account: str, vendor_id: str, *, is_default: bool) -> str | None:
        """Return the name under which an account watches what it lists; None when it does not watch it."""
        organization = self._by_id.get((self._base_urls[account], vendor_id))
        if organization:
            return organization.name if organization.account == account else None
        if is_default and self.without_id(account):
            return self.without_id(account)[0].name
        return vendor_id if self._settings.accounts[account].organizations_all else None


class Assignment:
    """Every watched organization, claimed by exactly one account."""

    def __init__(self, settings: Settings, known: Iterable[OrganizationRow]) -> None:
        self._settings = settings
        self._placement = Placement(settings)
        self._claims: dict[tuple[str, str], OrganizationRow] = {}
        self._accounts: dict[str, dict[int, OrganizationRow]] = {}  # account → what it polls, by id
        self._titles: dict[int, str | None] = {}
        for row in known:
            if row.watched:
                self._claim(row, row.title)
        self.turn = asyncio.Lock()  # from `news` until its rows are taken: two accounts may list one organization

    def of(self, account: str) -> list[OrganizationRow]:
        """Return the organizations that this account polls."""
        return list(self._accounts.get(account, {}).values())

    def base_url(self, account: str) -> str:
        """Return the address of the account's vendor."""
        return self._settings.accounts[account].base_url

    def unresolved(self, account: str) -> list[str]:
        """Return the names of the account's organizations whose vendor's id is not known yet."""
        without_id = self._placement.without_id(account)
        known = {row.name for row in self.of(account)} if without_id else set()
        return [organization.name for organization in without_id if organization.name not in known]

    def asks_account(self, account: str, *, resolved: bool) -> bool:
        """Return whether the account endpoint is needed: for all organizations, or for the id of the default one."""
        if self._settings.accounts[account].organizations_all:
            return True
        return bool(self._placement.without_id(account)) and not resolved

    def news(self, account: str, listed: Sequence[VendorOrganization]) -> list[tuple[str, VendorOrganization]]:
        """Return what is new or changed for this account of what its endpoint lists, each with its configured name."""
        base_url = self._settings.accounts[account].base_url
        default = _default(listed)
        news = []
        for organization in listed:
            claim = self._claims.get((base_url, organization.id))
            name = self._placement.configured_name(account, organization.id, is_default=organization is default)
            if name is None or (claim and claim.account != account):
                continue
            if claim is None or claim.name != name or self._titles.get(claim.id) != organization.name:
                news.append((name, organization))
        return news

    def displaced(self, account: str, news: Sequence[tuple[str, VendorOrganization]]) -> list[OrganizationRow]:
        """Return the account's organizations whose name another one has now: the key's default has changed."""
        names = {name for name, _ in news}
        ids = {organization.id for _, organization in news}
        return [row for row in self.of(account) if row.name in names and row.vendor_id not in ids]

    def take(self, row: OrganizationRow, title: str | None) -> None:
        """Watch a row; the organization that had its name before, as the account's default, is watched no more."""
        if any(organization.name == row.name for organization in self._placement.without_id(row.account)):
            for known in self.of(row.account):
                if known.name == row.name and known.id != row.id:
                    self._drop(known)
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
    """Return the key's default organization: the first that is marked as such, else the only one."""
    first = next((organization for organization in listed if organization.is_default), None)
    return first or (listed[0] if len(listed) == 1 else None)
