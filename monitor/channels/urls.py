"""What is odd about a channel's URL, in words that repeat none of it but single characters.

Imported by the child alone.
"""

import difflib
import ipaddress
import logging
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager

from monitor.channels import receivers

PLUGINS: Final = NotificationManager()  # type: ignore[no-untyped-call]
SEE: Final = "see https://appriseit.com/services/"
IN_LOGIN: Final = "@/#?"  # what ends a login or the host unless it is encoded
OVERRULED: Final = {
    "retry": "each message is tried again by credit-monitor itself",
    "wait": "each message is tried again by credit-monitor itself",
    "redirect": "redirects are never followed",
    "optional": "a message that is not taken is never counted as delivered",
    "cto": "credit-monitor sets its own time limits",
    "rto": "credit-monitor sets its own time limits",
    "store": "nothing is kept on disk by Apprise",
    "emojis": "what a message says stays as it is",
}
MEANT: Final = "or allow_insecure = true for the channel, if it is meant"
ADDRESSES: Final = ("to", "cc", "bcc", "reply", "from")
TWICE_DECODED: Final = re.compile(r"([?&](?:pass|password|user)=)([^&]*)", re.IGNORECASE)


def decode_once(url: str) -> str:
    """Return a URL whose login in the query Apprise decodes once in effect: it does so twice."""
    return TWICE_DECODED.sub(lambda found: found[1] + found[2].replace("%", "%25"), url)


# --- what keeps a URL from being used ---------------------------------------------------------------------------------


def misspelt(url: str) -> str | None:
    """Return what is wrong with a URL before anybody looks at what it means."""
    if not url:
        return "the URL is empty"
    for character in url:
        if character in "\r\n":
            return "the URL has a line break in it"
        if character.isspace() or not character.isprintable():
            return f"the URL has {_named(character)} in it, which is written {quote(character)}"
    if "://" not in url:
        return "this is no Apprise URL: those begin with a service and ://"
    return None


def rejection(url: str) -> str:
    """Return why Apprise does not take a URL, as far as can be seen, and what to write instead."""
    scheme = url.partition("://")[0].lower()
    if scheme in {"http", "https"}:
        return _web_address(url)
    if scheme not in PLUGINS:
        return f"the URL names no service that Apprise knows{_nearest(scheme)}"
    plugin = PLUGINS[scheme]
    if not plugin.enabled:
        return f"{plugin.service_name} needs a Python library that is not installed"
    takes_login = any("{user}" in template or "{password}" in template for template in plugin.templates)
    if takes_login and (character := unencoded(url)):
        what = f"{_named(character)} in a user name or password is written {quote(character, safe='')}"
        return f"{plugin.service_name} does not take the URL: {what}"
    return (
        f"{plugin.service_name} does not take the URL: something in it is missing or malformed; see {plugin.setup_url}"
    )


def _nearest(scheme: str) -> str:
    known = [name for plugin in PLUGINS.plugins() for name in _schemas_of(plugin)]  # type: ignore[no-untyped-call]
    near = difflib.get_close_matches(scheme, known, 1, 0.8)
    return f"; did you mean {near[0]}://?" if near else ""


def unencoded(url: str) -> str | None:
    """Return a character of the login that ends it where it should not."""
    rest = url.partition("://")[2]
    before, _, query = rest.partition("?")
    login, at, _ = before.rpartition("@")
    if at:
        return next((character for character in login if character in IN_LOGIN), None)
    parameter = re.split("[&=]", query, maxsplit=1)[0]
    return "?" if "@" in parameter and ":" in before else None


def _named(character: str) -> str:
    if character == " ":
        return "a space"
    return f"the character {character}" if character.isprintable() else "a character that cannot be printed"


def _web_address(url: str) -> str:
    """Return what to write instead of the address of a web hook."""
    no_url = "a web address is no Apprise URL"
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return no_url
    if plugin := _service_at(host):
        schemas = _schemas(plugin.secure_protocol) or _schemas(plugin.protocol)
        return f"{no_url}: {plugin.service_name} is written {schemas[0]}://…; see {plugin.setup_url}"
    schema = "jsons" if url[:5].lower() == "https" else "json"
    return f"{no_url}: write {schema}://… for the same address, and each message is posted there as JSON; or {SEE}"


def _service_at(host: str) -> Any:
    """Return the plug-in that sends to a host; None where there is none."""
    if schema := receivers.find_host(host):
        return PLUGINS[schema]
    exact, by_end = _hosts()
    if plugin := exact.get(host) or next((plugin for end, plugin in by_end.items() if host.endswith(end)), None):
        return plugin
    plugins: list[Any] = list(PLUGINS.plugins())  # type: ignore[no-untyped-call]
    at_home = [plugin for plugin in plugins if _domain(host) and _domain(host) == _domain(_home(plugin))]
    return at_home[0] if len(at_home) == 1 else None


def _home(plugin: Any) -> str:
    return urlsplit(str(getattr(plugin, "service_url", "") or "")).hostname or ""


def _domain(host: str) -> str | None:
    return ".".join(host.split(".")[-2:]) if "." in host and not is_here(host) else None


@cache
def _hosts() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plug-ins by the hosts that they send to, and by the ends of those that hold a variable."""
    exact: dict[str, Any] = {}
    by_end: dict[str, Any] = {}
    for plugin in PLUGINS.plugins():  # type: ignore[no-untyped-call]
        urls = [
            value
            for name, value in vars(plugin).items()
            if isinstance(value, str) and name not in {"setup_url", "service_url"}
        ]
        for url in urls:
            host = re.match(r"https?://([^/:]+)", url)
            if host and "{" not in host[1] and "%" not in host[1]:
                exact.setdefault(host[1].lower(), plugin)
            elif host and (end := re.split(r"[}s]", host[1])[-1].lower()).count(".") > 1:
                by_end.setdefault(end, plugin)
    return exact, by_end


def _schemas_of(plugin: Any) -> tuple[str, ...]:
    return (*_schemas(plugin.secure_protocol), *_schemas(plugin.protocol))


def _schemas(schemas: Any) -> tuple[str, ...]:
    return (schemas,) if isinstance(schemas, str) else tuple(schemas or ())


# --- mail -------------------------------------------------------------------------------------------------------------


def not_ascii(url: str, service: NotifyBase) -> str | None:
    """Return what of a mail's URL cannot be sent to a mail server, which is spoken to in ASCII."""
    parts = urlsplit(url)
    given = {name.lower(): value for name, value in parse_qsl(parts.query)}
    login = {"login": service.user, "password": service.password}
    for what, value in login.items():
        if value and not value.isascii():
            return f"its {what} holds a character outside ASCII, which a mail server does not take from here"
    names = {"to": "a recipient", "cc": "a recipient (cc)", "bcc": "a recipient (bcc)", "reply": "the reply address"}
    addresses = {**given, "to": f"{given.get('to', '')} {unquote(parts.path)}"}
    addresses["from"] = f"{given.get('from', '')} {getattr(service, 'from_addr', ('', ''))[1]}"
    for key in ADDRESSES:
        for address in re.findall(r"[^\s,;/<>]*@[^\s,;/<>]*", addresses.get(key, "")):
            if odd := next((character for character in address if not character.isascii()), None):
                whose = names.get(key, "the sender")
                remedy = "a domain is written in Punycode (xn--…), and a name before the @ needs one in ASCII"
                return f"{whose} holds {_named(odd)}, and mail goes to addresses in ASCII alone; {remedy}"
    return None


# --- what works but should be known -----------------------------------------------------------------------------------


def cautions(url: str, service: NotifyBase, dropped: int) -> Iterator[str]:
    """Yield what somebody should know of a URL that is taken; `dropped` targets were not understood by the plug-in."""
    if dropped:
        targets = "a target" if dropped == 1 else f"{dropped} targets"
        yield f"{targets} in it cannot be understood, and nothing is sent there; see {service.setup_url}"
    names = {name.lower() for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    for name in sorted(names & OVERRULED.keys()):
        yield f"{name}= has no effect: {OVERRULED[name]}; leave it out"


def insecure(url: str, service: NotifyBase) -> str | None:
    """Return why others can read or change what is sent through a URL, and what to write; None when they cannot."""
    secure = _schemas(service.secure_protocol)
    has_tls = url.partition("://")[0].lower() not in _schemas(service.protocol) or not secure
    if getattr(service, "secure_mode", None) == "insecure":
        is_open, remedy = True, "leave mode= out" if has_tls else f"write {secure[0]}://"
    else:
        is_open, remedy = not (service.secure or has_tls), f"write {secure[0]}://" if secure else ""
    host = getattr(service, "smtp_host", "") or service.host or ""
    if is_open and getattr(service, "mode", None) != "cloud" and not is_here(host):
        return f"what is sent, and a password in it, travels unencrypted to another machine; {remedy} ({MEANT})"
    if not is_open and not service.verify_certificate:
        return f"verify=no: whoever answers there is believed, and gets what is sent; leave it out ({MEANT})"
    return None


def is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Dropped(logging.Handler):
    """Counts the targets that plug-ins leave out, and say so in their log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record."""
        self.count += str(record.msg).startswith("Dropped invalid")
