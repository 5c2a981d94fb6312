"""`config.example.toml` and `docs/configuration.md` name every setting, and what they say is so."""

import re
import tomllib
from pathlib import Path

import pytest
from given import HOME, in_file

from monitor.config import effective_settings, load
from monitor.config.schema import ANY, known_settings

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = (REPOSITORY / "config.example.toml").read_text()
DOCUMENT = (REPOSITORY / "docs/configuration.md").read_text()
LEVELS = ("info", "warning", "critical", "clear")
WITHIN = {"spend"}  # a table whose settings are shown inside it
SETTINGS = [key for key in known_settings() if not set(LEVELS) & set(key) and not WITHIN & set(key[:-1])]


def uncommented() -> str:
    """The example with every setting set."""
    return re.sub(r"(?m)^#(?=[a-z\[])", "", EXAMPLE)


def named_in_example() -> set[tuple[str, ...]]:
    """The key of every setting in the example, alternatives too."""
    keys: set[tuple[str, ...]] = set()
    table: tuple[str, ...] = ()
    for line in EXAMPLE.splitlines():
        if header := re.match(r"#?\[([a-z]+)(\.[a-z-]+)?\]", line):
            table = (header[1], ANY) if header[2] else (header[1],)
        elif setting := re.match(r"(?:#|# or: )?([a-z_.]+) = ", line):
            keys.add((*table, *setting[1].split(".")))
    return keys


def test_the_example_is_valid_as_it_stands_and_with_every_setting_set(tmp_path: Path) -> None:
    for text in (EXAMPLE, uncommented()):
        (tmp_path / "c.toml").write_text(text)
        assert load(tmp_path / "c.toml", HOME).warnings == ()


def test_the_example_has_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(EXAMPLE)
    (tmp_path / "bare.toml").write_text("[accounts.studio]\norganizations = 'all'\n[channels.ops]")
    example, bare = (
        {row.key: row.value for row in effective_settings(tmp_path / name, HOME)} for name in ("c.toml", "bare.toml")
    )
    differing = {key for key in bare if bare[key] != example.get(key)}
    assert differing == {"accounts.studio.api_key", "channels.ops.url"}


@pytest.mark.parametrize("key", SETTINGS, ids=".".join)
def test_every_setting_is_in_the_example(key: tuple[str, ...]) -> None:
    of_all = key[2:] if key[0] in {"accounts", "organizations"} and "rules" in key else key
    assert {key, of_all} & named_in_example()


@pytest.mark.parametrize("key", SETTINGS, ids=".".join)
def test_every_setting_is_in_the_document(key: tuple[str, ...]) -> None:
    sections = re.split(r"(?m)^### ", DOCUMENT)
    heading = {"rules": "`[rules]`", "web": "`[web]`"}.get(key[0], f"`[{key[0]}.NAME]`") if len(key) > 1 else "General"
    heading = "General" if key[0] in {"database", "poll", "retention"} else heading
    (section,) = (section for section in sections if section.startswith(heading))
    name = ".".join(key) if heading == "General" else ".".join(key[2:] if ANY in key else key[1:])
    assert re.search(rf"`{re.escape(name)}\b", section)


def test_the_levels_of_a_ladder_are_in_both() -> None:
    for word in LEVELS:
        assert re.search(rf"\b{word} = ", EXAMPLE)
        assert f"`{word}`" in DOCUMENT


def test_variables_in_the_document_are_taken(tmp_path: Path) -> None:
    rows = re.findall(r"`(CREDIT_MONITOR_[A-Z_]+)=([^`]+)`", DOCUMENT)
    (tmp_path / "c.toml").write_text("[channels.ops]\n[channels.mail]\n[organizations.render-farm]")
    settings = load(tmp_path / "c.toml", HOME | {name: value.strip("'") for name, value in rows[:-1]})
    assert len(rows) == 5
    assert settings.organizations["render-farm"].notify == ("ops", "mail")
    assert settings.rules.credits[0].below == 500
    assert rows[-1] == ("CREDIT_MONITOR_RULES__CREDITS", "'{ warning = 500 }'")


def test_toml_in_the_document_is_toml() -> None:
    inline = [toml for toml in re.findall(r"`(\{ [^`]+\}|[a-z_.]+ = [^`]+)`", DOCUMENT) if "…" not in toml]
    for toml in inline:
        tomllib.loads(toml if not toml.startswith("{") else f"x = {toml}")
    assert len(inline) >= 4


def test_mistakes_in_the_document_are_told_in_these_words(tmp_path: Path) -> None:
    text = "\n\n[poll]\nevery = 300\n\n\n\n[accounts.studio]\ngeneraton = 'v1'"
    told = in_file(tmp_path, text, {"CREDIT_MONITOR_POLL_EVERY": "5m"})
    assert told == [line.removeprefix("config.toml") for line in re.findall(r"(?m)^.*: .*: .*$", DOCUMENT)][-3:]
