"""Which organizations each account polls.  Two keys that see one organization poll it once."""

import asyncio
from collections.abc import Iterable, Sequence

from monitor.config import Settings
from monitor.model import VendorOrganization
from monitor.store import Identity


class Watch:
    """Every watched organization, claimed by exactly one account."""

    def __init__(self, settings: Settings, known: Iterable[Identity]) -> None:
        self._settings = settings
        self._claims = {(one.base_url, one.vendor_id): one for one in known if one.watched}
        self._titles: dict[int, str | None] = {}
        self.turn = asyncio.Lock()  # for who looks for news and takes them in

    def of(self, account: str) -> list[Identity]:
        """The organizations that this account polls."""
        return [one for one in self._claims.values() if one.account == account]

    def base_url(self, account: str) -> str:
        """Where the account's vendor is."""
        return self._settings.accounts[account].base_url

    def unresolved(self, account: str) -> list[str]:
        """Configured organizations of the account whose vendor's id is not known yet."""
        known = {one.name for one in self.of(account)}
        own = (o for o in self._settings.organizations.values() if o.account == account)
        return [o.name for o in own if o.id is None and o.name not in known]

    def asks_account(self, account: str, *, resolved: bool) -> bool:
        """Whether the account endpoint has something to tell: all organizations, or the default one's id."""
        if self._settings.accounts[account].organizations_all:
            return True
        nameless = any(o.id is None for o in self._settings.organizations.values() if o.account == account)
        return nameless and not resolved

    def news(self, account: str, listed: Sequence[VendorOrganization]) -> list[tuple[str, VendorOrganization]]:
        """What the account endpoint lists that is new or changed for this account, each with our name for it."""
        base_url = self._settings.accounts[account].base_url
        default = _default(listed)
        news = []
        for one in listed:
            claim = self._claims.get((base_url, one.id))
            name = self._name(account, one, is_default=one is default)
            if name is None or (claim and claim.account != account):
                continue
            if claim is None or claim.name != name or self._titles.get(claim.id, "") != one.name:
                news.append((name, one))
        return news

    def displaced(self, account: str, news: Sequence[tuple[str, VendorOrganization]]) -> list[Identity]:
        """The account's organizations whose configured name is another one's now: the key's default has changed."""
        names = {name for name, _ in news}
        ids = {one.id for _, one in news}
        return [one for one in self.of(account) if one.name in names and one.vendor_id not in ids]

    def take(self, row: Identity, title: str | None) -> None:
        """Watch a row; an organization that had its configured name before is no longer it."""
        for key, other in list(self._claims.items()):
            if other.name == row.name and other.account == row.account and other.id != row.id:
                del self._claims[key]
        self._claims[row.base_url, row.vendor_id] = row
        self._titles[row.id] = title

    def _name(self, account: str, one: VendorOrganization, *, is_default: bool) -> str | None:
        """Our name for a listed organization; None when it is not for this account to watch."""
        base_url = self._settings.accounts[account].base_url
        for o in self._settings.organizations.values():
            if o.id == one.id and self._settings.accounts[o.account].base_url == base_url:
                return o.name if o.account == account else None
        if is_default:
            for o in self._settings.organizations.values():
                if o.id is None and o.account == account:
                    return o.name
        return one.id if self._settings.accounts[account].organizations_all else None


def _default(listed: Sequence[VendorOrganization]) -> VendorOrganization | None:
    """The key's default organization: the first that says so, else the only one."""
    first = next((one for one in listed if one.is_default), None)
    return first or (listed[0] if len(listed) == 1 else None)
