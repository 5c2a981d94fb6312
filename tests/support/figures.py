"""Facts of a notification, written flat: short enough to stand in a table of cases."""

from dataclasses import replace
from typing import Any

from monitor.model import Facts
from monitor.store.facts import StoredFacts, flatten, nest


def flat(**figures: Any) -> Facts:
    return nest(StoredFacts(**figures))


def changed(facts: Facts, **figures: Any) -> Facts:
    return nest(replace(flatten(facts), **figures))
