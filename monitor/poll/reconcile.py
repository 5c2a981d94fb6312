"""Bring the database in step with the configuration, once at every start, before anything is judged.

A rule switched off, a level lowered or an organization removed ends incidents as *reconfigured*; a channel that is new
hears, once, of what is open.  With an unchanged configuration it changes nothing.
"""

from datetime import datetime

from monitor import store
from monitor.config import Settings
from monitor.judge import end
from monitor.judge import reconcile as reconcile_rules
from monitor.model import Notification, OpenIncident, Reason, Rule, Rules, Subject, Verdict
from monitor.poll.routes import channels_of, hearing, rules_of
from monitor.poll.settle import account_facts, announce, audience, carry_out, organization_facts, tell
from monitor.store import Identity, Transaction


def reconcile(tx: Transaction, settings: Settings, *, at: datetime) -> list[Notification]:
    """Place every organization where the configuration puts it, end what it ended, tell new channels."""
    for name, account in settings.accounts.items():
        store.ensure_account(tx, name, base_url=account.base_url, generation=account.generation.value)
    _place(tx, settings)
    store.abandon(tx, list(settings.channels), at=at)
    return [*_end_accounts(tx, settings, at), *_end_organizations(tx, settings, at)]


def _place(tx: Transaction, settings: Settings) -> None:
    """Give each organization its name, its account, and whether it is watched."""
    for name, organization in settings.organizations.items():
        if organization.id is not None:
            base_url = settings.accounts[organization.account].base_url
            store.ensure_organization(
                tx, base_url=base_url, vendor_id=organization.id, name=name, account=organization.account, title=None
            )
    for known in store.identities(tx):
        name, account, watched = placement(settings, known)
        if (name, account, watched) != (known.name, known.account, known.watched):
            store.rename(tx, known.id, name=name, account=account, watched=watched)


def placement(settings: Settings, known: Identity) -> tuple[str, str, bool]:
    """Name, account and whether it is watched, of an organization that the database knows."""
    base_urls = {name: account.base_url for name, account in settings.accounts.items()}
    for name, organization in settings.organizations.items():
        ours = base_urls[organization.account] == known.base_url
        if ours and organization.id == known.vendor_id:
            return name, organization.account, True
        # Resolved before through the account endpoint: it stays until that is asked again.
        if ours and organization.id is None and name == known.name:
            return name, organization.account, True
    taken = known.name in settings.organizations
    account = settings.accounts.get(known.account)
    if account and account.organizations_all and account.base_url == known.base_url:
        return known.vendor_id, known.account, known.watched
    return known.vendor_id if taken else known.name, known.account, False


def _end_accounts(tx: Transaction, settings: Settings, at: datetime) -> list[Notification]:
    """End the incidents of accounts that are gone, and tell new channels of the others."""
    names = {row.id: row.name for row in store.account_rows(tx)}
    said = []
    for account_id, incidents in store.open_incidents(tx, Subject.ACCOUNT).items():
        name = names[account_id]
        for verdict in end(incidents) if name not in settings.accounts else ():
            incident = carry_out(tx, verdict, incidents, subject=(Subject.ACCOUNT, account_id), at=at)
            facts = account_facts(name, verdict, incident, at=at)
            channels = audience(tx, settings, verdict, incident, about=(Subject.ACCOUNT, name))
            said.append(tell(tx, verdict, incident, Subject.ACCOUNT, facts=facts, channels=channels))
        for incident in incidents.values():
            if channels := _unheard(tx, settings, incident, about=(Subject.ACCOUNT, name)):
                facts = account_facts(name, _still(incident), incident, at=at)
                said.append(tell(tx, _still(incident), incident, Subject.ACCOUNT, facts=facts, channels=channels))
    return said


def _end_organizations(tx: Transaction, settings: Settings, at: datetime) -> list[Notification]:
    """End what the configuration ended, and tell new channels of the rest."""
    watched = {known.id: known.watched for known in store.identities(tx)}
    standing = store.open_incidents(tx, Subject.ORGANIZATION)
    organizations = store.load(tx, list(standing))
    said = []
    for organization_id, incidents in standing.items():
        organization = organizations[organization_id]
        rules = rules_of(settings, organization.name)
        kept = watched[organization_id]
        ended = reconcile_rules(organization, incidents=incidents, rules=rules) if kept else end(incidents)
        said += [announce(tx, settings, verdict, incidents, organization=organization, at=at) for verdict in ended]
        for incident in incidents.values():
            if channels := _unheard(tx, settings, incident, about=(Subject.ORGANIZATION, organization.name)):
                verdict = _still(incident, rules)
                facts = organization_facts(tx, organization, verdict, incident, at=at, settings=settings)
                said.append(tell(tx, verdict, incident, Subject.ORGANIZATION, facts=facts, channels=channels))
    return said


def _unheard(tx: Transaction, settings: Settings, incident: OpenIncident, *, about: tuple[Subject, str]) -> list[str]:
    """The channels that an open incident concerns and that nothing of it was ever meant for."""
    addressed = store.addressed(tx, incident.id)
    concerned = hearing(settings, channels_of(settings, *about), incident.severity)
    return [channel for channel in concerned if channel not in addressed]


def _still(incident: OpenIncident, rules: Rules | None = None) -> Verdict:
    """What a channel that is new is told of an open incident: that it opened, at the severity it has now."""
    ladder = rules.credits if rules and incident.rule is Rule.CREDITS else ()
    rung = next((rung for rung in ladder if rung.severity is incident.severity), None)
    return Verdict(
        incident.rule,
        Reason.OPENED,
        incident.severity,
        level=rung.below if rung else None,
        clear=rung.clear if rung else None,
    )
