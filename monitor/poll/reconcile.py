"""Bring the database in step with the configuration, once at every start, before anything is judged.

A rule switched off, a level lowered or an organization removed ends incidents as *reconfigured*; a channel that is new
hears, once, of what is open.  With an unchanged configuration it changes nothing.
"""

from datetime import datetime

from monitor.config import Settings
from monitor.judge import end
from monitor.judge import reconcile as reconcile_rules
from monitor.model import Notification, OpenIncident, Organization, Rule, Subject
from monitor.notify.facts import account_facts, organization_facts
from monitor.notify.notifier import About, Notifier, still
from monitor.notify.routing import rules_of
from monitor.poll.forecast_cache import ForecastCache
from monitor.poll.placement import Placement
from monitor.poll.settle import announce, outlook_of
from monitor.store import accounts, outbox
from monitor.store.incidents import open_incidents
from monitor.store.organizations import ensure_organizations, identities, load, rename
from monitor.store.writer import Transaction


def reconcile(tx: Transaction, settings: Settings, forecasts: ForecastCache, *, at: datetime) -> list[Notification]:
    """Place every organization where the configuration puts it, end what it ended, tell new channels."""
    for name, account in settings.accounts.items():
        accounts.ensure_account(tx, name, base_url=account.base_url, generation=account.generation.value)
    _place(tx, settings)
    outbox.abandon(tx, list(settings.channels), at=at)
    notifier = Notifier(tx, settings, [])
    _reconcile_accounts(notifier, at)
    _reconcile_organizations(notifier, forecasts, at)
    return notifier.said


def _place(tx: Transaction, settings: Settings) -> None:
    """Give each organization its name, its account, and whether it is watched."""
    placement = Placement(settings)
    there = identities(tx)
    known_already = {(known.base_url, known.vendor_id) for known in there}
    missing = {key: one for key, one in placement.listed().items() if key not in known_already}
    ensure_organizations(
        tx,
        [
            {"base_url": base_url, "vendor_id": vendor_id, "name": one.name, "account": one.account, "title": None}
            for (base_url, vendor_id), one in missing.items()
        ],
    )
    for known in there:
        name, account, watched = placement.of_known(known)
        if (name, account, watched) != (known.name, known.account, known.watched):
            rename(tx, known.id, name=name, account=account, watched=watched)


def _reconcile_accounts(notifier: Notifier, at: datetime) -> None:
    """End the incidents of accounts that are gone, and tell new channels of the others."""
    names = {row.id: row.name for row in accounts.account_rows(notifier.tx)}
    standing = [
        (About(Subject.ACCOUNT, key, names[key]), incidents)
        for key, incidents in open_incidents(notifier.tx, Subject.ACCOUNT).items()
    ]
    standing += [
        (About(Subject.MONITOR, key, "every account"), incidents)
        for key, incidents in open_incidents(notifier.tx, Subject.MONITOR).items()
    ]
    for about, incidents in standing:
        gone = about.subject is Subject.ACCOUNT and about.name not in notifier.settings.accounts
        for verdict in end(incidents) if gone else ():
            incident = notifier.carry_out(verdict, incidents, about, at=at)
            notifier.tell(verdict, incident, about, facts=account_facts(about.name, verdict, incident, at=at))
        for incident in incidents.values():
            facts = account_facts(about.name, still(incident), incident, at=at, rules=notifier.settings.rules)
            notifier.catch_up(still(incident), incident, about, facts=facts)


def _reconcile_organizations(notifier: Notifier, forecasts: ForecastCache, at: datetime) -> None:
    """End what the configuration ended, and tell new channels of the rest."""
    watched = {known.id: known.watched for known in identities(notifier.tx)}
    standing = open_incidents(notifier.tx, Subject.ORGANIZATION)
    organizations = load(notifier.tx, list(standing))
    for key, incidents in standing.items():
        _reconcile_organization(notifier, forecasts, organizations[key], incidents, at=at, watched=watched[key])


def _reconcile_organization(
    notifier: Notifier,
    forecasts: ForecastCache,
    organization: Organization,
    incidents: dict[Rule, OpenIncident],
    *,
    at: datetime,
    watched: bool,
) -> None:
    rules = rules_of(notifier.settings, organization.name)
    outlook = outlook_of(forecasts.at(notifier.tx, organization, rules))
    ended = end(incidents)
    if watched:
        ended = reconcile_rules(
            organization, incidents=incidents, rules=rules, at=at, runway=outlook.runway, spent=outlook.spent
        )
    for verdict in ended:
        announce(notifier, verdict, incidents, organization, at=at, rules=rules, outlook=outlook)
    about = About(Subject.ORGANIZATION, organization.id, organization.name)
    for incident in incidents.values():
        verdict = still(incident, rules)
        facts = organization_facts(notifier.tx, organization, verdict, incident, at=at, rules=rules, outlook=outlook)
        notifier.catch_up(verdict, incident, about, facts=facts)
