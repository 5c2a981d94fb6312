"""`credit-monitor providers`: which vendors there are; `show` one, `try` one on an answer."""

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from monitor.cli.options import config_option, format_option, load, row_options
from monitor.cli.output import print_rows, say
from monitor.cli.table import Row
from monitor.errors import FetchError, UsageError
from monitor.rows.encode import format_instant
from monitor.text import escape_lines

if TYPE_CHECKING:
    from decimal import Decimal

    from monitor.config.vendors import WrittenVendors
    from monitor.model import Balance
    from monitor.providers.description import Description
    from monitor.providers.http import Answer

DATA_ERROR: Final = 65  # an answer that is no balance, as sysexits has it
OK: Final = 200
LARGEST_ANSWER: Final = 256 * 1024  # bytes


@click.group(invoke_without_command=True, short_help="List the vendors; show one, or try one.")
@row_options
@click.pass_context
def providers(context: click.Context, config_file: Path | None, style: str) -> None:
    """The vendors that can be watched; show or try one."""
    if context.invoked_subcommand is not None:
        return
    vendors = _vendors(config_file)
    columns = ("provider", "unit", "variable", "key", "top_up_url", "source")
    rows = [_provider_row(made, is_built_in=made.name not in vendors.described) for made in vendors.require_all()]
    print_rows(rows, columns, style=style, least=("source", "top_up_url", "key", "variable"))


def _provider_row(made: "Description", *, is_built_in: bool) -> Row:
    return {
        "provider": made.name,
        "unit": made.unit or "as answered",
        "variable": made.env,
        "vars": sorted(made.variables),
        "key": made.key_help or ("an API key" if made.uses_key else "none"),
        "top_up_url": made.top_up_url,
        "source": made.source,
        "built_in": is_built_in,
    }


@providers.command(short_help="Print the TOML of a vendor.")
@click.argument("name")
@config_option
def show(name: str, config_file: Path | None) -> None:
    """Print the TOML of the vendor NAME, to copy and change."""
    vendors = _vendors(config_file)
    vendors.require(name)
    click.echo(vendors.text(name), nl=False)


@providers.command("try", short_help="Read an answer of a vendor; exit 0 or 65.")
@click.argument("name")
@click.option("--answer", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE", help="A saved answer.")
@config_option
@format_option
def try_(name: str, answer: Path | None, config_file: Path | None, style: str) -> None:
    """Read an answer of the vendor NAME; exit 0, or 65 with the reason.

    A saved one with --answer (- is standard input), which needs no key, network or account.  Without it the account of
    that name or vendor is asked once, else the samples of the description are read.
    """
    vendors = _vendors(config_file)
    if answer is None and (account := _account_of(vendors, name)):
        _try_account(config_file, account, style)
        return
    made = vendors.require(name)
    if answer is not None:
        _try_saved(made, _read_file(answer), style)
    elif made.samples:
        _try_samples(made, style)
    else:
        raise UsageError(f"{name}: has no sample answers, and no account of it is configured; give --answer FILE")


def _vendors(config_file: Path | None) -> "WrittenVendors":
    from monitor.config.service import service_environ  # noqa: PLC0415
    from monitor.config.vendors import load_vendors  # noqa: PLC0415

    return load_vendors(config_file, service_environ(config_file, os.environ))


def _account_of(vendors: "WrittenVendors", name: str) -> str | None:
    """Return the configured account of this name or vendor; None where there is none."""
    if name in vendors.accounts:
        return name
    return next((account for account, provider in vendors.accounts.items() if provider == name), None)


def _try_account(config_file: Path | None, account: str, style: str) -> None:
    """Ask once; show the answer without secrets, and what was read from which path."""
    import asyncio  # noqa: PLC0415

    from monitor.check import try_account  # noqa: PLC0415

    settings = load(config_file)
    try:
        trial = asyncio.run(try_account(settings, account))
    except FetchError as error:
        _refuse(str(error))
    tell = partial(say, err=style != "table")  # rows alone go where a program reads them
    how = "printed" if trial.asked.startswith("RUN ") else f"HTTP {trial.status}"
    tell(f"{trial.asked}: {how if trial.status else 'no answer'}")
    if trial.shown:
        tell(escape_lines(trial.shown))
    if trial.error:
        _refuse(str(trial.error))
    made = settings.vendors[settings.accounts[account].provider]
    _print(made, _saved(trial.body), trial.balances, style)


def _read_file(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(LARGEST_ANSWER + 1)
    try:
        with file.open("rb") as source:
            return source.read(LARGEST_ANSWER + 1)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {(error.strerror or type(error).__name__).lower()}") from None


def _saved(body: bytes) -> "Answer":
    """Return what a vendor answered as an answer to a request."""
    from monitor.providers.http import Answer  # noqa: PLC0415

    defect = f"the answer is longer than {LARGEST_ANSWER} bytes" if len(body) > LARGEST_ANSWER else None
    return Answer(OK, {}, body, defect)


def _read(made: "Description", answer: "Answer") -> "tuple[Balance, ...]":
    """Read a saved answer; raise `FetchError` when it is no balance."""
    from monitor.providers.answers import Meaning  # noqa: PLC0415
    from monitor.providers.balances import read_answer  # noqa: PLC0415

    return read_answer(made, answer, secret="", meaning=Meaning())


def _try_saved(made: "Description", body: bytes, style: str) -> None:
    answer = _saved(body)
    try:
        balances = _read(made, answer)
    except FetchError as error:
        _refuse(str(error))
    _print(made, answer, balances, style)


def _refuse(reason: str) -> NoReturn:
    say(escape_lines(reason), err=True)
    raise click.exceptions.Exit(DATA_ERROR)


def _print(made: "Description", answer: "Answer", balances: "Sequence[Balance]", style: str) -> None:
    from monitor.providers.balances import trace  # noqa: PLC0415

    if style == "table":
        for key, path, value in trace(made, answer):
            say(escape_lines(f"{key}: {path} = {value}"))
    rows = list(map(_balance_row, balances))
    print_rows(rows, ("id", "credits", *("unlimited" for row in rows[:1] if "unlimited" in row)), style=style)
    for balance in balances:
        if balance.note:
            say(escape_lines(f"note: {balance.note}"), err=True)
        if balance.resets_at and balance.resets_at > datetime.now(UTC):
            say(f"{balance.id or 'it'} refills at {format_instant(balance.resets_at)}", err=True)


def _balance_row(balance: "Balance") -> Row:
    row: dict[str, Any] = {"id": balance.id, "credits": balance.credits, "unit": balance.unit}
    if balance.unlimited:
        row |= {"credits": None, "unlimited": True}
    return row


def _try_samples(made: "Description", style: str) -> None:
    """Read the samples of a description; exit 65 when one gives anything else than it says."""
    rows: list[Row] = []
    wrong: list[str] = []
    for number, sample in enumerate(made.samples, start=1):
        try:
            balances = _read(made, _saved(sample.body.encode()))
        except FetchError as error:
            wrong.append(f"test {number}: {error}")
            continue
        rows += map(_balance_row, balances)
        found = [(one.id, None if one.unlimited else one.credits, one.unit) for one in balances]
        if found != list(sample.expect):
            wrong.append(f"test {number}: gives other balances than it expects: {_words(sample.expect)}")
    print_rows(rows, ("id", "credits"), style=style, empty="No balance.")
    if wrong:
        _refuse("\n".join(wrong))


def _words(rows: "Iterable[tuple[str, Decimal | None, str]]") -> str:
    amounts = ("unlimited" if amount is None else f"{amount} {unit}" for _, amount, unit in rows)
    return ", ".join(amounts)
