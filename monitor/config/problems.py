"""Every mistake of one load, each with its place and its words.

No message repeats a value: a key in the wrong setting is still a key.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from monitor.config.schema import ANY, BY_UNIT, Key, known_settings, names_in
from monitor.config.sources import PREFIX, Layer, Origin, variable
from monitor.errors import ConfigError, Mistake
from monitor.text import mask

UNKNOWN: Final = {"extra_forbidden", "unexpected_keyword_argument"}  # pydantic's words, for models and dataclasses
NO_TABLE: Final = {"model_type", "model_attributes_type", "dict_type", "mapping_type", "dataclass_type"}


@dataclass(slots=True)
class Mistakes:
    """What is wrong, and the layers (strongest first) that tell where."""

    layers: Sequence[Layer]
    _mistakes: list[Mistake] = field(default_factory=list)
    _keys: set[Key] = field(default_factory=set)  # of the mistakes
    _holders: set[Key] = field(default_factory=set)

    def origin(self, key: Key) -> Origin | None:
        """Return where a setting was given, in the strongest layer; None for a default."""
        return next((origin for layer in self.layers if (origin := layer.origin(key))), None)

    def place(self, key: Key) -> tuple[str | None, int | None]:
        """Return file (or variable) and line of a setting, else of what should hold it."""
        origins = (self.origin(key[:length]) for length in range(len(key), 0, -1))
        origin = next(filter(None, origins), None)
        return (origin.place, origin.line) if origin else (None, None)

    def add(self, key: Key, problem: str) -> None:
        """Keep a mistake, unless one is known that it may follow from."""
        if self.is_sound(key):
            self._keys.add(key)
            self._holders.update(key[:length] for length in range(1, len(key) + 1))
            self._mistakes.append(Mistake(mask(".".join(key)), problem, *self.place(key)))

    def is_sound(self, key: Key) -> bool:
        """Return whether nothing is wrong with a setting, with what it holds and with what holds it."""
        return key not in self._holders and not any(key[:length] in self._keys for length in range(1, len(key)))

    @property
    def is_table_wrong(self) -> bool:
        """Whether a whole table is misspelt or no table."""
        return any(len(key) == 1 for key in self._keys)

    def add_shapes(self, error: ValidationError) -> list[Key]:
        """Keep the mistakes that pydantic sees; return their keys, which are those of the merged layers."""
        keys = []
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            keys.append(tuple("credits" if part == BY_UNIT else str(part) for part in detail["loc"]))
            self.add(keys[-1], self._problem(detail["type"], detail["msg"], keys[-1]))
        return keys

    def raise_if_any(self) -> None:
        """Raise `ConfigError` with every mistake, in the order of the file."""
        if self._mistakes:
            raise ConfigError(self.in_order())

    def in_order(self) -> list[Mistake]:
        """Return every mistake, in the order of the file."""
        return sorted(self._mistakes, key=lambda mistake: (mistake.file or "", mistake.line or 0))

    def _problem(self, kind: str, message: str, key: Key) -> str:
        if kind in UNKNOWN:
            return f"unknown setting; {self._nearest(key)}"
        if kind in NO_TABLE:
            return "expected a table"
        return message.removeprefix("Value error, ")

    def _nearest(self, key: Key) -> str:
        place, line = self.place(key)
        is_variable = place and line is None and PREFIX in place.upper()
        near = _nearest_variables(place.upper().rpartition(PREFIX)[2]) if place and is_variable else ()
        return f"did you mean {near[0]}?" if near else hint(key[-1], names_in(key[:-1]))


def _nearest_variables(written: str) -> Sequence[str]:
    """Return the nearest known variable, if any; it may differ in any part, and in the underscores between."""
    parts = written.split("__")
    own = parts[1] if len(parts) > len(("TABLE", "NAME")) else "NAME"
    known = {
        variable(key).removeprefix(PREFIX).replace(ANY, own): variable(key).replace(ANY, own)
        for key in known_settings()
    }
    return [known[near] for near in difflib.get_close_matches(written, known, 1, 0.7)]


def hint(name: str, known: Collection[str]) -> str:
    """Return the nearest known name, else all of them."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f"did you mean {near[0]}?"
    return f"expected {'one of ' if len(known) > 1 else ''}{', '.join(known)}" if known else "nothing is expected here"
