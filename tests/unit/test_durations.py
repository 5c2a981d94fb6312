"""One grammar of durations, in file, environment and command line."""

from datetime import timedelta

import click
import pytest
from given import HOME
from hypothesis import given
from hypothesis import strategies as st

from monitor import durations
from monitor.cli import cli
from monitor.cli.options import Duration, When
from monitor.config import load

CASES = [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("1d1s", 86_401)]
NONE = ["", "0s", "5", "m", "1h30", "1h1h", "-1h", "1.5h", "1 h", "1H", "1h-30m", "\u0661h"]


@pytest.mark.parametrize(("text", "seconds"), CASES)
def test_a_length_means_the_same_everywhere(tmp_path, text, seconds):
    length = timedelta(seconds=seconds)
    assert durations.parse(text) == length
    assert Duration().convert(text, None, None) == length
    (tmp_path / "c.toml").write_text(f'[poll]\nevery = "{text}"\n')
    settings = load(tmp_path / "c.toml", HOME)
    assert settings.poll.every == length
    assert load(None, HOME | {"CREDIT_MONITOR_POLL__EVERY": text}).poll.every == length


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_is_refused_everywhere(text):
    with pytest.raises(ValueError, match=r"expected|unit"):
        durations.parse(text)
    with pytest.raises(click.UsageError, match="is not a length of time"):
        Duration().convert(text, None, None)


def options_of(command, name=""):
    """Every option of a command and of those below it: (name as typed, its type)."""
    for parameter in command.params:
        yield f"{name} {parameter.opts[0]}".strip(), parameter.type
    for below, inner in getattr(command, "commands", {}).items():
        yield from options_of(inner, f"{name} {below}".strip())


@pytest.mark.parametrize("text", ["90s", "1h30m", "2d"])
def test_every_option_of_the_command_line_takes_the_same_lengths(text):
    lengths = {name: kind for name, kind in options_of(cli) if isinstance(kind, Duration | When)}
    assert set(lengths) >= {"silence --for", "demo --for", "history --every", "history --since", "usage --until"}
    for kind in lengths.values():
        assert kind.convert(text, None, None)


def test_a_time_ago_is_written_the_same_way():
    long_ago, lately = (When().convert(text, None, None) for text in ("1d12h", "36h"))
    assert abs(lately - long_ago) < timedelta(minutes=1)


@given(st.integers(1, int(durations.LONGEST.total_seconds())))
def test_what_is_written_is_read_as_the_same(seconds):
    length = timedelta(seconds=seconds)
    assert durations.parse(durations.write(length)) == length
