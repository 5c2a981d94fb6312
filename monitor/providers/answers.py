"""Reads the vendor's good answers strictly: exact credits, and the organizations a key sees.

Refuses to guess: whatever is not exactly what was promised is an error, never zero.
"""

import json
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Never

from monitor.errors import ProviderUnavailable, UnexpectedAnswer
from monitor.model import VendorOrganization
from monitor.providers.http import Answer
from monitor.providers.redaction import is_sendable, quotable, redact

_PLACES = Decimal("0.000001")
_EXACT = Context(prec=40, rounding=ROUND_HALF_EVEN)
_MOST_DIGITS = 12  # before the point: 10^12 credits or more are no balance


def read_credits(answer: Answer) -> Decimal:
    """The balance, rounded half-even to six places."""
    found = _promised_object(answer).get("credits")
    if not isinstance(found, Decimal):
        raise UnexpectedAnswer("the answer has no number of credits", status=answer.status)
    if found and found.adjusted() >= _MOST_DIGITS:
        raise UnexpectedAnswer("the answer has more credits than can be", status=answer.status)
    rounded = (found or Decimal(0)).quantize(_PLACES, context=_EXACT)
    if rounded.adjusted() >= _MOST_DIGITS:
        raise UnexpectedAnswer("the answer has more credits than can be", status=answer.status)
    return rounded or abs(rounded)  # no negative zero


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
