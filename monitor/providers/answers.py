"""Strict parsing of the vendor's answers: credits, organizations, errors, `Retry-After`.

Whatever does not have exactly the documented shape is an error, never zero.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Never

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
from monitor.providers.redaction import redact, sanitize
from monitor.text import fits_header


def read_credits(answer: Answer) -> Decimal:
    """Return the balance, rounded half-even to six places; raise `FetchError` when the answer has none."""
    balance = _json_object(answer).get("credits")
    if not isinstance(balance, Decimal):
        raise UnexpectedAnswer("the answer has no number of credits", status=answer.status)
    if not amounts.is_plausible(balance) or not amounts.is_plausible(balance := amounts.rounded(balance)):
        raise UnexpectedAnswer("the answer has more credits than can be", status=answer.status)
    return balance or abs(balance)  # no negative zero


class Listing(NamedTuple):
    """What the account endpoint lists; `unusable` has a line for each entry that cannot be watched."""

    organizations: tuple[VendorOrganization, ...]
    unusable: tuple[str, ...]


def read_organizations(answer: Answer, *, secret: str) -> Listing:
    """Return the organizations a key sees, each once; raise `FetchError` when none of the entries is usable."""
    listed = _json_object(answer).get("organizations")
    if not isinstance(listed, list):
        raise UnexpectedAnswer("the answer has no list of organizations", status=answer.status)
    organizations: dict[str, VendorOrganization] = {}
    unusable: list[str] = []
    for entry in listed:
        try:
            organization = _read_organization(entry, secret=secret)
        except UnexpectedAnswer as error:
            unusable.append(str(error))  # one bad entry leaves the others watched
            continue
        organizations.setdefault(organization.id, organization)
    if unusable and not organizations:
        raise UnexpectedAnswer(f"of what the key sees nothing can be watched: {unusable[0]}", status=answer.status)
    return Listing(tuple(organizations.values()), tuple(unusable))


def parse(body: bytes) -> object:
    """Return the JSON of a body with numbers as decimals; None when it is not strict JSON in UTF-8 (a BOM is taken)."""
    try:
        return _JSON.decode(body.decode("utf-8-sig"))
    except (ValueError, ArithmeticError, RecursionError):
        return None


def is_html(answer: Answer) -> bool:
    """Return whether the body is HTML instead of the vendor's JSON."""
    return "html" in answer.headers.get("content-type", "").lower() or answer.body.lstrip()[:1] == b"<"


def _json_object(answer: Answer) -> dict[str, Any]:
    if answer.defect:
        raise UnexpectedAnswer(answer.defect, status=answer.status)
    parsed = parse(answer.body)
    if isinstance(parsed, dict):
        return parsed
    if is_html(answer):
        raise ProviderUnavailable("a gateway's page came instead of the vendor's answer", status=answer.status)
    raise UnexpectedAnswer("the answer is not the JSON object that was promised", status=answer.status)


def _read_organization(entry: object, *, secret: str) -> VendorOrganization:
    fields = entry if isinstance(entry, dict) else {}
    id_, name = fields.get("id"), fields.get("name")
    if not isinstance(id_, str) or not id_:
        raise UnexpectedAnswer(f"an organization{_called(name, secret)} has no id")
    if not fits_header(id_) or redact(id_, secret) != id_:
        shown = sanitize(id_, secret) or "?"
        raise UnexpectedAnswer(
            f"the organization {shown}{_called(name, secret)} has an id that no request can name:"
            " expected up to 200 letters, digits and signs without spaces"
        )
    if name is not None and not isinstance(name, str):
        raise UnexpectedAnswer(f"the organization {id_} has a name that is no text")
    return VendorOrganization(id_, sanitize(name or "", secret) or None, fields.get("is_default") is True)


def _called(name: object, secret: str) -> str:
    called = sanitize(name, secret) if isinstance(name, str) else ""
    return f" called {called}" if called else ""


def _reject_constant(text: str) -> Never:
    raise ValueError(text)


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError(len(pairs))
    return members


_JSON = json.JSONDecoder(
    parse_float=Decimal, parse_int=Decimal, parse_constant=_reject_constant, object_pairs_hook=_reject_duplicates
)


# --- errors -----------------------------------------------------------------------------------------------------------


_ERROR_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_SHORTEST_WAIT = 60.0  # seconds: the vendor's documented time-out; a longer one is honoured up to an hour
_LONGEST_WAIT = 3600.0
_SERVER_ERROR = 500


def read_error(answer: Answer, *, secret: str) -> FetchError:
    """Return the error for an answer with any status but 200."""
    vendor_error = _vendor_error(answer)
    kind, sentence = _classify(answer.status, vendor_error)
    status, error_id = answer.status, _error_id(vendor_error, secret=secret)
    text = _vendor_text(vendor_error, secret=secret)
    message = f"{sentence} (HTTP {status}){f': {text}' if text else ''}"
    if kind is RateLimited:
        retry_after = _retry_after(answer.headers)
        message = f"{message}; waiting for {retry_after:.0f} s"
        return RateLimited(message, retry_after=retry_after, status=status, vendor_error_id=error_id)
    return kind(message, status=status, vendor_error_id=error_id)


def _classify(status: int, vendor_error: Mapping[str, object]) -> tuple[type[FetchError], str]:
    if status == HTTPStatus.FORBIDDEN and vendor_error:
        return AccessDenied, "the vendor refuses access"
    if status == HTTPStatus.TOO_MANY_REQUESTS and vendor_error.get("name") != "insufficient_balance":
        return RateLimited, "the vendor's rate limit was reached"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _SERVER_ERROR:
        return (
            ProviderUnavailable,
            "the vendor has a fault" if vendor_error else "the vendor cannot be reached behind its gateway",
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


def _vendor_error(answer: Answer) -> Mapping[str, object]:
    """Return the vendor's error object; empty when the answer is a gateway's or a proxy's."""
    parsed = parse(answer.body)
    if isinstance(parsed, dict) and parsed.keys() & {"id", "name", "message", "errors"}:
        return parsed
    return {}


def _vendor_text(vendor_error: Mapping[str, object], *, secret: str) -> str:
    """Return `name: message`, as far as there are any."""
    errors = vendor_error.get("errors")
    message = vendor_error.get("message", errors[0] if isinstance(errors, list) and errors else None)
    return sanitize(": ".join(part for part in (vendor_error.get("name"), message) if isinstance(part, str)), secret)


def _error_id(vendor_error: Mapping[str, object], *, secret: str) -> str | None:
    """Return the opaque id that the vendor's support asks for."""
    id_ = vendor_error.get("id")
    if isinstance(id_, str) and _ERROR_ID.fullmatch(id_) and redact(id_, secret) == id_:
        return id_
    return None


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return `Retry-After` in seconds, clamped to 60 s to one hour; a date counts from the answer's own `Date`."""
    header = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", header):
        seconds = float(header)
    else:
        until, sent_at = read_date(header), read_date(headers.get("date", ""))
        seconds = (until - sent_at).total_seconds() if until and sent_at else 0.0
    return min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT)


def read_date(text: str) -> datetime | None:
    """Return the instant of an HTTP date; None when it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else None
