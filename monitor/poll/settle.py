"""Record, judge and enqueue, in the one transaction that the caller opened.

Refuses to fetch and to send.  Judges by the order in which checks arrived, on the rows as they stand in this
transaction, so that another process that settled in between is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitor.config import Settings
from monitor.judge import is_overdue, judge, judge_account, judge_outage
from monitor.model import (
    Check,
    Failure,
    FailureKind,
    Notification,
    OpenIncident,
    Organization,
    Rule,
    Rules,
    Snapshot,
    Subject,
    Verdict,
)
from monitor.notify.facts import Outlook, account_facts, organization_facts
from monitor.notify.notifier import About, Notifier, still
from monitor.notify.routing import rules_of
from monitor.poll.forecast_cache import Folded, ForecastCache
from monitor.store import checks, snapshots
from monitor.store.accounts import account_rows
from monitor.store.incidents import open_incidents
from monitor.store.organizations import LastCheck, last_checks, load, save
from monitor.store.writer import Transaction

Incidents = dict[Rule, OpenIncident]
EVERYTHING = 0  # the monitor's own id as a subject
SILENT = {FailureKind.UNAVAILABLE, FailureKind.RATE_LIMITED, FailureKind.UNEXPECTED_ANSWER}


def settle(
    tx: Transaction,
    batch: Sequence[Check],
    settings: Settings,
    forecasts: ForecastCache,
    *,
    since: datetime | None = None,
) -> list[Notification]:
    """Keep a batch of checks, judge each in order of arrival, and keep what is to be said; gives the latter.

    `since` is when checks began: an organization whose last check is older says nothing of an outage, either way.
    """
    snapshots.record(tx, batch)
    settlement = Settlement.begin(tx, batch, settings, forecasts, since=since)
    for check in batch:
        settlement.settle(check)
    save(tx, settlement.organizations.values())
    return settlement.notifier.said


def is_rejection(outcome: Snapshot | Failure) -> bool:
    """Whether the vendor refused the key."""
    return isinstance(outcome, Failure) and outcome.kind is FailureKind.CREDENTIAL_REJECTED


def _is_overtaken(check: Check, before: Organization | None) -> bool:
    """Whether something newer is recorded already: then a result is a fact to keep, and nothing to judge."""
    last = before.checked_at if before else None
    return before is None or (last is not None and last >= check.ended_at)


def outlook_of(folded: Folded) -> Outlook:
    """What is folded, as it is judged and said."""
    return Outlook(
        folded.usage.runway() if folded.usage and folded.last else None,
        folded.window.used if folded.window and folded.last else None,
    )


@dataclass(slots=True)
class Settlement:
    """What stands while a batch is settled: current rows and open incidents, by id."""

    tx: Transaction
    settings: Settings
    forecasts: ForecastCache
    notifier: Notifier
    organizations: dict[int, Organization]
    incidents: dict[int, Incidents]
    accounts: dict[int, Incidents]
    everything: Incidents
    of_two_minds: set[int]  # accounts whose key was rejected in this batch: no snapshot beside that makes it good
    batch: Sequence[Check]
    since: datetime | None
    _failures: dict[int, LastCheck] | None = field(default=None)
    _names: dict[int, str] | None = field(default=None)  # of accounts

    @classmethod
    def begin(
        cls,
        tx: Transaction,
        batch: Sequence[Check],
        settings: Settings,
        forecasts: ForecastCache,
        *,
        since: datetime | None,
    ) -> "Settlement":
        """Load what the batch concerns."""
        ids = {check.organization_id for check in batch if check.organization_id is not None}
        accounts = {check.account_id for check in batch}
        return cls(
            tx,
            settings,
            forecasts,
            Notifier(tx, settings, []),
            load(tx, ids),
            open_incidents(tx, Subject.ORGANIZATION, ids),
            open_incidents(tx, Subject.ACCOUNT, accounts),
            open_incidents(tx, Subject.MONITOR).get(EVERYTHING, {}),
            {check.account_id for check in batch if is_rejection(check.outcome)},
            batch,
            since,
        )

    def settle(self, check: Check) -> None:
        """Judge one check: what it says of its key, of everything, and of its organization."""
        before = self.organizations.get(check.organization_id) if check.organization_id is not None else None
        if check.held and _is_overtaken(check, before):
            return
        self._judge_key(check)
        self._judge_outage(check, before)
        if before is not None:
            self._judge_organization(check, before)

    # --- the account, and everything ----------------------------------------------------------------------------------

    def _judge_key(self, check: Check) -> None:
        incidents = self.accounts.setdefault(check.account_id, {})
        if check.account_id in self.of_two_minds and isinstance(check.outcome, Snapshot):
            return
        for verdict in judge_account(incidents, check.outcome, rules=self.settings.rules, at=check.ended_at):
            self._say(verdict, incidents, self._account(check.account_id), check)
        for incident in [one for one in incidents.values() if one.owed]:
            about = self._account(check.account_id)
            facts = account_facts(about.name, still(incident), incident, at=check.ended_at, outcome=check.outcome)
            incidents[incident.rule] = self.notifier.settle_debt(incident, about, facts=facts)

    def _judge_outage(self, check: Check, before: Organization | None) -> None:
        """One outage, one message: of the whole account, or of every account at once."""
        incidents = self.accounts.setdefault(check.account_id, {})
        rules = self.settings.rules
        if isinstance(check.outcome, Snapshot) and Rule.OUTAGE not in incidents and not self.everything:
            return
        out, all_out, failing = self._out(check, before)
        about = About(Subject.MONITOR, EVERYTHING, "every account")
        for verdict in judge_outage(self.everything, check.outcome, out=all_out, rules=rules, at=check.ended_at):
            self._say(verdict, self.everything, about, check, organizations=failing)
        out = out and Rule.OUTAGE not in self.everything
        for verdict in judge_outage(incidents, check.outcome, out=out, rules=rules, at=check.ended_at):
            self._say(verdict, incidents, self._account(check.account_id), check, organizations=failing)

    def _out(self, check: Check, before: Organization | None) -> tuple[bool, bool, int | None]:
        """Whether the account is out (several organizations, none answers, one overdue), or everything is; how many."""
        standing = Rule.OUTAGE in self.accounts[check.account_id] or Rule.OUTAGE in self.everything
        if isinstance(check.outcome, Snapshot) or standing:
            return False, False, None
        if before is None:
            return self._is_never_listed(check), False, None
        rules = rules_of(self.settings, before.name)
        if Rule.CREDENTIAL in self.accounts[check.account_id] or not self._overdue(check, before, rules):
            return False, False, None
        rows = self._unexplained()
        mine = [silent for account, silent in rows.values() if account == before.account]
        known = [silent for silent in mine if silent is not None]
        everything = all(silent for _, silent in rows.values()) and len({account for account, _ in rows.values()}) > 1
        out = all(known) and len(known) > 1 and not everything
        return out, everything, len(rows) if everything else len(mine)

    def _is_never_listed(self, check: Check) -> bool:
        """Whether the account's list could not be had for so long that nothing of it is watched at all."""
        allowed = self.settings.rules.stale_after
        if allowed is None or Rule.CREDENTIAL in self.accounts[check.account_id]:
            return False
        name = self._account(check.account_id).name
        if any(last.account == name for last in self._last_failures().values()):
            return False
        since = checks.first_list_failure(self.tx, check.account_id)
        return since is not None and check.ended_at - since > allowed

    def _overdue(self, check: Check, before: Organization, rules: Rules) -> bool:
        incidents = self.incidents.get(before.id, {})
        judged = judge(before, check, incidents=incidents, rules=rules, explained=True)
        quiet = Rule.STALE in incidents or Rule.ACCESS in incidents
        return not quiet and is_overdue(judged.organization, rules, check.ended_at)

    def _unexplained(self) -> dict[int, tuple[str, bool | None]]:
        """Each watched organization's account, and whether it is silent (None: not asked since checks began).

        Not those with an answer that explains it.
        """
        return {
            key: (last.account, last.kind is not None if self._is_recent(last) else None)
            for key, last in self._last_failures().items()
            if last.kind is None or last.kind in SILENT
        }

    def _is_recent(self, last: LastCheck) -> bool:
        return self.since is None or (last.at is not None and last.at >= self.since)

    def _last_failures(self) -> dict[int, LastCheck]:
        """How the last check of each watched organization failed: that of this batch, where there is one."""
        if self._failures is None:
            self._failures = last_checks(self.tx)
            for check in self.batch:
                if check.organization_id in self._failures and not check.held:
                    kind = check.outcome.kind if isinstance(check.outcome, Failure) else None
                    account = self._failures[check.organization_id].account
                    self._failures[check.organization_id] = LastCheck(account, kind, check.ended_at)
        return self._failures

    def _account(self, account_id: int) -> About:
        if self._names is None:
            self._names = {row.id: row.name for row in account_rows(self.tx)}
        return About(Subject.ACCOUNT, account_id, self._names[account_id])

    def _say(
        self,
        verdict: Verdict,
        incidents: Incidents,
        about: About,
        check: Check,
        *,
        organizations: int | None = None,
    ) -> None:
        incident = self.notifier.carry_out(verdict, incidents, about, at=check.ended_at)
        facts = account_facts(
            about.name,
            verdict,
            incident,
            at=check.ended_at,
            outcome=check.outcome,
            organizations=organizations,
            rules=self.settings.rules,
        )
        told = self.notifier.tell(verdict, incident, about, facts=facts)
        if verdict.rule in incidents:
            incidents[verdict.rule] = told

    # --- the organization ---------------------------------------------------------------------------------------------

    def _judge_organization(self, check: Check, before: Organization) -> None:
        incidents = self.incidents.setdefault(before.id, {})
        rules = rules_of(self.settings, before.name)
        outlook = self._outlook(check, before, rules)
        explained = bool(self.accounts[check.account_id]) or Rule.OUTAGE in self.everything
        judged = judge(
            before,
            check,
            incidents=incidents,
            rules=rules,
            explained=explained,
            runway=outlook.runway,
            spent=outlook.spent,
        )
        after = self.organizations[before.id] = judged.organization
        for verdict in judged.verdicts:
            announce(self.notifier, verdict, incidents, after, at=check.ended_at, rules=rules, outlook=outlook)
        about = About(Subject.ORGANIZATION, after.id, after.name)
        for incident in [one for one in incidents.values() if one.owed]:
            facts = organization_facts(
                self.tx, after, still(incident, rules), incident, at=check.ended_at, rules=rules, outlook=outlook
            )
            incidents[incident.rule] = self.notifier.settle_debt(incident, about, facts=facts)

    def _outlook(self, check: Check, before: Organization, rules: Rules) -> Outlook:
        """The forecast after this check; what the last one knew when this check failed and something may be said."""
        if not rules.runway and not rules.spend:
            return Outlook()
        if isinstance(check.outcome, Snapshot):
            if check.outcome == before.snapshot:
                return Outlook()
            return outlook_of(self.forecasts.after(self.tx, before, check.outcome, rules))
        return outlook_of(self.forecasts.at(self.tx, before, rules))


def announce(
    notifier: Notifier,
    verdict: Verdict,
    incidents: Incidents,
    organization: Organization,
    *,
    at: datetime,
    rules: Rules,
    outlook: Outlook,
) -> None:
    """Carry out one verdict on an organization and keep what is to be said of it."""
    about = About(Subject.ORGANIZATION, organization.id, organization.name)
    balance = organization.snapshot.credits if organization.snapshot else None
    incident = notifier.carry_out(verdict, incidents, about, at=at, credits=balance, topped_up=organization.topped_up)
    facts = organization_facts(notifier.tx, organization, verdict, incident, at=at, rules=rules, outlook=outlook)
    told = notifier.tell(verdict, incident, about, facts=facts)
    if verdict.rule in incidents:
        incidents[verdict.rule] = told
