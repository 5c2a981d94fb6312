"""Where the configuration puts an organization: looked up, not searched for, because there may be fifty thousand.

Refuses to read or write the database.
"""

from collections import defaultdict

from monitor.config import Organization, Settings
from monitor.store.organizations import Identity


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

    def of_known(self, known: Identity) -> tuple[str, str, bool]:
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
