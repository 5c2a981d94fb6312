"""Carries verdicts out, and decides who hears of them: severities, silences, quiet hours, what is owed after a silence.

What opens, changes or ends was decided before.
"""

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor import judge
from monitor.config import Settings
from monitor.message import render_top_ups
from monitor.model import Notification, OpenIncident, Reason, Rule, Rules, Silence, Subject, TopUp, Verdict
from monitor.notify import fallback
from monitor.notify.facts import Case
from monitor.notify.quiet_hours import held_until
from monitor.notify.routing import channels_of, hearing, hearing_top_ups, is_paused
from monitor.notify.silences import covers
from monitor.store import channels, installation, outbox, silences
from monitor.store import incidents as stored_incidents
from monitor.store.writer import Transaction

TELLING = (Reason.OPENED, Reason.ESCALATED, Reason.REMINDER)


@dataclass(slots=True)
class Notifier:
    """Writes incidents and enqueues notifications within one transaction; `enqueued` has the latter."""

    tx: Transaction
    settings: Settings
    is_guest: bool = False  # other programs tell by the same database, too: their channels are theirs to tell
    enqueued: list[Notification] = field(default_factory=list)
    _silences: list[Silence] | None = None
    _down: set[str] | None = None  # channels

    def apply(self, verdict: Verdict, incidents: dict[Rule, OpenIncident], case: Case) -> None:
        """Write a verdict, keep the subject's open `incidents` in step, and enqueue what is to be told of it.

        What only another configuration changes is for that program whose channels were told.
        """
        if verdict.reconfigured and self.is_theirs(incidents.get(verdict.rule)):
            return
        incident, after = judge.apply(incidents, verdict, at=case.at, topped_up=case.topped_up)
        if not incident.id:
            key = stored_incidents.insert_incident(
                self.tx, incident, subject=case.subject, subject_id=case.id, credits=case.credits
            )
            incident = replace(incident, id=key)
        else:
            stored_incidents.update_incident(self.tx, verdict, incident, credits=case.credits)
        if verdict.told:
            incident = self._tell(verdict, incident, case)
        if verdict.rule in after:
            incidents[verdict.rule] = incident
        else:
            del incidents[verdict.rule]

    def is_theirs(self, incident: OpenIncident | None) -> bool:
        """Return whether a daemon with other settings told channels that a guest does not have of an incident."""
        if not self.is_guest or incident is None:
            return False
        others = outbox.told_severities(self.tx, incident.id).keys() - self.settings.channels.keys()
        return bool(others) and installation.has_run(self.tx)

    def tell_owed(self, incidents: dict[Rule, OpenIncident], case: Case) -> None:
        """Tell what still stands once its silence has ended, to everybody it concerns."""
        for incident in [incident for incident in incidents.values() if incident.owed and incident.is_firing]:
            verdict = Verdict(incident.rule, Reason.REMINDER, incident.severity)
            if self._is_silenced(verdict, case):
                continue
            level = still(incident, case.rules)
            verdict = replace(verdict, level=level.level, clear=level.clear)
            self._enqueue(verdict, incident, case, self._audience(verdict, incident, case))
            incidents[incident.rule] = stored_incidents.set_owed(self.tx, incident, owed=False, at=case.at)

    def catch_up(self, incidents: dict[Rule, OpenIncident], case: Case, *, only: str | None = None) -> None:
        """Tell what is open to those channels (or `only` one) that it concerns and that did not hear how bad it is.

        Those are new, or were not there when it got worse, or what they were to hear last was given up.  What is owed
        is told by the next check.
        """
        for incident in [incident for incident in incidents.values() if incident.is_firing and not incident.owed]:
            verdict = still(incident, case.rules)
            concerned = hearing(self.settings, channels_of(self.settings, case.subject, case.name), incident.severity)
            heard = self._heard(incident)
            missing = [channel for channel in concerned if channel not in heard and only in (None, channel)]
            if missing and not self._is_silenced(verdict, case):
                self._enqueue(verdict, incident, case, missing)

    def _heard(self, incident: OpenIncident) -> set[str]:
        """Return the channels that heard of an open incident at the severity it has."""
        last = {channel: severity for channel, (_, severity) in outbox.heard_last(self.tx, incident.id).items()}
        # While it flaps, no return is told but the first: what counts is the worst that was.
        told = outbox.told_severities(self.tx, incident.id) if incident.returns else last
        addressed = outbox.addressed_channels(self.tx, incident.id)
        return {channel for channel in addressed if channel in told and told[channel] >= incident.severity}

    def tell_top_ups(self, top_ups: Sequence[TopUp], *, at: datetime) -> None:
        """Tell each channel that wants to hear of it, in one message, which organizations were topped up."""
        for channel in hearing_top_ups(self.settings) if top_ups else ():
            heard = [one for one in top_ups if channel in channels_of(self.settings, Subject.ORGANIZATION, one.name)]
            if heard:
                message = render_top_ups(heard, timezone=self.settings.timezone)
                outbox.enqueue_top_up(self.tx, message, channel, at=at)

    def is_kept_quiet(self, case: Case) -> bool:
        """Return whether a person, or the file, wants nothing at all said of a subject now."""
        if is_paused(self.settings, case.subject, case.name):
            return True
        return any(
            silence.rule is None and (silence.subject, silence.subject_id) == (case.subject, case.id)
            for silence in self._standing(case.at)
        )

    def _tell(self, verdict: Verdict, incident: OpenIncident, case: Case) -> OpenIncident:
        """Tell what was decided to those who are to hear it; what a silence suppresses is owed."""
        silenced = verdict.reason in TELLING and self._is_silenced(verdict, case)
        concerned = hearing(self.settings, channels_of(self.settings, case.subject, case.name), verdict.severity)
        eased = [name for name in self.settings.channels if name not in concerned]
        worse = verdict.reason in TELLING and not silenced
        withdrawn = outbox.withdraw_held(self.tx, incident.id, at=case.at, eased=eased if worse else ())
        audience = [] if silenced else self._audience(verdict, incident, case)
        if verdict.reason is Reason.EASED:  # what is open concerns those, too, from whom quiet hours kept it so far
            audience += [name for name in concerned if name in withdrawn and name not in audience]
        self._enqueue(verdict, incident, case, audience)
        self._end_acknowledgements(verdict, incident, case)
        if verdict.reason in TELLING and silenced != incident.owed:
            return stored_incidents.set_owed(self.tx, incident, owed=silenced, at=case.at)
        return incident

    def _enqueue(self, verdict: Verdict, incident: OpenIncident, case: Case, audience: Iterable[str]) -> None:
        facts = case.facts(verdict, incident)
        notification = Notification(
            secrets.token_hex(8), incident.id, case.subject, verdict.rule, verdict.reason, verdict.severity, facts
        )
        chosen = list(audience)
        own = [channel for channel in chosen if channel in self.settings.channels]
        held = held_until(self.settings, own, verdict.severity, facts.at)
        outbox.enqueue(self.tx, notification, chosen, at=facts.at, held=held)
        if chosen and self._down_channels():
            keys, down = [notification.id], self._down_channels()
            fallback.cover(self.tx, self.settings, at=facts.at, down=down, notification_ids=keys)
        self.enqueued.append(notification)

    def _down_channels(self) -> set[str]:
        if self._down is None:
            self._down = channels.load_down(self.tx)
        return self._down

    def _audience(self, verdict: Verdict, incident: OpenIncident, case: Case) -> list[str]:
        """Worse goes to whom it concerns; better to exactly those who were told, whatever their minimum severity."""
        if verdict.reason in TELLING:
            concerned = hearing(self.settings, channels_of(self.settings, case.subject, case.name), verdict.severity)
            return concerned + (self._still_alarmed(verdict, incident, concerned) if verdict.hourly else [])
        told = outbox.told_severities(self.tx, incident.id)
        if verdict.reason is Reason.EASED:
            told = {channel: worst for channel, worst in told.items() if worst > verdict.severity}
        if self.is_guest:  # who tells those channels finds it in the outbox
            return list(told)
        return [channel for channel in self.settings.channels if channel in told]

    def _still_alarmed(self, verdict: Verdict, incident: OpenIncident, concerned: Collection[str]) -> list[str]:
        """Return the other channels that heard of something worse last: while it flaps, nothing else says it eased."""
        last = outbox.heard_last(self.tx, incident.id)
        alarmed = {
            name for name, (how, worst) in last.items() if worst > verdict.severity and how is not Reason.RESOLVED
        }
        known = last if self.is_guest else self.settings.channels
        return [name for name in known if name in alarmed and name not in concerned]

    # --- silences -----------------------------------------------------------------------------------------------------

    def _is_silenced(self, verdict: Verdict, case: Case) -> bool:
        """Whether a person, or the file, wants nothing said of this now."""
        if is_paused(self.settings, case.subject, case.name):
            return True
        return any(
            covers(silence, case.subject, case.id, verdict.rule) and verdict.severity <= silence.up_to
            for silence in self._standing(case.at)
        )

    def _standing(self, at: datetime) -> list[Silence]:
        if self._silences is None:
            self._silences = silences.active_silences(self.tx, at=at)
        return [silence for silence in self._silences if silence.until is None or silence.until > at]

    def _end_acknowledgements(self, verdict: Verdict, incident: OpenIncident, case: Case) -> None:
        """An acknowledgement ends when what it is about is over, or gets worse."""
        for silence in self._standing(case.at):
            if silence.until is not None or not covers(silence, case.subject, case.id, verdict.rule):
                continue
            worse = verdict.reason in (Reason.OPENED, Reason.ESCALATED) and verdict.severity > silence.up_to
            if worse or (verdict.reason is Reason.RESOLVED and self._was_last(incident, silence, case)):
                silences.end_silence(self.tx, silence.id, at=case.at)
                self._silences = None

    def _was_last(self, incident: OpenIncident, silence: Silence, case: Case) -> bool:
        others = stored_incidents.open_incidents(self.tx, case.subject, [case.id]).get(case.id, {})
        return not any(
            covers(silence, case.subject, case.id, rule) for rule, other in others.items() if other.id != incident.id
        )


def still(incident: OpenIncident, rules: Rules) -> Verdict:
    """Return what those who have not heard of an open incident are told: that it opened, at the severity it has now."""
    ladders = {Rule.CREDITS: rules.credits, Rule.RUNWAY: rules.runway}
    rungs = (rung for rung in ladders.get(incident.rule, ()) if rung.severity is incident.severity)
    rung = next((rung for rung in rungs if not rung.of_top_up), None)
    level, clear = (rung.below, rung.clear) if rung else (None, None)
    return Verdict(incident.rule, Reason.OPENED, incident.severity, level=level, clear=clear)
