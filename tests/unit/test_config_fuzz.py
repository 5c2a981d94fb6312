"""Whatever stands in the file or the environment, the answer is settings or one `ConfigError`."""

import string
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from examples import examples
from given import HOME
from hypothesis import given
from hypothesis import strategies as st

from monitor import durations
from monitor.config import effective_settings, load
from monitor.config.schema import known_settings
from monitor.errors import ConfigError

quick = examples(60)

KEYS = [".".join("x" if part == "*" else part for part in key) for key in known_settings()]
WORDS = [
    "off",
    "all",
    "5m",
    "75/10s",
    "-1",
    "1e400",
    "nan",
    "x",
    "sqlite:////a",
    "postgresql://a:b@[c",
    "http://[",
    "é",
]

# surrogates stand for bytes of the environment that are no UTF-8; NUL cannot be there
system_text = st.text(st.characters(exclude_characters="\0"), max_size=40) | st.sampled_from(WORDS)
scalars = st.one_of(
    st.integers(), st.booleans(), st.sampled_from(["1e400", "-0.0", "inf", "1979-05-27", "07:32:00"])
).map(lambda value: str(value).lower())
values = st.one_of(
    scalars,
    st.text(string.ascii_letters + "/:@?#.-_ é\u2028", max_size=20).map(lambda text: f'"{text}"'),
    st.sampled_from(WORDS).map(lambda word: f'"{word}"'),
    st.sampled_from(["{}", "[]", "[1, 'a']", "{ warning = 1 }", "{ warning = '1d', clear = { warning = '2d' } }"]),
)
lines = st.one_of(
    st.builds("{} = {}".format, st.sampled_from(KEYS), values),
    st.builds("{} = {}".format, st.from_regex(r"[a-z]{1,3}(\.[a-z\"' -]{0,3}){0,8}", fullmatch=True), values),
    st.sampled_from(["poll", "rules", "accounts.x", "organizations.x.rules", "channels.x"]).map("[{}]".format),
    st.text(max_size=20),
)


def is_answered(path: Path | None, environ: dict[str, str]) -> None:
    """Settings that can be shown, or one `ConfigError`."""
    try:
        settings_in_force = load(path, environ)
    except ConfigError:
        return
    assert effective_settings(path, environ)
    for name in settings_in_force.accounts:
        with suppress(ConfigError):
            settings_in_force.api_key(name)


@quick
@given(
    st.binary(max_size=200)
    | st.lists(lines, max_size=8).map(lambda written: "\n".join(written).encode("utf-8", "replace"))
)
def test_any_file_is_answered(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    is_answered(path, HOME)


@quick
@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from(KEYS).map(lambda key: "CREDIT_MONITOR_" + key.replace(".", "__").upper()),
            system_text.map(lambda text: f"credit_monitor_{text}"),
            st.sampled_from(["STABILITY_API_KEY", "HOME", "STATE_DIRECTORY", "XDG_STATE_HOME", "XDG_CONFIG_HOME"]),
        ),
        system_text | values,
        max_size=6,
    )
)
def test_any_environment_is_answered(environ: dict[str, str]) -> None:
    is_answered(None, environ)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 9000) + " = 1",
        "[" + ".".join("a" * 9000) + "]",
        "[organizations.x.rules.credits.clear]\n" + ".".join("a" * 9000) + " = 1",
        "a" * 100_000 + " = 1",
        "poll.every = 0x" + "f" * 9000,
        "poll.every = " + "9" * 9000,
        "rules.credits = { warning = 0x" + "f" * 9000 + " }",
        "rules.credits = { warning = " + "{ a = " * 900 + "1" + " }" * 900 + " }",
    ],
    ids=lambda text: text[:20],
)
def test_a_monstrous_file_is_answered(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(path, HOME)
    deep = {"CREDIT_MONITOR_" + "__".join("a" * 9000): "1", "CREDIT_MONITOR_POLL__EVERY": "[" * 9000}
    with pytest.raises(ConfigError):
        load(None, HOME | deep)


@given(st.integers(1, int(durations.LONGEST.total_seconds())))
def test_a_length_of_time_that_is_written_is_read_as_the_same(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert durations.parse(durations.write(length)) == length


@given(st.from_regex(r"([0-9]{1,4}[wdhms]){1,5}", fullmatch=True))
def test_a_length_of_time_that_is_read_is_written_as_the_same(text: str) -> None:
    with suppress(ValueError):
        assert durations.parse(durations.write(durations.parse(text))) == durations.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("30m1h", 5400), ("7d", 604800), ("2w", 1209600)],
)
def test_lengths_of_time_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert durations.parse(text) == timedelta(seconds=seconds)


def test_a_file_of_ten_thousand_organizations_is_read_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    rows = (f'o{number} = {{ id = "org-{number}", rules.stale_after = "1h" }}' for number in range(10_000))
    path.write_text("[accounts.a]\n[organizations]\n" + "\n".join(rows))
    assert len(load(path, HOME).organizations) == 10_000
    sources = {row.key: row.source for row in effective_settings(path, HOME)}
    assert sources["organizations.o9999.rules.stale_after"] == "c.toml:10002"
