"""What does not go together in a `[providers.NAME]`: ways to ask, places of the key, shapes of an answer."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from monitor.config.rules import level_mistakes
from monitor.config.schema import Key
from monitor.providers.description import PRINTED, Description, Place
from monitor.providers.templates import variables, variables_in


def contradictions(values: Mapping[str, Any], made: Description, *, is_text: bool) -> Iterator[tuple[Key, str]]:
    """Yield key and problem of everything in a table that does not go together; `made` is what was read of it."""
    yield from _ways(values, made)
    yield from _key_places(made)
    yield from _shapes(values, made, is_text=is_text)
    if "credits" in values:
        yield from ((("credits", *key), problem) for key, problem in level_mistakes(values["credits"]))


def _ways(values: Mapping[str, Any], made: Description) -> Iterator[tuple[Key, str]]:
    """Yield mistakes about how it is asked."""
    if "url" in values and "command" in values:
        yield ("command",), "stands instead of url; remove one"
    elif "url" not in values and "command" not in values:
        yield ("url",), 'is missing; expected an address such as "https://api.example.com/v1/balance"'
    if "json" in values and "form" in values:
        yield ("form",), "stands instead of json; remove one"
    for key in ("json", "form"):
        if key in values and made.method != "POST":
            yield (key,), 'is sent with method = "POST" alone'
    for key in ("method", "json", "form", "auth", "headers", "status", "organizations") if "command" in values else ():
        if key in values:
            yield (key,), "has no meaning beside command"
    listed = made.organizations
    if listed and made.url and (listed.url.scheme, listed.url.authority) != (made.url.scheme, made.url.authority):
        yield ("organizations", "url"), "has another host than url; the key goes to one host"
    if listed and not made.asks_for_organization:
        yield ("organizations",), "finds what nothing names; expected {organization} in url, headers, json or form"


def _key_places(made: Description) -> Iterator[tuple[Key, str]]:
    """Yield mistakes about where the key is."""
    yield from _header_places(made)
    for key, body in (("json", made.json), ("form", made.form)):
        if "key" in variables_in(body) and made.auth.place is not Place.NONE:
            yield (key,), 'holds {key}; expected auth = "none" beside it, for the key goes to one place'
    query = made.url.query if made.url else None
    if made.auth.place is Place.QUERY and made.auth.name in {
        part.partition("=")[0] for part in (query or "").split("&")
    }:
        yield ("auth", "query"), "is in url, too"
    for number, argument in enumerate(made.command, start=1):
        if "key" in variables(argument):
            yield ("command", str(number)), "holds {key}; a command has the key on its standard input"


def _header_places(made: Description) -> Iterator[tuple[Key, str]]:
    places = {Place.HEADER: made.auth.name.lower(), Place.BEARER: "authorization", Place.BASIC: "authorization"}
    for name, value in made.headers.items():
        if "key" in variables(value):
            yield ("headers", name), 'holds {key}; expected auth = { header = "…" }'
        if name.lower() == places.get(made.auth.place):
            yield ("headers", name), "is where auth puts the key"


OF_JSON: Final = ("ok", "absent", "balance", "balances", "each", "id", "unlimited", "resets_at", "organizations")


def _shapes(values: Mapping[str, Any], made: Description, *, is_text: bool) -> Iterator[tuple[Key, str]]:
    """Yield mistakes about how it answers."""
    several = [key for key in ("each", "balances", "organizations") if key in values]
    if len(several) > 1:
        yield (several[1],), f"stands instead of {several[0]}; remove one"
    if "balances" in values and "balance" in values:
        yield ("balance",), "stands instead of balances; remove one"
    if "each" in values and "id" not in values:
        yield ("id",), 'is missing: the path of each entry\'s id, such as "currency"'
    if "id" in values and "balances" in values:
        yield ("id",), "stands in each of balances"
    for key in OF_JSON if is_text else ("pattern",):
        if key in values:
            yield (key,), "is for JSON alone" if is_text else 'needs format = "text" beside it'
    if is_text and "pattern" not in values and made.pattern != PRINTED:
        yield ("pattern",), "is missing; expected one such as '^BALANCE:(?P<balance>[0-9.]+)'"
    yield from _units(values, made)


def _units(values: Mapping[str, Any], made: Description) -> Iterator[tuple[Key, str]]:
    if made.pattern == PRINTED:
        return
    is_in_pattern = made.pattern is not None and "(?P<unit>" in made.pattern
    if is_in_pattern and "unit" in values:
        yield ("unit",), "stands in pattern, too; remove one"
    if "unit" in values or is_in_pattern:
        return
    for number, figure in enumerate(made.figures, start=1):
        if not figure.unit and not figure.unit_path:
            place = ("balances", str(number)) if "balances" in values else ()
            yield (*place, "unit"), 'is missing; expected one such as "USD", or { path = "currency" }'
