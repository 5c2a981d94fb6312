"""What each receiving service needs beyond what Apprise does: one table, an entry per service.

Nothing about one service stands anywhere else.  Imported by the daemon and by the child, so without Apprise; a service
is found by any of the schemas of its plug-in (`pagerduty` in `pagerduty://…`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class OnCall:
    """How a service that keeps an incident open until somebody resolves it by its key is told which one is meant."""

    key: str  # the parameter of the URL that carries the key
    end: Mapping[str, str] = field(default_factory=dict)  # parameters with which a message of the kind `success` resolves it


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiving service.  What is left out is as in most of them."""

    schemas: tuple[str, ...]
    max_characters: int | None = None  # of a message, where the plug-in's own figure is wrong or silent
    max_bytes: int | None = None  # of a message in UTF-8
    on_call: OnCall | None = None  # it pages people
    attaches: bool = True  # what the plug-in takes, it shows

    @property
    def joins(self) -> bool:
        """Whether a message to it may be about several incidents."""
        return self.on_call is None


UNLISTED: Final = Receiver(())

TABLE: Final = (
    # on call
    Receiver(("pagerduty",), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("opsgenie",), on_call=OnCall("alias")),
    Receiver(("jira",), on_call=OnCall("alias")),
    Receiver(("splunk", "victorops"), on_call=OnCall("entity_id")),
    Receiver(("incidentio",), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("ilert",), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("firehydrant",), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("squadcast",), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("signl4",), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("goalert", "goalerts"), on_call=OnCall("dedup", {"action": "map"})),
    Receiver(("pagertree",), on_call=OnCall("id", {"action": "map"})),
)

RECEIVERS: Final[Mapping[str, Receiver]] = {schema: receiver for receiver in TABLE for schema in receiver.schemas}


def find(schema: str) -> Receiver:
    """Return what is known of a service, by any of its plug-in's schemas; one without an entry is like most."""
    return RECEIVERS.get(schema.lower(), UNLISTED)
