"""Carries out verdicts and decides who hears of them: severities, silences, quiet hours, and what is owed after them.

Refuses to judge: what opens, changes or ends was decided before.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from monitor.config import Settings
from monitor.model import Facts, Notification, OpenIncident, Reason, Rule, Rules, Silence, Subject, Verdict
from monitor.notify.routing import channels_of, hearing, held_back, is_paused
from monitor.notify.silences import covers
from monitor.store import outbox, silences
from monitor.store.incidents import carry_out, open_incidents, owe
from monitor.store.writer import Transaction

TELLING = (Reason.OPENED, Reason.ESCALATED, Reason.REMINDER)


@dataclass(frozen=True, slots=True)
class About:
    """Whom an incident concerns."""

    subject: Subject
    id: int
    name: str


@dataclass(slots=True)
class Notifier:
    """Says things within one transaction; what it said is in `said`."""

    tx: Transaction
    settings: Settings
    said: list[Notification]
    _silences: list[Silence] | None = None

    def carry_out(
        self,
        verdict: Verdict,
        incidents: dict[Rule, OpenIncident],
        about: About,
        *,
        at: datetime,
        credits: Decimal | None = None,
        topped_up: Decimal = Decimal(0),
    ) -> OpenIncident:
        """Write the verdict, and keep the open incidents at hand in step with it."""
        subject = (about.subject, about.id)
        standing = incidents.get(verdict.rule)
        incident = carry_out(self.tx, verdict, standing, subject=subject, at=at, credits=credits, topped_up=topped_up)
        if verdict.reason is Reason.RESOLVED:
            incidents.pop(verdict.rule)
        else:
            incidents[verdict.rule] = incident
        return incident

    def tell(self, verdict: Verdict, incident: OpenIncident, about: About, *, facts: Facts) -> OpenIncident:
        """Say what was decided to those who are to hear it; what a silence suppresses is owed."""
        outbox.withdraw(self.tx, incident.id, at=facts.at)
        silence = verdict.reason in TELLING and self._silence(verdict, about, facts.at)
        channels = [] if silence else self._audience(verdict, incident, about)
        self._enqueue(verdict, incident, about, facts=facts, channels=channels)
        self._end_acknowledgements(verdict, incident, about, facts.at)
        if verdict.reason in TELLING and silence != incident.owed:
            return owe(self.tx, incident, owed=silence, at=facts.at)
        return incident

    def settle_debt(self, incident: OpenIncident, about: About, *, facts: Facts) -> OpenIncident:
        """Say what still stands once its silence has ended, to everybody it concerns."""
        verdict = Verdict(incident.rule, Reason.REMINDER, incident.severity)
        if self._silence(verdict, about, facts.at):
            return incident
        self._enqueue(verdict, incident, about, facts=facts, channels=self._audience(verdict, incident, about))
        return owe(self.tx, incident, owed=False, at=facts.at)

    def catch_up(self, verdict: Verdict, incident: OpenIncident, about: About, *, facts: Facts) -> None:
        """Say an open incident to channels that are new: those it concerns and that heard nothing of it."""
        addressed = outbox.addressed(self.tx, incident.id)
        concerned = hearing(self.settings, channels_of(self.settings, about.subject, about.name), incident.severity)
        channels = [channel for channel in concerned if channel not in addressed]
        if channels and not self._silence(verdict, about, facts.at):
            self._enqueue(verdict, incident, about, facts=facts, channels=channels)

    def _enqueue(
        self, verdict: Verdict, incident: OpenIncident, about: About, *, facts: Facts, channels: Iterable[str]
    ) -> None:
        notification = Notification(
            secrets.token_hex(8), incident.id, about.subject, verdict.rule, verdict.reason, verdict.severity, facts
        )
        chosen = list(channels)
        held = held_back(self.settings, chosen, verdict.severity, facts.at)
        outbox.enqueue(self.tx, notification, chosen, at=facts.at, held=held)
        self.said.append(notification)

    def _audience(self, verdict: Verdict, incident: OpenIncident, about: About) -> list[str]:
        """Worse goes to whom it concerns; better to exactly those who were told, whatever their minimum severity."""
        if verdict.reason in TELLING:
            return hearing(self.settings, channels_of(self.settings, about.subject, about.name), verdict.severity)
        told = outbox.told(self.tx, incident.id)
        if verdict.reason is Reason.EASED:
            told = {channel: worst for channel, worst in told.items() if worst > verdict.severity}
        return [channel for channel in self.settings.channels if channel in told]

    # --- silences -----------------------------------------------------------------------------------------------------

    def _silence(self, verdict: Verdict, about: About, at: datetime) -> bool:
        """Whether a person, or the file, wants nothing said of this now."""
        if about.subject is Subject.ORGANIZATION and is_paused(self.settings, about.name):
            return True
        return any(
            covers(silence, about.subject, about.id, verdict.rule) and verdict.severity <= silence.up_to
            for silence in self._standing(at)
        )

    def _standing(self, at: datetime) -> list[Silence]:
        if self._silences is None:
            self._silences = silences.standing_silences(self.tx, at=at)
        return [one for one in self._silences if one.until is None or one.until > at]

    def _end_acknowledgements(self, verdict: Verdict, incident: OpenIncident, about: About, at: datetime) -> None:
        """An acknowledgement ends when what it is about is over, or gets worse."""
        for silence in self._standing(at):
            if silence.until is not None or not covers(silence, about.subject, about.id, verdict.rule):
                continue
            worse = verdict.reason in (Reason.OPENED, Reason.ESCALATED) and verdict.severity > silence.up_to
            if worse or (verdict.reason is Reason.RESOLVED and self._was_last(incident, about, silence)):
                silences.end_silence(self.tx, silence.id, at=at)
                self._silences = None

    def _was_last(self, incident: OpenIncident, about: About, silence: Silence) -> bool:
        left = open_incidents(self.tx, about.subject, [about.id]).get(about.id, {})
        return not any(
            covers(silence, about.subject, about.id, rule) for rule, one in left.items() if one.id != incident.id
        )


def still(incident: OpenIncident, rules: Rules | None = None) -> Verdict:
    """What those who have not heard of an open incident are told: that it opened, at the severity it has now."""
    ladders = {Rule.CREDITS: rules.credits, Rule.RUNWAY: rules.runway} if rules else {}
    rungs = (rung for rung in ladders.get(incident.rule, ()) if rung.severity is incident.severity)
    rung = next((rung for rung in rungs if not rung.of_top_up), None)
    level, clear = (rung.below, rung.clear) if rung else (None, None)
    return Verdict(incident.rule, Reason.OPENED, incident.severity, level=level, clear=clear)
