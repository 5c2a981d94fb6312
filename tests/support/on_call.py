"""On-call services on loopback: each keeps what its API opens until its API resolves it by the same key.

Their fixed hosts are reached through a CONNECT proxy that ends TLS with a certificate of its own.
"""

import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from proxy import Reply, Request, internet

CERTIFICATE: Final = Path(__file__).with_name("on_call.pem")  # worthless, with every host below
GOALERT_KEY: Final = "ab12cd34-ab12-4c5d-8e9f-0123456789ab"
NEW: Final = itertools.count(1)

# schema → its Apprise URL; GoAlert has no fixed host.
URLS: Final = {
    "pagerduty": "pagerduty://routing@token",
    "opsgenie": "opsgenie://key/%23team/@somebody",
    "jira": "jira://key",
    "victorops": "victorops://route@key",
    "incidentio": "incidentio://01GW2G3V0S59R238FAHPDS1R66/token",
    "ilert": "ilert://key",
    "firehydrant": "firehydrant://token",
    "squadcast": "squadcast://key",
    "signl4": "signl4://secret",
    "goalert": f"goalert://127.0.0.1:{{port}}/{GOALERT_KEY}",
    "pagertree": "pagertree://int_0123456789",
}


@dataclass(frozen=True)
class Event:
    """What a request says to a service; `does` is opens, ends or notes, `key` None where it carries none."""

    service: str
    does: str
    key: str | None
    body: Any


@dataclass
class Services:
    """What every service has been told, and has open."""

    port: int = 0
    events: list[Event] = field(default_factory=list)
    open: dict[str, list[str]] = field(default_factory=dict)  # service → keys, in the order in which they were opened
    lost: list[Event] = field(default_factory=list)  # ends of what was not open
    refused: dict[str, tuple[str, int]] = field(default_factory=dict)  # service → what it refuses, and the status
    refused_keys: set[str] = field(default_factory=set)  # words in the head of what is refused
    hang: set[str] = field(default_factory=set)  # services that take a request and never answer

    @property
    def urls(self) -> dict[str, str]:
        return {name: url.format(port=self.port) for name, url in URLS.items()}

    @property
    def environ(self) -> dict[str, str]:
        """What leads a process here."""
        return {"HTTPS_PROXY": f"http://127.0.0.1:{self.port}", "REQUESTS_CA_BUNDLE": str(CERTIFICATE)}

    def of(self, service: str) -> list[tuple[str, str | None]]:
        return [(event.does, event.key) for event in self.events if event.service == service]

    def take(self, event: Event) -> None:
        """Do as the service would: a key that is open is opened once, without a key each is another incident."""
        self.events.append(event)
        keys = self.open.setdefault(event.service, [])
        key = event.key or f"keyless {next(NEW)}"
        if event.does == "opens" and key not in keys:
            keys.append(key)
        elif event.does == "ends" and key in keys:
            keys.remove(key)
        elif event.does == "ends":
            self.lost.append(event)

    def answer(self, request: Request) -> Reply:
        """Do what a request says, unless that is refused."""
        service, read = SERVICES.get(request.host, ("goalert", _goalert))
        url, body = urlsplit(request.line.split(" ")[1]), json.loads(request.body)
        does, key = read(unquote(url.path), parse_qs(url.query), body)
        refused, status = self.refused.get(service, ("", 0))
        if any(refused_key in request.head for refused_key in self.refused_keys):
            return Reply(503)
        if does == refused:
            return Reply(status)
        self.take(Event(service, does, key, body))
        status = 202 if service in ("opsgenie", "jira", "pagerduty") else 200
        delay = 3600 if service in self.hang else 0
        return Reply(status, json.dumps({"requestId": f"r{next(NEW)}"}).encode(), delay=delay)


# --- each one's API ---------------------------------------------------------------------------------------------------

Read = Callable[[str, Mapping[str, list[str]], Any], tuple[str, str | None]]


def _field(name: str, of: str, ends: str, opens: tuple[str, ...]) -> Read:
    """An API that names the key in `name`, and says in the field `of` what happened."""

    def read(_path: str, _query: Mapping[str, list[str]], body: Any) -> tuple[str, str | None]:
        what = body.get(of)
        return "ends" if what == ends else "opens" if what in opens else "notes", body.get(name)

    return read


def _goalert(_path: str, _query: Mapping[str, list[str]], body: Any) -> tuple[str, str | None]:
    return "ends" if body.get("action") == "close" else "opens", body.get("dedup")


def _signl4(_path: str, _query: Mapping[str, list[str]], body: Any) -> tuple[str, str | None]:
    return "ends" if body.get("X-S4-Status") == "resolved" else "opens", body.get("X-S4-ExternalID")


def _alerts(path: str, query: Mapping[str, list[str]], body: Any) -> tuple[str, str | None]:
    """Opsgenie's API, and that of Jira Service Management: the id of a request is none of an alert."""
    if path.endswith("/alerts"):
        return "opens", body.get("alias")
    identifier, action = path.rsplit("/", 2)[1:]
    named = identifier if query.get("identifierType") == ["alias"] else None
    return "ends" if action == "close" else "notes", named


_PAGERDUTY: Final = _field("dedup_key", "event_action", "resolve", ("trigger",))
_SQUADCAST: Final = _field("event_id", "status", "resolve", ("trigger",))
SERVICES: Final[Mapping[str, tuple[str, Read]]] = {
    "events.pagerduty.com": ("pagerduty", _PAGERDUTY),
    "api.opsgenie.com": ("opsgenie", _alerts),
    "api.atlassian.com": ("jira", _alerts),
    "alert.victorops.com": ("victorops", _field("entity_id", "message_type", "RECOVERY", ("CRITICAL", "WARNING"))),
    "api.incident.io": ("incidentio", _field("deduplication_key", "status", "resolved", ("firing",))),
    "api.ilert.com": ("ilert", _field("alertKey", "eventType", "RESOLVE", ("ALERT",))),
    "signals.firehydrant.com": ("firehydrant", _field("idempotency_key", "status", "CLOSED", ("OPEN",))),
    "api.squadcast.com": ("squadcast", _SQUADCAST),
    "connect.signl4.com": ("signl4", _signl4),
    "api.pagertree.com": ("pagertree", _field("id", "event_type", "resolve", ("create",))),
}


# --- where they are ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_call_services() -> AsyncIterator[Services]:
    """The services, behind a proxy on loopback."""
    services = Services()
    async with internet(services.answer) as hosts:
        services.port = hosts.port
        hosts.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        hosts.tls.load_cert_chain(CERTIFICATE)
        yield services
