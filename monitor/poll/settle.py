"""Record, judge and enqueue, in the one transaction that the caller opened.

Checks are judged in the order in which they arrived, on the rows as they stand in this transaction, so that another
process that settled in between is seen.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from monitor.config import Settings
from monitor.judge import (
    Extent,
    Tally,
    extent,
    flapping,
    is_firing,
    judge,
    judge_account,
    judge_age,
    judge_outage,
    may_begin,
    never_listed,
)
from monitor.model import (
    Check,
    Failure,
    FailureKind,
    Notification,
    OpenIncident,
    Organization,
    Outcome,
    Rejections,
    Rule,
    Rules,
    Snapshot,
    Subject,
    TopUp,
    Verdict,
)
from monitor.notify.facts import EVERYTHING, AccountCase, OrganizationCase, Outlook, everything
from monitor.notify.notifier import Notifier
from monitor.notify.routing import account_rules_of, rules_of
from monitor.poll.forecast_cache import Estimates, ForecastCache
from monitor.store import accounts, checks, organizations, snapshots
from monitor.store.incidents import standing_incidents
from monitor.store.organizations import LastCheck
from monitor.store.outbox import BETTER
from monitor.store.writer import Transaction

Incidents = dict[Rule, OpenIncident]
LONGEST_WINDOW: Final = flapping.LONGEST  # of an incident that may come back
OF_LEVELS: Final = (Rule.CREDITS, Rule.RUNWAY, Rule.SPEND)
SILENT: Final = {FailureKind.UNAVAILABLE, FailureKind.RATE_LIMITED, FailureKind.UNEXPECTED_ANSWER}


def settle(
    tx: Transaction,
    batch: Sequence[Check],
    settings: Settings,
    forecasts: ForecastCache,
    *,
    since: datetime | None = None,
    is_guest: bool = False,
) -> list[Notification]:
    """Keep a batch of checks, judge each in order of arrival, enqueue and return what is to be sent.

    `since` is when checks began: an organization whose last check is older counts neither for an outage nor against it.
    `is_guest`: other programs tell by the same database, too.
    """
    snapshots.record_checks(tx, batch)
    settlement = Settlement.begin(tx, batch, settings, forecasts, since=since, is_guest=is_guest)
    for check in batch:
        settlement.settle(check)
    organizations.update_current_rows(tx, settlement.organizations.values())
    settlement.notifier.tell_top_ups(settlement.top_ups, at=batch[-1].ended_at)
    return settlement.notifier.enqueued


def settle_unasked(
    tx: Transaction, ids: Sequence[int], settings: Settings, forecasts: ForecastCache, *, at: datetime
) -> list[Notification]:
    """Judge organizations that nobody asked for within their `stale_after`; return what is to be sent."""
    notifier = Notifier(tx, settings)
    of_account = {row.name: row.id for row in accounts.account_rows(tx)}
    account_incidents = standing_incidents(tx, Subject.ACCOUNT, list(of_account.values()), ended_since=at)
    everywhere = standing_incidents(tx, Subject.MONITOR, [EVERYTHING], ended_since=at).get(EVERYTHING, {})
    standing = standing_incidents(tx, Subject.ORGANIZATION, ids, ended_since=at - LONGEST_WINDOW)
    for organization in organizations.current_rows(tx, ids).values():
        rules, incidents = rules_of(settings, organization), standing.get(organization.id, {})
        above = (*account_incidents.get(of_account.get(organization.account, 0), {}).values(), *everywhere.values())
        explained = any(incident.is_firing for incident in above)
        verdicts = judge_age(incidents, at=at, rules=rules, explained=explained)
        outlook = outlook_of(forecasts.at(tx, organization, rules)) if verdicts else Outlook()
        for verdict in verdicts:
            notifier.apply(verdict, incidents, OrganizationCase(tx, organization, at, rules, outlook))
    return notifier.enqueued


def is_rejection(outcome: Outcome) -> bool:
    """Return whether the vendor refused the key."""
    return isinstance(outcome, Failure) and outcome.kind is FailureKind.CREDENTIAL_REJECTED


def _is_overtaken(check: Check, before: Organization | None) -> bool:
    """Return whether something newer is recorded already: then the result is only kept, not judged."""
    checked_at = before.checked_at if before else None
    return before is None or (checked_at is not None and checked_at >= check.ended_at)


def outlook_of(estimates: Estimates) -> Outlook:
    """Return the figures of the estimates, as they are judged and sent."""
    return Outlook(
        estimates.estimator.runway() if estimates.estimator and estimates.last else None,
        estimates.window.used if estimates.window and estimates.last else None,
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
    rejections: dict[int, Rejections]  # by account
    rejected: set[int]  # accounts whose key was rejected in this batch: no snapshot beside that makes it good
    batch: Sequence[Check]
    since: datetime | None
    top_ups: list[TopUp] = field(default_factory=list)  # while nothing was open
    _last_checks: dict[int, LastCheck] | None = field(default=None)
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
        is_guest: bool,
    ) -> "Settlement":
        """Load what the batch concerns."""
        ids = {check.organization_id for check in batch if check.organization_id is not None}
        account_ids = {check.account_id for check in batch}
        first = min(check.ended_at for check in batch)
        standing = partial(standing_incidents, tx, ended_since=first - LONGEST_WINDOW)
        return cls(
            tx=tx,
            settings=settings,
            forecasts=forecasts,
            notifier=Notifier(tx, settings, is_guest=is_guest),
            organizations=organizations.current_rows(tx, ids),
            incidents=standing(Subject.ORGANIZATION, ids),
            accounts=standing(Subject.ACCOUNT, account_ids),
            everything=standing(Subject.MONITOR, [EVERYTHING]).get(EVERYTHING, {}),
            rejections=accounts.load_rejections(tx, account_ids),
            rejected={check.account_id for check in batch if is_rejection(check.outcome)},
            batch=batch,
            since=since,
        )

    def settle(self, check: Check) -> None:
        """Judge one check: its key, the outage of everything or of its account, and its organization."""
        before = self.organizations.get(check.organization_id) if check.organization_id is not None else None
        if check.carried_over and _is_overtaken(check, before):
            return
        if not check.by_another:
            self._judge_key(check)
            self._judge_outage(check, before)
        if before is not None:
            self._judge_organization(check, before)

    # --- the account, and everything ----------------------------------------------------------------------------------

    def _judge_key(self, check: Check) -> None:
        incidents = self.accounts.setdefault(check.account_id, {})
        if check.account_id in self.rejected and not isinstance(check.outcome, Failure):
            return
        before = self.rejections[check.account_id]
        rules = account_rules_of(self.settings, self._account_name(check.account_id))
        verdicts, rejections = judge_account(incidents, check, rejections=before, rules=rules)
        if rejections != before:
            self.rejections[check.account_id] = rejections
            accounts.save_rejections(self.tx, check.account_id, rejections)
        for verdict in verdicts:
            self.notifier.apply(verdict, incidents, self._account(check))
        if any(incident.owed for incident in incidents.values()):
            self.notifier.tell_owed(incidents, self._account(check))

    def _judge_outage(self, check: Check, before: Organization | None) -> None:
        """Judge an outage of the whole account, or of every account at once: one outage is one message."""
        incidents = self.accounts.setdefault(check.account_id, {})
        stands = is_firing(incidents, Rule.OUTAGE) or is_firing(self.everything, Rule.OUTAGE)
        if not isinstance(check.outcome, Failure) and not (incidents or self.everything):
            return
        reach, count = (Extent.NONE, None) if stands else self._extent(check, before)
        rules = account_rules_of(self.settings, self._account_name(check.account_id))
        outage = judge_outage(check, reach, everything=self.everything, account=incidents, rules=rules)
        for verdict in outage.everything:
            case = everything(check.ended_at, rules, outcome=check.outcome, organizations=count)
            self.notifier.apply(verdict, self.everything, case)
        for verdict in outage.account:
            self.notifier.apply(verdict, incidents, self._account(check, organizations=count))

    def _extent(self, check: Check, before: Organization | None) -> tuple[Extent, int | None]:
        """Return how far the outage of a failed check reaches, and how many organizations that concerns."""
        of_account = self.accounts[check.account_id]
        if before is None:
            return (Extent.ACCOUNT if self._is_never_listed(check) else Extent.NONE), None
        incidents, rules = self.incidents.get(before.id, {}), rules_of(self.settings, before)
        if not may_begin(before, check, incidents=incidents, of_account=of_account, rules=rules):
            return Extent.NONE, None
        tallies = self._tallies()
        account = tallies.pop(before.account, Tally())
        reach = extent(account, tallies.values())
        others = tallies.values() if reach is Extent.EVERYTHING else ()
        return reach, account.total + sum(tally.total for tally in others)

    def _is_never_listed(self, check: Check) -> bool:
        name = self._account_name(check.account_id)
        return never_listed(
            check,
            known=sum(last.account == name for last in self._last().values()),
            first_failed_at=checks.first_list_failure(self.tx, check.account_id),
            of_account=self.accounts[check.account_id],
            rules=account_rules_of(self.settings, name),
        )

    def _tallies(self) -> dict[str, Tally]:
        """Count how the watched organizations of each account fared, but for those whose answer explains a silence."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for last in self._last().values():
            if last.kind is None or last.kind in SILENT:
                counts[last.account]["silent" if last.kind else "answered"] += self._is_recent(last)
                counts[last.account]["not_asked"] += not self._is_recent(last)
        return {account: Tally(**count) for account, count in counts.items()}

    def _is_recent(self, last: LastCheck) -> bool:
        return self.since is None or (last.at is not None and last.at >= self.since)

    def _last(self) -> dict[int, LastCheck]:
        """Return the last check of each watched organization: that of this batch, where there is one."""
        if self._last_checks is None:
            self._last_checks = organizations.last_checks(self.tx)
            for check in self.batch:
                if check.organization_id in self._last_checks and not check.carried_over:
                    kind = check.outcome.kind if isinstance(check.outcome, Failure) else None
                    account = self._last_checks[check.organization_id].account
                    self._last_checks[check.organization_id] = LastCheck(account, kind, check.ended_at)
        return self._last_checks

    def _account(self, check: Check, *, organizations: int | None = None) -> AccountCase:
        name = self._account_name(check.account_id)
        rules = account_rules_of(self.settings, name)
        return AccountCase(check.account_id, name, check.ended_at, rules, check.outcome, organizations=organizations)

    def _account_name(self, account_id: int) -> str:
        if self._names is None:
            self._names = {row.id: row.name for row in accounts.account_rows(self.tx)}
        return self._names[account_id]

    # --- the organization ---------------------------------------------------------------------------------------------

    def _judge_organization(self, check: Check, before: Organization) -> None:
        incidents = self.incidents.setdefault(before.id, {})
        rules = rules_of(self.settings, before)
        nothing_open = all(incident.ended_at for incident in incidents.values())
        outlook = self._outlook(check, before, rules)
        judged = judge(
            before,
            check,
            incidents=incidents,
            rules=rules,
            explained=self._is_explained(check),
            runway=outlook.runway,
            spent=outlook.spent,
        )
        after = self.organizations[before.id] = judged.organization
        case = OrganizationCase(self.tx, after, check.ended_at, rules, outlook)
        for verdict in judged.verdicts:
            if not (self._has_other_levels(verdict, after) and self.notifier.is_theirs(incidents.get(verdict.rule))):
                self.notifier.apply(verdict, incidents, case)
        self.notifier.tell_owed(incidents, case)
        if after.top_up != before.top_up and nothing_open and not judged.verdicts:
            self._take_top_up(case)

    @staticmethod
    def _has_other_levels(verdict: Verdict, after: Organization) -> bool:
        """Return whether nothing got better but by the levels that it is judged by: the balance did not rise."""
        rose = after.snapshot and after.previous and after.snapshot.credits > after.previous.credits
        return verdict.reason in BETTER and verdict.rule in OF_LEVELS and not rose

    def _take_top_up(self, case: OrganizationCase) -> None:
        after = case.organization
        if after.top_up and after.snapshot and not self.notifier.is_kept_quiet(case):
            top_up, balance = after.top_up, after.snapshot.credits
            rise = TopUp(after.name, after.account, top_up.credits, balance, top_up.taken_at, after.unit)
            self.top_ups.append(rise)

    def _is_explained(self, check: Check) -> bool:
        """Return whether an incident of its account, or of all, explains that an organization gives no balance."""
        of_account = self.accounts.get(check.account_id, {})
        return any(incident.is_firing for incident in (*of_account.values(), *self.everything.values()))

    def _outlook(self, check: Check, before: Organization, rules: Rules) -> Outlook:
        """Return the forecast after this check; after a failed one, that of the last snapshot."""
        if not rules.runway and not rules.spend:
            return Outlook()
        if isinstance(check.outcome, Snapshot):
            if check.outcome == before.snapshot:
                return Outlook()
            return outlook_of(self.forecasts.after(self.tx, before, check.outcome, rules))
        return outlook_of(self.forecasts.at(self.tx, before, rules))
