"""Which organizations are watched, under which names, and which key asks for each.

Two keys that see one organization poll it once.  What one answer holds of a key belongs to its account alone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from monitor.config import Account, Organization, Settings
from monitor.model import VendorOrganization
from monitor.store.organizations import REALM_END, OrganizationRow

Identity = tuple[str, str]  # a realm, and the vendor's id in it
NOTHING_KNOWN: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class News:
    """An organization that is to be stored as the list or the answer has it: new, renamed, or in another unit."""

    name: str
    listed: VendorOrganization
    base_url: str  # its realm, and the unit of one that began because of that
    unit: str


def default_name(account: Account, vendor_id: str) -> str:
    """Return the name of an organization that the file does not list."""
    if account.vendor.asks_each:
        return vendor_id
    return f"{account.name}/{vendor_id}" if vendor_id else account.name


class Placement:
    """The configured organizations by what they are known by."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._realms = {name: account.realm for name, account in settings.accounts.items()}
        self._by_id: dict[Identity, Organization] = {}
        self._without_id: dict[str, list[Organization]] = defaultdict(list)  # by account
        for organization in settings.organizations.values():
            if organization.id is None:
                self._without_id[organization.account].append(organization)
            else:
                self._by_id[self._realms[organization.account], organization.id] = organization

    def expected(self) -> dict[Identity, tuple[str, str]]:
        """Return name and account of each organization that is watched whatever a list or an answer says.

        Those whose vendor's id the file gives, and of accounts that are one balance, that balance.
        """
        expected = {key: (organization.name, organization.account) for key, organization in self._by_id.items()}
        for name, account in self._settings.accounts.items():
            if account.vendor.is_one_balance and (account.organizations_all or self.without_id(name)):
                own = self.without_id(name)
                expected.setdefault((account.realm, ""), (own[0].name if own else name, name))
        return expected

    def without_id(self, account: str) -> list[Organization]:
        """Return an account's organizations whose vendor's id the file leaves out: each is the key's default one."""
        return self._without_id.get(account, [])

    def of_known(self, known: OrganizationRow) -> tuple[str, str, bool]:
        """Return name, account and whether it is watched, of an organization that the database knows."""
        if REALM_END not in known.base_url:
            return self._of_known(known, known.name)
        # It began beside another one because the vendor counts in another unit now, and is called by that, too.
        first, account, watched = self._of_known(known, known.name.removesuffix(f"/{known.unit}"))
        return f"{first}/{known.unit}", account, watched and known.watched

    def _of_known(self, known: OrganizationRow, name: str) -> tuple[str, str, bool]:
        organization = self._by_id.get((known.realm, known.vendor_id)) or self._resolved_before(known, name)
        if organization:
            return organization.name, organization.account, True
        account = self._settings.accounts.get(known.account)
        if account is None and known.watched and self.listing_accounts(known.realm):
            return known.vendor_id, known.account, True  # perhaps its account was renamed: the next list says
        if account and account.organizations_all and account.realm == known.realm:
            return default_name(account, known.vendor_id), known.account, known.watched
        taken = name in self._settings.organizations
        return (known.vendor_id or known.account) if taken else name, known.account, False

    def listing_accounts(self, realm: str) -> list[str]:
        """Return the accounts there that watch whatever their key sees."""
        accounts = self._settings.accounts.items()
        return [name for name, account in accounts if account.organizations_all and account.realm == realm]

    def _resolved_before(self, known: OrganizationRow, name: str) -> Organization | None:
        """Return what the account endpoint resolved to this row before: it stays until that is asked again."""
        organization = self._settings.organizations.get(name)
        if organization is None or organization.id is not None:
            return None
        return organization if self._realms[organization.account] == known.realm else None

    def configured_name(self, account: str, vendor_id: str, *, is_default: bool) -> str | None:
        """Return the name under which an account watches what it lists; None when it does not watch it."""
        organization = self._by_id.get((self._realms[account], vendor_id))
        if organization:
            return organization.name if organization.account == account else None
        if is_default and self.without_id(account):
            return self.without_id(account)[0].name
        configured = self._settings.accounts[account]
        return default_name(configured, vendor_id) if configured.organizations_all else None


class Assignment:
    """Every watched organization, claimed by exactly one account."""

    def __init__(self, settings: Settings, known: Iterable[OrganizationRow]) -> None:
        self._settings = settings
        self._placement = Placement(settings)
        self._claims: dict[Identity, OrganizationRow] = {}
        self._units: dict[Identity, dict[str, str]] = defaultdict(dict)  # of every one ever seen: base URL by unit
        self._accounts: dict[str, dict[int, OrganizationRow]] = {}  # account → what it polls, by id
        self._titles: dict[int, str | None] = {}
        self._listed: set[str] = set()  # accounts whose list was taken in
        for row in known:
            self._units[row.realm, row.vendor_id][row.unit] = row.base_url
            if row.watched:
                self._claim(row, row.title)
        self.turn = asyncio.Lock()  # from `news` until its rows are taken: two accounts may list one organization

    def of(self, account: str) -> list[OrganizationRow]:
        """Return the organizations that this account polls."""
        return list(self._accounts.get(account, {}).values())

    def provider(self, account: str) -> str:
        """Return the account's vendor."""
        return self._settings.accounts[account].provider

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

    def news(
        self, account: str, listed: Sequence[VendorOrganization], units: Mapping[str, str] = NOTHING_KNOWN
    ) -> list[News]:
        """Return what is new or changed for this account of what it was told; `units` of an answer, by id."""
        configured = self._settings.accounts[account]
        default = _default(listed)
        news = []
        for organization in listed:
            claim = self._claims.get((configured.realm, organization.id))
            name = self._placement.configured_name(account, organization.id, is_default=organization is default)
            if name is None or (claim and claim.account != account and claim.account in self._settings.accounts):
                continue
            known = claim.unit if claim else ""
            unit = units.get(organization.id) or known or configured.vendor.unit or ""
            one = self._in_unit(name, organization, configured.realm, unit)
            is_same = claim is not None and (claim.name, claim.account, claim.unit) == (one.name, account, unit)
            if claim is None or not is_same or self._titles.get(claim.id) != organization.name:
                news.append(one)
        return news

    def in_unit(self, row: OrganizationRow, unit: str) -> News:
        """Return what an organization is from the answer on that counts in a unit it did not have."""
        name = row.name.removesuffix(f"/{row.unit}") if REALM_END in row.base_url else row.name
        return self._in_unit(name, VendorOrganization(row.vendor_id), row.realm, unit)

    def _in_unit(self, name: str, organization: VendorOrganization, realm: str, unit: str) -> News:
        """Return the news of one in a unit: the first unit has the name alone, each later one begins beside it."""
        stored = self._units.get((realm, organization.id), {})
        is_first = not unit or not stored or "" in stored or stored.get(unit) == realm
        base_url = realm if is_first else stored.get(unit, f"{realm}{REALM_END}{unit}")
        return News(name if is_first else f"{name}/{unit}", organization, base_url, unit)

    def doubtful(self, account: str, *, resolved: bool) -> set[int]:
        """Return the ids of what the account polls as its default organization, until its list was seen.

        It may be another one by then.
        """
        names = set() if resolved else {organization.name for organization in self._placement.without_id(account)}
        return {row.id for row in self.of(account) if row.name in names} if names else set()

    def moved(self, account: str, news: Sequence[News]) -> list[OrganizationRow]:
        """Return those among the news that another account polled, which is no longer configured."""
        realm = self._settings.accounts[account].realm
        claims = (self._claims.get((realm, one.listed.id)) for one in news)
        return [claim for claim in claims if claim and claim.account != account]

    def orphans(self, account: str) -> list[OrganizationRow]:
        """Return what no account lists whose own account is gone, once all have listed that may.

        Called when the account's list was taken in.
        """
        self._listed.add(account)
        realm = self._settings.accounts[account].realm
        if not self._listed.issuperset(self._placement.listing_accounts(realm)):
            return []
        rows = [row for row in self._claims.values() if row.realm == realm]
        return [row for row in rows if row.account not in self._settings.accounts]

    def release(self, row: OrganizationRow) -> None:
        """Watch a row no more."""
        if self._claims.get((row.realm, row.vendor_id)) == row:
            self._drop(row)

    def displaced(self, account: str, news: Sequence[News]) -> list[OrganizationRow]:
        """Return the account's organizations that are watched no more, with the names that they have from now on.

        Another one has the name now, because the key's default has changed; or the vendor counts in another unit.
        """
        names = {one.name for one in news}
        places = {one.listed.id: one for one in news}
        gone = []
        for row in self.of(account):
            here = places.get(row.vendor_id)
            if here is None and row.name in names:
                gone.append(replace(row, name=default_name(self._settings.accounts[account], row.vendor_id)))
            elif here and here.base_url != row.base_url:
                gone.append(row)
        return gone

    def take(self, row: OrganizationRow, title: str | None) -> None:
        """Watch a row; the organization that had its name before, as the account's default, is watched no more."""
        if any(organization.name == row.name for organization in self._placement.without_id(row.account)):
            for known in self.of(row.account):
                if known.name == row.name and known.id != row.id:
                    self._drop(known)
        self._claim(row, title)

    def _claim(self, row: OrganizationRow, title: str | None) -> None:
        before = self._claims.get((row.realm, row.vendor_id))
        if before and (before.account, before.id) != (row.account, row.id):
            self._drop(before)
        units = self._units[row.realm, row.vendor_id]
        units.pop("", None)
        units[row.unit] = row.base_url
        self._claims[row.realm, row.vendor_id] = row
        self._accounts.setdefault(row.account, {})[row.id] = row
        self._titles[row.id] = title

    def _drop(self, row: OrganizationRow) -> None:
        del self._claims[row.realm, row.vendor_id]
        del self._accounts[row.account][row.id]


def _default(listed: Sequence[VendorOrganization]) -> VendorOrganization | None:
    """Return the key's default organization: the first that is marked as such, else the only one."""
    first = next((organization for organization in listed if organization.is_default), None)
    return first or (listed[0] if len(listed) == 1 else None)
