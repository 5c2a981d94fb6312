"""Every vendor by name: those that `[providers.NAME]` describes, and those of the catalogue, one file each."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from monitor.config import sources
from monitor.config.descriptions import Problems, read_description
from monitor.config.problems import Mistakes, hint
from monitor.errors import UsageError
from monitor.model import STABILITY, STABILITY_UNIT, RateLimit, Vendor
from monitor.providers.description import Description

TABLE: Final = "providers"
STABILITY_VENDOR: Final = Vendor(
    name=STABILITY,
    unit=STABILITY_UNIT,
    asks_each=True,
    base_url="https://api.stability.ai",
    rate_limit=RateLimit(75, timedelta(seconds=10)),  # half of the vendor's: others use the key, too
    top_up_url="https://platform.stability.ai/account/credits",
    env="STABILITY_API_KEY",
)


@cache
def built_in_names() -> tuple[str, ...]:
    """Return the names of the vendors in the catalogue, sorted."""
    files = (resources.files("monitor.providers") / "catalogue").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def built_in_text(name: str) -> str:
    """Return the TOML of a vendor in the catalogue."""
    return (resources.files("monitor.providers") / "catalogue" / f"{name}.toml").read_text(encoding="utf-8")


@cache
def built_in(name: str) -> Description:
    """Return a vendor of the catalogue; its paths are not looked at before they are used."""
    values = tomllib.loads(built_in_text(name), parse_float=Decimal)[TABLE][name]
    description, problems = read_description(name, values, parses_paths=False)
    if problems:
        raise AssertionError(problems)
    return description


class Vendors:
    """Vendors of one configuration; what is described in it comes before what is built in."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._read: dict[str, tuple[Description, Problems]] = {}

    @property
    def described(self) -> Sequence[str]:
        """The names of those that the configuration describes."""
        return tuple(self._tables)

    def names(self) -> list[str]:
        """Return the names of all, sorted."""
        return sorted({*built_in_names(), *self._tables})

    def problems(self, name: str) -> Problems:
        """Return the mistakes in one that the configuration describes: key within it, problem."""
        return self._of_file(name)[1]

    def __getitem__(self, name: str) -> Description:
        """Return a vendor, without what is wrong with it; raise `KeyError` when there is none of this name."""
        if name in self._tables:
            return self._of_file(name)[0]
        if name in built_in_names():
            return built_in(name)
        raise KeyError(name)

    def is_programmed(self, name: str) -> bool:
        """Return whether a vendor is asked by code of ours: Stability, unless the configuration describes it anew."""
        return name == STABILITY and name not in self._tables

    def facts(self, name: str) -> Vendor:
        """Return what is known of a provider before it is asked, Stability among them; raise `KeyError` likewise."""
        if self.is_programmed(name):
            return STABILITY_VENDOR
        made = self[name]
        units = {figure.unit for figure in made.figures if not figure.unit_path}
        return Vendor(
            name=name,
            unit=units.pop() if len(units) == 1 and not any(figure.unit_path for figure in made.figures) else None,
            asks_each=made.asks_each,
            is_one_balance=made.is_one_balance,
            needs_key=made.uses_key,
            variables=frozenset(made.variables),
            rate_limit=made.rate_limit,
            every_min=made.every_min,
            levels=made.credits,
            top_up_url=made.top_up_url,
            key_help=made.key_help or "",
            env=made.env or "",
        )

    def __contains__(self, name: object) -> bool:
        return name in self._tables or name in built_in_names()

    def _of_file(self, name: str) -> tuple[Description, Problems]:
        if name not in self._read:
            self._read[name] = read_description(name, self._tables[name])
        return self._read[name]


# --- for commands that look at vendors alone --------------------------------------------------------------------------


class WrittenVendors(Vendors):
    """The vendors of a file of which nothing else has to be right."""

    def __init__(
        self, tables: Mapping[str, Any], accounts: Mapping[str, str], mistakes: Mistakes, file: Path | None
    ) -> None:
        """`accounts` has the vendor of each."""
        super().__init__(tables)
        self.accounts = accounts
        self._mistakes = mistakes
        self._file = file

    def require(self, name: str) -> Description:
        """Return a vendor; raise `UsageError` when there is none, and `ConfigError` with the mistakes in it."""
        if name not in self:
            raise UsageError(f"{name}: no such vendor; {hint(name, self.names())}")
        self._tell_mistakes([name] if name in self._tables else [])
        return self[name]

    def require_all(self) -> Iterator[Description]:
        """Return all of them; raise `ConfigError` with every mistake."""
        self._tell_mistakes(self.described)
        return (self[name] for name in self.names())

    def _tell_mistakes(self, names: Sequence[str]) -> None:
        for name in names:
            for key, problem in self.problems(name):
                self._mistakes.add((TABLE, name, *key), problem)
        self._mistakes.raise_if_any()

    def text(self, name: str) -> str:
        """Return the TOML of a vendor, as it is written."""
        if name not in self._tables:
            return built_in_text(name)
        text = _tables_of(name, self._file.read_text(encoding="utf-8-sig")) if self._file else ""
        if not text:
            raise UsageError(f"{name}: is not written as a table [{TABLE}.{name}] of its own, so there is none to show")
        return text


def load_vendors(path: Path | None, environ: Mapping[str, str]) -> WrittenVendors:
    """Return the vendors of a configuration; raise `ConfigError` when it is no TOML."""
    file = sources.find_file(path, environ)
    mistakes = Mistakes(sources.read_layers(file, environ))
    values = sources.merged(mistakes.layers)
    tables, accounts = values.get(TABLE, {}), values.get("accounts", {})
    if not isinstance(tables, Mapping):
        mistakes.add((TABLE,), "expected a table")
        tables = {}
    vendors = {
        name: str(account.get("provider", STABILITY))
        for name, account in (accounts.items() if isinstance(accounts, Mapping) else ())
        if isinstance(account, Mapping)
    }
    return WrittenVendors(tables, vendors, mistakes, file)


def _tables_of(name: str, text: str) -> str:
    """Return the lines of a file that belong to the tables of one vendor."""
    kept: list[str] = []
    is_inside = False
    for line in text.splitlines():
        if (key := sources.table_of(line)) is not None:
            is_inside = key[:2] == (TABLE, name)
        if is_inside:
            kept.append(line)
    return "\n".join(kept).rstrip() + "\n" if kept else ""
