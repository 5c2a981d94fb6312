"""Metrics in the text formats of Prometheus and OpenMetrics.

Labels are configured names, the vendor's ids and our own words, so that the number of series is bounded by the
organizations, accounts and channels.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from monitor import __version__
from monitor.config import Settings
from monitor.counters import BOUNDS, FETCHED, Counters, Durations
from monitor.model import FailureKind, Rule, Severity
from monitor.text import mask
from monitor.web.reader import Figures

PREFIX: Final = "credit_monitor_"
CHECKED: Final = (FETCHED, *(kind.value for kind in FailureKind))
DELIVERED: Final = ("delivered", "failed", "given_up")
ENDS: Final = (*map(str, BOUNDS), "+Inf")
OPENMETRICS: Final = "application/openmetrics-text"
OF_ONE: Final = ("organization", "account", "unit")

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """Everything in one answer; `figures` is None while the database cannot be read."""

    settings: Settings
    counters: Counters
    figures: Figures | None
    leads: bool
    now: datetime


def render(scrape: Scrape, accept: str) -> tuple[bytes, str]:
    """Return the answer and its content type, in the format that an Accept header prefers."""
    registry = CollectorRegistry()
    registry.register(_Families(scrape))
    if _prefers_openmetrics(accept):
        body: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return body, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4


def _prefers_openmetrics(accept: str) -> bool:
    weights = {"text/plain": 0.0, OPENMETRICS: 0.0}
    for choice in accept.lower().split(","):
        kind, *options = (part.strip() for part in choice.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(options))
    return 0 < weights[OPENMETRICS] >= weights["text/plain"]


def _weight(options: Iterable[str]) -> float:
    given = [option.removeprefix("q=") for option in options if option.startswith("q=")]
    try:
        return float(given[0]) if given else 1.0
    except ValueError:
        return 0.0


class _Families(Collector):
    """One scrape as a collector of prometheus-client."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        scrape = self._scrape
        yield InfoMetricFamily(f"{PREFIX}build", "The version that runs.", value={"version": __version__})
        yield _gauge("leader", "Whether this process polls and delivers (1) or stands by (0).", {(): scrape.leads})
        yield _gauge("database_up", "Whether the database could be read for this answer.", {(): bool(scrape.figures)})
        yield from _process_metrics(scrape.settings, scrape.counters)
        if scrape.figures:
            yield from _state_metrics(scrape.figures)
            yield from _outbox_metrics(scrape.settings, scrape.figures, scrape.now)


def _process_metrics(settings: Settings, counters: Counters) -> Iterator[Metric]:
    """Yield what this process counted since its start, zeros included, so that a rate has a beginning."""
    checks = dict.fromkeys(((name, outcome) for name in settings.accounts for outcome in CHECKED), 0) | counters.checks
    tries = dict.fromkeys(((name, how) for name in settings.channels for how in DELIVERED), 0) | counters.deliveries
    yield _counter("checks", "Checks by how they ended.", checks, ("account", "outcome"))
    yield _counter("deliveries", "Attempts to deliver, by how they ended.", tries, ("channel", "outcome"))
    yield _gauge("results_held", "Results that the database has not taken yet.", {(): counters.held})
    yield _gauge(
        "results_set_aside", "Those of them that it does not take while it takes others.", {(): counters.set_aside}
    )
    yield _counter("results_dropped", "Results that were more than can be held.", {(): counters.dropped}, ())
    took = HistogramMetricFamily(
        f"{PREFIX}poll_duration_seconds", "How long completed polls took.", labels=["account"], unit="seconds"
    )
    for name in settings.accounts:
        durations = counters.polls.get(name, Durations())
        buckets = list(zip(ENDS, accumulate(durations.counts), strict=True))
        took.add_metric([name], [(end, float(count)) for end, count in buckets], durations.total)
    yield took


def _state_metrics(figures: Figures) -> Iterator[Metric]:
    """Yield the present state of organizations, accounts and incidents."""
    organizations = figures.organizations
    names = {row.id: (row.name, row.account, row.unit) for row in organizations}
    balances = {names[row.id]: float(row.credits) for row in organizations if row.credits is not None}
    runways = {names[id_]: hours * 3600 for id_, hours in figures.runways.items()}
    taken = {names[row.id]: row.taken_at.timestamp() for row in organizations if row.taken_at}
    polled = {(name,): at.timestamp() for name, at in figures.polled.items() if at}
    yield InfoMetricFamily(f"{PREFIX}schema", "The database's schema.", value={"version": figures.schema or "none"})
    yield _gauge("balance_credits", "The last recorded balance.", balances, OF_ONE)
    yield _gauge("runway_seconds", "Likely time until empty; none while unknown, +Inf without use.", runways, OF_ONE)
    yield _gauge(
        "last_snapshot_timestamp_seconds", "When the last balance was taken; its age is time() - this.", taken, OF_ONE
    )
    yield _gauge("last_poll_timestamp_seconds", "When the last completed poll began.", polled, ("account",))
    yield _gauge("incidents_open", "Open incidents.", _incidents(figures), ("rule", "severity"))


def _incidents(figures: Figures) -> dict[tuple[str, str], int]:
    incidents = [incident for organization in figures.organizations for incident in organization.incidents]
    incidents += [row.incident for row in figures.accounts if row.incident.is_firing]
    counts = Counter((incident.rule.value, incident.severity.label) for incident in incidents)
    return dict.fromkeys(((rule.value, severity.label) for rule in Rule for severity in Severity), 0) | counts


def _outbox_metrics(settings: Settings, figures: Figures, now: datetime) -> Iterator[Metric]:
    """Yield what is pending; what quiet hours hold is pending, too, but does not age."""
    none = {(name,): 0.0 for name in settings.channels}
    pending = {(backlog.channel,): float(backlog.pending) for backlog in figures.backlogs}
    ages = {
        (backlog.channel,): max((now - backlog.oldest_at).total_seconds(), 0)
        for backlog in figures.backlogs
        if backlog.oldest_at
    }
    yield _gauge("outbox_pending", "Notifications not delivered yet.", none | pending, ("channel",))
    yield _gauge("outbox_oldest_age_seconds", "Age of the oldest that may be sent.", none | ages, ("channel",))


def _gauge(name: str, text: str, values: Mapping[Any, float], labels: Labels = ()) -> Metric:
    unit = "seconds" if name.endswith("_seconds") else "credits" if name.endswith("_credits") else ""
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels, unit=unit)
    for key, value in values.items():
        family.add_metric(_labels(key), float(value))
    return family


def _counter(name: str, text: str, values: Mapping[Any, int], labels: Labels) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(_labels(key), value)
    return family


def _labels(key: Iterable[str]) -> list[str]:
    """Return labels without control characters: an id is the vendor's word, and may be shown in a terminal."""
    return list(map(mask, key))
