"""Tells a plug-in of an on-call service which incident there a message is about.

Imported by the template and its children alone, as is Apprise.  A key or an action that the URL sets wins.
"""

import hashlib
from typing import Any, Final
from urllib.parse import quote

from apprise import NotifyBase, NotifyType

from monitor.channels import receivers
from monitor.channels.receivers import OnCall

RESOLVED: Final = NotifyType.SUCCESS.value  # the kind that resolves


def address(service: NotifyBase, on_call: OnCall, url: str, key: str) -> None:
    """Let what is sent next through the plug-in of an on-call service be about the incident of this key."""
    plugin: Any = service
    if not receivers.own_keys(url, on_call):
        setattr(plugin, on_call.key, key)
    own_actions = receivers.own_actions(url, on_call)
    if "action" not in own_actions:
        plugin.action = "map"
    if on_call.info and not any(":info".startswith(name) for name in own_actions):
        plugin.mapping[NotifyType.INFO] = on_call.info
    if on_call.by_alias:
        _use_alias(plugin, on_call)


def _use_alias(plugin: Any, on_call: OnCall) -> None:
    """Have it name an alert by its alias instead of by what it remembers of its requests, which ends with the child."""
    alias = getattr(plugin, on_call.key)
    # Alerts with one alias are one alert, so all responders have to be named in one request.
    plugin.batch_size = plugin.default_batch_size
    index = hashlib.sha1((plugin.entity or alias).encode(), usedforsecurity=False).hexdigest()[:10]
    plugin.store.set(index, [quote(alias, safe="")])
    if "_fetch" in vars(plugin):
        return
    fetch = plugin._fetch  # noqa: SLF001 -- the one place where it names an alert

    def fetch_by_alias(method: Any, url: str, payload: Any, params: Any = None) -> Any:
        return fetch(method, url, payload, {"identifierType": "alias"} if params else None)

    plugin._fetch = fetch_by_alias  # noqa: SLF001
