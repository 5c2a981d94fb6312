"""Match the names in a file with organizations of the database and the configuration.

Where the vendor's id is given, it decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from monitor.config import Settings
from monitor.errors import UsageError
from monitor.model import STABILITY_UNIT
from monitor.poll.assignment import Placement
from monitor.store import accounts, organizations
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Transaction
from monitor.text import mask


@dataclass(frozen=True, slots=True)
class Match:
    """An organization that names stand for; without `id` the database does not know it yet."""

    id: int | None
    base_url: str
    vendor_id: str
    name: str
    account: str
    unit: str = STABILITY_UNIT  # "": not known, and the next answer says it


@dataclass(slots=True)
class Matcher:
    """Finds organizations by names, each combination of names once."""

    settings: Settings
    known: Sequence[OrganizationRow]
    _results: dict[tuple[str, str, str], Match | str] = field(default_factory=dict)

    def find(self, organization: str, vendor_id: str, account: str) -> Match:
        """Return the match by the vendor's id where it is given, else by name, else with the name as the vendor's id.

        Look in the database, then the configuration, then make one of id and account.  `UsageError` when there is none.
        """
        names = (organization, vendor_id, account)
        if names not in self._results:
            try:
                self._results[names] = self._find(*names)
            except UsageError as error:
                self._results[names] = str(error)
        result = self._results[names]
        if isinstance(result, str):
            raise UsageError(result)
        return result

    def _find(self, organization: str, vendor_id: str, account: str) -> Match:
        if not organization and not vendor_id:
            raise UsageError("organization: is missing")
        rows = self._recorded(organization, vendor_id, account)
        if len(rows) > 1:
            raise UsageError(f"organization: {rows[0].name} is the name of {len(rows)}; add the columns id and account")
        if rows:
            row = rows[0]
            return Match(row.id, row.base_url, row.vendor_id, row.name, row.account, row.unit)
        return self._configured(organization, vendor_id) or self._of_account(organization, vendor_id, account)

    def _recorded(self, organization: str, vendor_id: str, account: str) -> list[OrganizationRow]:
        if vendor_id:
            rows = [row for row in self.known if row.vendor_id == vendor_id]
        else:
            rows = [row for row in self.known if row.name == organization]
            rows = rows or [row for row in self.known if row.vendor_id == organization]
        if account in self.settings.accounts:  # another vendor's may have the same id
            realm = self.settings.accounts[account].realm
            return [row for row in rows if row.realm == realm]
        return [row for row in rows if row.account == account] or rows

    def _configured(self, organization: str, vendor_id: str) -> Match | None:
        for name, configured in self.settings.organizations.items():
            if configured.id is not None and configured.id == (vendor_id or organization):
                return self._match_configured(configured.id, name, configured.account)
        named = None if vendor_id else self.settings.organizations.get(organization)
        if named is None:
            return None
        if named.id is None:
            hint = f"set organizations.{organization}.id, or let `credit-monitor check` find it"
            raise UsageError(f"organization: the vendor's id of {organization} is not known; {hint}")
        return self._match_configured(named.id, organization, named.account)

    def _match_configured(self, vendor_id: str, name: str, account: str) -> Match:
        configured = self.settings.accounts[account]
        return Match(None, configured.realm, vendor_id, name, account, configured.vendor.unit or "")

    def _of_account(self, organization: str, vendor_id: str, account: str) -> Match:
        if vendor_id and account in self.settings.accounts:
            if not (organization + vendor_id).isprintable():
                raise UsageError("organization: its name or id holds characters that cannot be printed")
            return self._match_configured(vendor_id, organization or vendor_id, account)
        wanted = organization or vendor_id
        names = {*self.settings.organizations, *(word for row in self.known for word in (row.name, row.vendor_id))}
        near = get_close_matches(wanted, sorted(names), n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "add the columns id and account, of one that is configured"
        )
        raise UsageError(f"organization: {mask(wanted[:100])} is neither in the database nor configured; {hint}")


def require_unit(match: Match, unit: str) -> None:
    """Raise `UsageError` where a balance is given in another unit than the organization is counted in."""
    if unit and match.unit and unit != match.unit:
        raise UsageError(f"unit: {match.name} is counted in {match.unit}, not in {mask(unit[:40])}")


def ensure_match(tx: Transaction, settings: Settings, match: Match) -> int:
    """Return the id of an organization; insert a new one as a start of the daemon would."""
    if match.id is not None:
        return match.id
    account = settings.accounts[match.account]
    accounts.ensure_account(tx, match.account, base_url=account.base_url, generation=account.generation.value)
    wanted = {
        "base_url": match.base_url,
        "vendor_id": match.vendor_id,
        "name": match.name,
        "account": match.account,
        "title": None,
        "provider": account.provider,
        "unit": match.unit,
    }
    (row,) = organizations.ensure_organizations(tx, [wanted])
    name, owner, watched = Placement(settings).of_known(row)
    if (name, owner, watched) != (row.name, row.account, row.watched):
        organizations.set_placement(tx, row.id, name=name, account=owner, watched=watched)
    return row.id
