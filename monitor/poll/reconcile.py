"""Bring the database in step with the configuration, once at every start, before anything is judged.

A rule switched off, a level lowered or an organization removed ends incidents as *reconfigured*; a channel that is new
hears, once, of what is open.  With an unchanged configuration it changes nothing.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from monitor.config import Settings
from monitor.judge import end
from monitor.judge import reconcile as reconcile_rules
from monitor.model import Notification, OpenIncident, Rule, Subject, Verdict
from monitor.notify import fallback
from monitor.notify.facts import AccountCase, OrganizationCase, everything
from monitor.notify.notifier import Notifier
from monitor.notify.routing import account_rules_of, rules_of
from monitor.poll.assignment import Identity, Placement
from monitor.poll.forecast_cache import ForecastCache
from monitor.poll.settle import outlook_of
from monitor.store import accounts, organizations, outbox, pages
from monitor.store import channels as stored_channels
from monitor.store.incidents import open_incidents
from monitor.store.organizations import OrganizationRow
from monitor.store.writer import Transaction

Incidents = dict[Rule, OpenIncident]
log = logging.getLogger(__name__)


def reconcile(
    tx: Transaction,
    settings: Settings,
    forecasts: ForecastCache,
    *,
    at: datetime,
    mended: Collection[str] = (),
    renamed: Mapping[str, str] = MappingProxyType({}),
    is_guest: bool = False,
) -> list[Notification]:
    """Place every organization where the configuration puts it, end what it ended, tell new channels.

    `renamed` are channels with another name and the same address (old → new).  What waits for the `mended` channels is
    due at once.  A guest leaves what waits for channels that are not configured here to the program that has them.
    Return what was enqueued.
    """
    known = {row.name for row in accounts.account_rows(tx)}
    for line in renamed_lines(settings, known, organizations.organization_rows(tx)):
        log.warning("%s", line)
    for name, account in settings.accounts.items():
        accounts.ensure_account(tx, name, base_url=account.base_url, generation=account.generation.value)
    moved = _place(tx, settings)
    outbox.rename_channels(tx, renamed)
    stored_channels.rename(tx, renamed)
    pages.rename(tx, renamed)
    if not is_guest:
        for name, count in outbox.give_up_unconfigured(tx, list(settings.channels), at=at).items():
            log.warning("%s: no longer a channel: gave up %d message(s) that waited for it", name, count)
    fallback.begin(tx, settings, at=at, mended=mended, is_guest=is_guest)
    notifier = Notifier(tx, settings, is_guest=is_guest)
    _reconcile_accounts(notifier, at)
    _reconcile_organizations(notifier, forecasts, at, moved=moved)
    return notifier.enqueued


def renamed_lines(settings: Settings, known: Collection[str], rows: Sequence[OrganizationRow]) -> Iterator[str]:
    """Yield a line for each account that is new and may be one of a vendor's that is gone: how to join both histories.

    Where the vendor's own ids tell organizations apart, nothing is to be joined.  `known` are the accounts so far.
    """
    for name, account in settings.accounts.items():
        if name in known or account.vendor.asks_each:
            continue
        gone = sorted({row.account for row in rows if row.provider == account.provider} - settings.accounts.keys())
        for old in gone:
            yield (
                f"account {name}: is new, and begins a history of its own; if it is {old} under another name, stop the"
                f" daemon and run `credit-monitor db rename {old} {name}`"
            )


def displace(
    tx: Transaction,
    settings: Settings,
    forecasts: ForecastCache,
    *,
    at: datetime,
    gone: Sequence[OrganizationRow],
    moved: Sequence[OrganizationRow] = (),
    is_guest: bool = False,
) -> list[Notification]:
    """End what stands of organizations that are watched no more, or now by another account; return what was enqueued.

    One that is `gone` (its key has another default organization, or its vendor counts in another unit) comes with the
    name that it has from now on, and all of it ends; of one that `moved` the refusal to the other account's key ends.
    """
    notifier = Notifier(tx, settings, is_guest=is_guest)
    ended, left = {row.id for row in gone}, {row.id for row in moved}
    for case, incidents in _organization_cases(notifier, forecasts, at, only=[*ended, *left]):
        for verdict in end(incidents) if case.id in ended else _end_access(incidents):
            notifier.apply(verdict, incidents, case)
    for row in gone:
        organizations.set_placement(tx, row.id, name=row.name, account=row.account, watched=False)
    return notifier.enqueued


def _end_access(incidents: Incidents) -> tuple[Verdict, ...]:
    """What ends when another key asks for an organization: that the last one was refused."""
    return end({rule: incident for rule, incident in incidents.items() if rule is Rule.ACCESS})


def catch_up(
    tx: Transaction, settings: Settings, forecasts: ForecastCache, *, at: datetime, channel: str
) -> list[Notification]:
    """Tell a channel that takes messages again of what is open and was given up meanwhile; return what was enqueued."""
    notifier = Notifier(tx, settings)
    for case, incidents in _account_cases(notifier, at):
        notifier.catch_up(incidents, case, only=channel)
    for organization_case, incidents in _organization_cases(notifier, forecasts, at):
        notifier.catch_up(incidents, organization_case, only=channel)
    return notifier.enqueued


def _place(tx: Transaction, settings: Settings) -> set[int]:
    """Give each organization its name, its account, and whether it is watched; return those that changed accounts."""
    moved = set()
    placement = Placement(settings)
    rows = organizations.organization_rows(tx)
    placed = {row.id: placement.of_known(row) for row in rows}
    stored = {(row.realm, row.vendor_id) for row in rows}
    # Where the vendor counts in another unit now, the one of the first unit is watched no more.
    followed = {(row.realm, row.vendor_id) for row in rows if row.base_url != row.realm and placed[row.id][2]}
    organizations.ensure_organizations(tx, _missing(settings, placement, stored))
    for row in rows:
        name, account, watched = placed[row.id]
        watched = watched and not (row.base_url == row.realm and (row.realm, row.vendor_id) in followed)
        if (name, account, watched) != (row.name, row.account, row.watched):
            organizations.set_placement(tx, row.id, name=name, account=account, watched=watched)
        if account != row.account:
            moved.add(row.id)
    return moved


def _missing(settings: Settings, placement: Placement, stored: Collection[Identity]) -> list[dict[str, str | None]]:
    """Return what is watched whatever a list or an answer says, and not stored yet."""
    return [
        {
            "base_url": realm,
            "vendor_id": vendor_id,
            "name": name,
            "account": account,
            "title": None,
            "provider": settings.accounts[account].provider,
            "unit": settings.accounts[account].vendor.unit or "",
        }
        for (realm, vendor_id), (name, account) in placement.expected().items()
        if (realm, vendor_id) not in stored
    ]


def _reconcile_accounts(notifier: Notifier, at: datetime) -> None:
    """End the incidents of accounts that are gone or have nothing to poll; tell new channels of the others."""
    polling = _polling_accounts(notifier.settings)
    for case, incidents in _account_cases(notifier, at):
        ends = case.subject is Subject.ACCOUNT and case.name not in polling
        for verdict in end(incidents) if ends else ():
            notifier.apply(verdict, incidents, case)
        notifier.catch_up(incidents, case)


def _polling_accounts(settings: Settings) -> set[str]:
    listing = {name for name, account in settings.accounts.items() if account.organizations_all}
    return listing | {organization.account for organization in settings.organizations.values()}


def _account_cases(notifier: Notifier, at: datetime) -> Iterator[tuple[AccountCase, Incidents]]:
    settings = notifier.settings
    names = {row.id: row.name for row in accounts.account_rows(notifier.tx)}
    for account_id, incidents in open_incidents(notifier.tx, Subject.ACCOUNT).items():
        rules = account_rules_of(settings, names[account_id])
        yield AccountCase(account_id, names[account_id], at, rules), incidents
    for incidents in open_incidents(notifier.tx, Subject.MONITOR).values():
        yield everything(at, settings.rules), incidents


def _reconcile_organizations(
    notifier: Notifier, forecasts: ForecastCache, at: datetime, *, moved: Collection[int]
) -> None:
    """End what the configuration ended, and tell new channels of the rest."""
    watched = {row.id: row.watched for row in organizations.organization_rows(notifier.tx)}
    for case, incidents in _organization_cases(notifier, forecasts, at):
        for verdict in _end_access(incidents) if case.id in moved else ():
            notifier.apply(verdict, incidents, case)
        _reconcile_organization(notifier, case, incidents, watched=watched[case.organization.id])


def _organization_cases(
    notifier: Notifier, forecasts: ForecastCache, at: datetime, *, only: list[int] | None = None
) -> Iterator[tuple[OrganizationCase, Incidents]]:
    by_organization = open_incidents(notifier.tx, Subject.ORGANIZATION, only)
    rows = organizations.current_rows(notifier.tx, list(by_organization))
    for organization_id, incidents in by_organization.items():
        organization = rows[organization_id]
        rules = rules_of(notifier.settings, organization)
        outlook = outlook_of(forecasts.at(notifier.tx, organization, rules))
        yield OrganizationCase(notifier.tx, organization, at, rules, outlook), incidents


def _reconcile_organization(notifier: Notifier, case: OrganizationCase, incidents: Incidents, *, watched: bool) -> None:
    verdicts = end(incidents)
    if watched:
        verdicts = reconcile_rules(
            case.organization,
            incidents=incidents,
            rules=case.rules,
            runway=case.outlook.runway,
            spent=case.outlook.spent,
        )
    for verdict in verdicts:
        notifier.apply(verdict, incidents, case)
    notifier.catch_up(incidents, case)
