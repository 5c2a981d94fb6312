"""Whose balances these are: names from elsewhere, found in the database and the configuration.

Refuses to take one organization for another: where the vendor's id is given, it decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from monitor.config import Settings
from monitor.errors import UsageError
from monitor.poll.assignment import Placement
from monitor.store import accounts, organizations
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Transaction


@dataclass(frozen=True, slots=True)
class Match:
    """An organization; without `id` the database does not know it yet."""

    id: int | None
    base_url: str
    vendor_id: str
    name: str
    account: str


@dataclass(slots=True)
class Matcher:
    """Finds organizations; each combination of names is looked for once."""

    settings: Settings
    known: Sequence[OrganizationRow]
    _found: dict[tuple[str, str, str], Match | str] = field(default_factory=dict)

    def find(self, organization: str, vendor_id: str, account: str) -> Match:
        """By the vendor's id where it is given, else by name, else taking the name for the vendor's id.

        In the database, else in the configuration, else by id and account.  `UsageError` when there is none.
        """
        names = (organization, vendor_id, account)
        if names not in self._found:
            try:
                self._found[names] = self._look_for(*names)
            except UsageError as error:
                self._found[names] = str(error)
        found = self._found[names]
        if isinstance(found, str):
            raise UsageError(found)
        return found

    def _look_for(self, organization: str, vendor_id: str, account: str) -> Match:
        if not organization and not vendor_id:
            raise UsageError("organization: is missing")
        found = self._recorded(organization, vendor_id, account)
        if len(found) > 1:
            raise UsageError(
                f"organization: {found[0].name} is the name of {len(found)}; add the columns id and account"
            )
        if found:
            one = found[0]
            return Match(one.id, one.base_url, one.vendor_id, one.name, one.account)
        return self._configured(organization, vendor_id) or self._of_account(organization, vendor_id, account)

    def _recorded(self, organization: str, vendor_id: str, account: str) -> list[OrganizationRow]:
        if vendor_id:
            found = [one for one in self.known if one.vendor_id == vendor_id]
        else:
            found = [one for one in self.known if one.name == organization]
            found = found or [one for one in self.known if one.vendor_id == organization]
        if account in self.settings.accounts:  # another vendor's may have the same id
            base_url = self.settings.accounts[account].base_url
            return [one for one in found if one.base_url == base_url]
        return [one for one in found if one.account == account] or found

    def _configured(self, organization: str, vendor_id: str) -> Match | None:
        for name, one in self.settings.organizations.items():
            if one.id is not None and one.id == (vendor_id or organization):
                return Match(None, self.settings.accounts[one.account].base_url, one.id, name, one.account)
        ours = None if vendor_id else self.settings.organizations.get(organization)
        if ours is None:
            return None
        if ours.id is None:
            hint = f"set organizations.{organization}.id, or let `credit-monitor check` find it"
            raise UsageError(f"organization: the vendor's id of {organization} is not known; {hint}")
        return Match(None, self.settings.accounts[ours.account].base_url, ours.id, organization, ours.account)

    def _of_account(self, organization: str, vendor_id: str, account: str) -> Match:
        if vendor_id and account in self.settings.accounts:
            if not (organization + vendor_id).isprintable():
                raise UsageError("organization: its name or id holds characters that cannot be printed")
            base_url = self.settings.accounts[account].base_url
            return Match(None, base_url, vendor_id, organization or vendor_id, account)
        wanted = organization or vendor_id
        names = {*self.settings.organizations, *(word for one in self.known for word in (one.name, one.vendor_id))}
        near = get_close_matches(wanted, sorted(names), n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "add the columns id and account, of one that is configured"
        )
        shown = "".join(c if c.isprintable() else "?" for c in wanted[:100])
        raise UsageError(f"organization: {shown} is neither in the database nor configured; {hint}")


def settle_place(tx: Transaction, settings: Settings, place: Match) -> int:
    """The id of an organization; one that is new is placed as a start of the daemon would place it."""
    if place.id is not None:
        return place.id
    account = settings.accounts[place.account]
    accounts.ensure_account(tx, place.account, base_url=place.base_url, generation=account.generation.value)
    known = organizations.ensure_organization(
        tx, base_url=place.base_url, vendor_id=place.vendor_id, name=place.name, account=place.account, title=None
    )
    name, owner, watched = Placement(settings).of_known(known)
    if (name, owner, watched) != (known.name, known.account, known.watched):
        organizations.set_placement(tx, known.id, name=name, account=owner, watched=watched)
    return known.id
