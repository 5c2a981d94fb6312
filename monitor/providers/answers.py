"""Reads the vendor's good answers strictly: exact credits, and the organizations a key sees.

Refuses to guess: whatever is not exactly what was promised is an error, never zero.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Never

from monitor import amounts
from monitor.errors import (
    AccessDenied,
    CredentialRejected,
    FetchError,
    NoCredits,
    ProviderUnavailable,
    RateLimited,
    UnexpectedAnswer,
)
from monitor.model import VendorOrganization
from monitor.providers.http import Answer
from monitor.providers.redaction import is_sendable, quotable, redact


def read_credits(answer: Answer) -> Decimal:
    """The balance, rounded half-even to six places."""
    found = _promised_object(answer).get("credits")
    if not isinstance(found, Decimal):
        raise UnexpectedAnswer("the answer has no number of credits", status=answer.status)
    if not amounts.is_plausible(found) or not amounts.is_plausible(balance := amounts.rounded(found)):
        raise UnexpectedAnswer("the answer has more credits than can be", status=answer.status)
    return balance or abs(balance)  # no negative zero


def read_organizations(answer: Answer, *, secret: str) -> tuple[VendorOrganization, ...]:
    """The organizations a key sees, each once."""
    listed = _promised_object(answer).get("organizations")
    if not isinstance(listed, list):
        raise UnexpectedAnswer("the answer has no list of organizations", status=answer.status)
    organizations: dict[str, VendorOrganization] = {}
    odd: UnexpectedAnswer | None = None
    for entry in listed:
        try:
            organization = _read_organization(entry, secret=secret)
        except UnexpectedAnswer as error:
            odd = error.with_traceback(None)  # one odd entry leaves the others watched
            continue
        organizations.setdefault(organization.id, organization)
    if odd and not organizations:
        raise odd
    return tuple(organizations.values())


def parse(body: bytes) -> object:
    """The JSON of a body, numbers as decimals; None for anything less than strict JSON in UTF-8."""
    try:
        return _JSON.decode(body.decode("utf-8"))
    except (ValueError, ArithmeticError, RecursionError):
        return None


def is_page(answer: Answer) -> bool:
    """Whether somebody's HTML came instead of the vendor's JSON."""
    return "html" in answer.headers.get("content-type", "").lower() or answer.body.lstrip()[:1] == b"<"


def _promised_object(answer: Answer) -> dict[str, Any]:
    if answer.defect:
        raise UnexpectedAnswer(answer.defect, status=answer.status)
    parsed = parse(answer.body)
    if isinstance(parsed, dict):
        return parsed
    if is_page(answer):
        raise ProviderUnavailable("a gateway's page came instead of the vendor's answer", status=answer.status)
    raise UnexpectedAnswer("the answer is not the JSON object that was promised", status=answer.status)


def _read_organization(entry: object, *, secret: str) -> VendorOrganization:
    fields = entry if isinstance(entry, dict) else {}
    id_, name = fields.get("id"), fields.get("name")
    if not isinstance(id_, str) or not is_sendable(id_) or redact(id_, secret) != id_:
        raise UnexpectedAnswer("the answer lists an organization without a usable id")
    if name is not None and not isinstance(name, str):
        raise UnexpectedAnswer("the answer lists an organization whose name is not a text")
    return VendorOrganization(id_, quotable(name or "", secret) or None, fields.get("is_default") is True)


def _no_such_number(text: str) -> Never:
    raise ValueError(text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError(len(pairs))
    return members


_JSON = json.JSONDecoder(
    parse_float=Decimal, parse_int=Decimal, parse_constant=_no_such_number, object_pairs_hook=_without_doubles
)


# --- how the vendor refuses -------------------------------------------------------------------------------------------


_ERROR_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_SHORTEST_PAUSE = 60.0  # the vendor's time-out; a longer one is believed up to an hour
_LONGEST_PAUSE = 3600.0
_SERVER_ERROR = 500


def refusal(answer: Answer, *, secret: str) -> FetchError:
    """The error for an answer with any status but 200."""
    said = _said(answer)
    kind, sentence = _kind(answer.status, said)
    status, error_id = answer.status, _error_id(said, secret=secret)
    words = _words(said, secret=secret)
    message = f"{sentence} (HTTP {status}){f': {words}' if words else ''}"
    if kind is RateLimited:
        pause = _pause(answer.headers)
        message = f"{message}; waiting for {pause:.0f} s"
        return RateLimited(message, retry_after=pause, status=status, vendor_error_id=error_id)
    return kind(message, status=status, vendor_error_id=error_id)


def _kind(status: int, said: Mapping[str, object]) -> tuple[type[FetchError], str]:
    if status == HTTPStatus.FORBIDDEN and said:
        return AccessDenied, "the vendor refuses access"
    if status == HTTPStatus.TOO_MANY_REQUESTS and said.get("name") != "insufficient_balance":
        return RateLimited, "the vendor's rate limit was reached"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _SERVER_ERROR:
        return (
            ProviderUnavailable,
            "the vendor has a fault" if said else "the vendor cannot be reached behind its gateway",
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return UnexpectedAnswer, "the vendor redirects elsewhere, which is not followed"
    return UnexpectedAnswer, "an answer the vendor never promised"


_NO_CREDITS = (NoCredits, "the vendor says that no credits are left")
_BY_STATUS: Mapping[int, tuple[type[FetchError], str]] = {
    HTTPStatus.UNAUTHORIZED: (CredentialRejected, "the vendor rejects the API key"),
    HTTPStatus.PAYMENT_REQUIRED: _NO_CREDITS,
    HTTPStatus.TOO_MANY_REQUESTS: _NO_CREDITS,
    HTTPStatus.FORBIDDEN: (ProviderUnavailable, "a gateway before the vendor refuses access"),
    HTTPStatus.NOT_FOUND: (AccessDenied, "the organization or the endpoint is not there"),
}


def _said(answer: Answer) -> Mapping[str, object]:
    """The vendor's own JSON; empty for anyone else's answer."""
    parsed = parse(answer.body)
    if isinstance(parsed, dict) and parsed.keys() & {"id", "name", "message", "errors"}:
        return parsed
    return {}


def _words(said: Mapping[str, object], *, secret: str) -> str:
    """`name: message`, as far as there are any."""
    errors = said.get("errors")
    message = said.get("message", errors[0] if isinstance(errors, list) and errors else None)
    return quotable(": ".join(part for part in (said.get("name"), message) if isinstance(part, str)), secret)


def _error_id(said: Mapping[str, object], *, secret: str) -> str | None:
    """The opaque id that the vendor's support asks for."""
    id_ = said.get("id")
    if isinstance(id_, str) and _ERROR_ID.fullmatch(id_) and redact(id_, secret) == id_:
        return id_
    return None


def _pause(headers: Mapping[str, str]) -> float:
    """The longer of 60 s and `Retry-After`: seconds, or a date, which counts from the answer's own."""
    wanted = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", wanted):
        seconds = float(wanted)
    else:
        until, sent_at = read_date(wanted), read_date(headers.get("date", ""))
        seconds = (until - sent_at).total_seconds() if until and sent_at else 0.0
    return min(max(seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)


def read_date(text: str) -> datetime | None:
    """An instant as headers have it; None when it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else None
