"""Strict parsing of the vendor's answers: credits, organizations, errors, `Retry-After`.

Whatever does not have exactly the documented shape is an error, never zero.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from monitor.model import FailureKind, VendorOrganization
from monitor.providers.http import Answer
from monitor.providers.redaction import redact, sanitize
from monitor.text import fits_header


def read_credits(answer: Answer) -> Decimal:
    """Return the balance, rounded half-even to six places; raise `FetchError` when the answer has none."""
    balance = _json_object(answer).get("credits")
    if not isinstance(balance, Decimal):
        raise UnexpectedAnswer("the answer has no number of credits", status=answer.status)
    return six_places(balance, status=answer.status)


def six_places(balance: Decimal, *, status: int | None) -> Decimal:
    """Return a balance rounded half-even to six places; raise `UnexpectedAnswer` where that is none that can be."""
    if not amounts.is_plausible(balance) or not amounts.is_plausible(balance := amounts.rounded(balance)):
        raise UnexpectedAnswer("the answer has more credits than can be", status=status)
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


def require_body(answer: Answer) -> None:
    """Raise `UnexpectedAnswer` for an answer without a usable body."""
    if answer.defect:
        raise UnexpectedAnswer(answer.defect, status=answer.status)


def gateways_page(status: int | None) -> ProviderUnavailable:
    """Return the error for HTML where the vendor's own answer should be."""
    return ProviderUnavailable("a gateway's page came instead of the vendor's answer", status=status)


def _json_object(answer: Answer) -> dict[str, Any]:
    require_body(answer)
    parsed = parse(answer.body)
    if isinstance(parsed, dict):
        return parsed
    if is_html(answer):
        raise gateways_page(answer.status)
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


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an account knows of its vendor's refusals; of Stability's, the defaults.

    `statuses` have another meaning than usual; `forbidden` is what a 403 means that is the vendor's own, and `is_text`
    says that the vendor does not speak JSON, so that its own words are whatever is no HTML.
    """

    statuses: Mapping[int, FailureKind] = field(default_factory=dict)
    forbidden: type[FetchError] = AccessDenied
    is_text: bool = False
    key_help: str = ""  # which key the vendor takes, and where it is made


def read_error(
    answer: Answer, *, secret: str, meaning: Meaning = Meaning(), kind: FailureKind | None = None
) -> FetchError:
    """Return the error for an answer that is no balance; `kind` is what words in it mean, whatever its status."""
    body = parse(answer.body)
    vendor_error = body if isinstance(body, dict) else {}
    kind = kind or meaning.statuses.get(answer.status)
    if kind is not None:
        error_type, sentence = SENTENCES[kind]
    else:
        is_own = isinstance(body, dict | list) or (meaning.is_text and not is_page(answer.body))
        error_type, sentence = _classify(answer, vendor_error, meaning, is_own=is_own)
    text = _vendor_text(vendor_error, secret=secret)
    if meaning.is_text and not vendor_error and not is_page(answer.body):
        text = sanitize(answer.body.decode("utf-8", "replace"), secret)
    if error_type is CredentialRejected and meaning.key_help:
        text = f"{text + '; ' if text else ''}it takes {meaning.key_help}"
    return _error(error_type, sentence, text, answer, error_id=_error_id(vendor_error, secret=secret))


def _error(
    error_type: type[FetchError], sentence: str, text: str, answer: Answer, *, error_id: str | None
) -> FetchError:
    status = answer.status or None
    message = f"{sentence}{f' (HTTP {status})' if status else ''}{f': {text}' if text else ''}"
    if error_type is RateLimited:
        retry_after = _retry_after(answer.headers)
        message = f"{message}; waiting for {retry_after:.0f} s"
        return RateLimited(message, retry_after=retry_after, status=status, vendor_error_id=error_id)
    return error_type(message, status=status, vendor_error_id=error_id)


def _classify(
    answer: Answer, vendor_error: Mapping[str, object], meaning: Meaning, *, is_own: bool
) -> tuple[type[FetchError], str]:
    """Return kind and sentence of a status; `is_own`: the body is the vendor's, and no gateway's."""
    status = answer.status
    if status == HTTPStatus.FORBIDDEN and is_own:
        refused = meaning.forbidden is CredentialRejected
        return meaning.forbidden, "the vendor refuses access to the API key" if refused else "the vendor refuses access"
    if status == HTTPStatus.TOO_MANY_REQUESTS and vendor_error.get("name") != "insufficient_balance":
        return RateLimited, "the vendor's rate limit was reached"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= _SERVER_ERROR:
        return (
            ProviderUnavailable,
            "the vendor has a fault" if is_own else "the vendor cannot be reached behind its gateway",
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return UnexpectedAnswer, "the vendor redirects elsewhere, which is not followed"
    if is_html(answer) and not is_own:
        return ProviderUnavailable, "a gateway's page came instead of the vendor's answer"
    return UnexpectedAnswer, "an answer the vendor never promised"


def is_page(body: bytes) -> bool:
    """Return whether a body is an HTML page, whatever its headers say: XML is none."""
    return re.search(rb"<(?:!doctype\s+html|html|head|body)\b", body[:2000], re.IGNORECASE) is not None


_NO_CREDITS = (NoCredits, "the vendor says that no credits are left")
_REJECTED = (CredentialRejected, "the vendor rejects the API key")
_BY_STATUS: Mapping[int, tuple[type[FetchError], str]] = {
    HTTPStatus.UNAUTHORIZED: _REJECTED,
    HTTPStatus.PAYMENT_REQUIRED: _NO_CREDITS,
    HTTPStatus.TOO_MANY_REQUESTS: _NO_CREDITS,
    HTTPStatus.FORBIDDEN: (ProviderUnavailable, "a gateway before the vendor refuses access"),
    HTTPStatus.NOT_FOUND: (AccessDenied, "the organization or the endpoint is not there"),
}
SENTENCES: Mapping[FailureKind, tuple[type[FetchError], str]] = {
    FailureKind.CREDENTIAL_REJECTED: _REJECTED,
    FailureKind.ACCESS_DENIED: (AccessDenied, "the vendor refuses access"),
    FailureKind.NO_CREDITS: _NO_CREDITS,
    FailureKind.UNAVAILABLE: (ProviderUnavailable, "the vendor says that it cannot answer now"),
    FailureKind.RATE_LIMITED: (RateLimited, "the vendor's rate limit was reached"),
}


def _vendor_text(vendor_error: Mapping[str, object], *, secret: str) -> str:
    """Return the vendor's own words: `name: message`, as far as there are any."""
    error, detail, errors = (vendor_error.get(key) for key in ("error", "detail", "errors"))
    places = (
        error.get("message") if isinstance(error, dict) else None,
        detail.get("message") if isinstance(detail, dict) else detail,
        vendor_error.get("message"),
        error,
        errors[0] if isinstance(errors, list) and errors else None,
    )
    message = next((text for text in places if isinstance(text, str) and text), None)
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
