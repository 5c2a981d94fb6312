"""The figures: what they say, that Prometheus takes them, and who may see them."""

import math
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from story import DOWN, NOON, TOML, Story
from visitor import TOKEN, Site, settings_of

from monitor.config import Settings
from monitor.counters import Counters
from monitor.model import Failure, FailureKind, Runway, Snapshot
from monitor.query import OrganizationStatus
from monitor.web import reader
from monitor.web.metrics import Scrape, render
from monitor.web.reader import Figures

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
Figure = dict[tuple[str, ...], float]


def read(body: str, parse=plain_text) -> dict[str, Figure]:
    """Every sample: name -> values of its labels (in the order of their names) -> figure."""
    figures: dict[str, Figure] = {}
    for family in parse(body):
        for sample in family.samples:
            figures.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return figures


async def scraped(site: Site) -> dict[str, Figure]:
    answer = await site.ask("/metrics")
    assert answer.status == 200
    return read(answer.body)


RUNWAY = TOML.replace('runway = "off"', 'runway = { warning = "7d" }')


async def test_the_figures_say_how_everything_stands(tmp_path: Path, story: Story) -> None:
    await story.restart(RUNWAY)
    for hour in range(40):
        await story.check(str(5000 - 2 * hour), minutes=60)
    await story.check("150.25")
    story.parts.batch.polled(1, story.now)
    await story.parts.batch.flush()
    site = Site(settings_of(tmp_path, story.url, base=RUNWAY), now=story.now + timedelta(minutes=2))
    async with site.serve():
        figures = await scraped(site)
    farm = ("studio", "farm", "credits")
    assert figures["credit_monitor_balance_credits"] == {farm: 150.25}
    assert figures["credit_monitor_last_snapshot_timestamp_seconds"] == {farm: story.now.timestamp()}
    assert figures["credit_monitor_last_poll_timestamp_seconds"] == {("studio",): story.now.timestamp()}
    assert 0 < figures["credit_monitor_runway_seconds"][farm] < 30 * 86400
    assert figures["credit_monitor_incidents_open"]["credits", "critical"] == 1
    assert sum(figures["credit_monitor_incidents_open"].values()) >= 1
    assert figures["credit_monitor_outbox_pending"]["boss",] >= 1
    assert figures["credit_monitor_outbox_oldest_age_seconds"]["boss",] == pytest.approx(120)
    assert figures["credit_monitor_leader"] == {(): 1}
    assert figures["credit_monitor_database_up"] == {(): 1}
    assert ("0.1.0",) in figures["credit_monitor_build_info"]
    assert len(figures["credit_monitor_schema_info"]) == 1


async def test_forecasts_that_there_was_no_time_for_are_made_by_a_later_answer(
    tmp_path: Path, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_more = '[organizations.a]\nid = "a"\n[organizations.b]\nid = "b"\n[channels.ops]'
    base = TOML.replace("[channels.ops]", two_more)
    await story.restart(base)
    for name in ("farm", "a", "b"):
        await story.check("5000", name)
    monkeypatch.setattr(reader, "FORECAST_TIME", 0.0)
    monkeypatch.setattr(reader, "AT_ONCE", 1)
    # A day of hourly balances for each of three would be the real way, and take half a minute.
    monkeypatch.setattr("monitor.query.runways", lambda _, ids: {id_: Runway(1.0, 1.0, 1.0) for id_ in ids})
    async with Site(settings_of(tmp_path, story.url, base=base), now=story.now).serve() as site:
        seen = [len((await scraped(site)).get("credit_monitor_runway_seconds", {})) for _ in range(4)]
    assert seen == [1, 2, 3, 3]


async def test_what_is_not_known_is_left_out_and_never_a_zero(tmp_path: Path, story: Story) -> None:
    await story.check(DOWN)
    async with Site(settings_of(tmp_path, story.url)).serve() as site:
        figures = await scraped(site)
    for name in ("balance_credits", "runway_seconds", "last_snapshot_timestamp_seconds", "last_poll_timestamp_seconds"):
        assert f"credit_monitor_{name}" not in figures


async def test_an_organization_that_is_no_longer_watched_vanishes(tmp_path: Path, story: Story) -> None:
    await story.check("100")
    two = TOML.replace("[organizations.farm]", '[organizations.video]\nid = "org-2"\n[organizations.farm]')
    without = two[: two.index("[organizations.farm]")] + "[channels.ops]\n"
    await story.restart(without)
    async with Site(settings_of(tmp_path, story.url, base=without)).serve() as site:
        answer = await site.ask("/metrics")
    assert "farm" not in answer.body
    assert not any(read(answer.body)["credit_monitor_incidents_open"].values())


async def test_what_happened_is_counted_from_zero_on(site: Site) -> None:
    before = await scraped(site)
    assert set(before["credit_monitor_checks_total"].values()) == {0}
    site.counters.checked("studio", Snapshot(NOON, 1))  # type: ignore[arg-type]
    site.counters.checked("studio", Failure(FailureKind.UNAVAILABLE, "503"))
    site.counters.polled("studio", 0.2)
    site.counters.polled("studio", 7000)
    site.counters.attempted("ops", "failed")
    figures = await scraped(site)
    assert figures["credit_monitor_checks_total"]["studio", "success"] == 1
    assert figures["credit_monitor_checks_total"]["studio", "unavailable"] == 1
    assert figures["credit_monitor_checks_total"].keys() == before["credit_monitor_checks_total"].keys()
    assert figures["credit_monitor_deliveries_total"]["ops", "failed"] == 1
    buckets = figures["credit_monitor_poll_duration_seconds_bucket"]
    assert (buckets["studio", "0.1"], buckets["studio", "0.25"], buckets["studio", "+Inf"]) == (0, 1, 2)
    assert figures["credit_monitor_poll_duration_seconds_sum"] == {("studio",): 7000.2}


async def test_what_quiet_hours_hold_waits_and_does_not_age(tmp_path: Path, story: Story) -> None:
    base = TOML.replace("[channels.ops]", '[channels.ops]\nquiet_hours = "00:00-23:59"')
    await story.restart(base)
    await story.check("900")
    site = Site(settings_of(tmp_path, story.url, base=base), now=story.now + timedelta(hours=2))
    async with site.serve():
        figures = await scraped(site)
    assert figures["credit_monitor_outbox_pending"]["ops",] == 1
    assert figures["credit_monitor_outbox_oldest_age_seconds"]["ops",] == 0


async def test_who_stands_by_says_so(site: Site) -> None:
    site.leads = False
    assert (await scraped(site))["credit_monitor_leader"] == {(): 0}


# --- the forms --------------------------------------------------------------------------------------------------------


def standing(settings: Settings, name: str = "farm", runway: float = math.inf) -> Scrape:
    """An organization of this name, of which this much is known."""
    row = (7, name, "org-1", None, "studio", True, None, NOON, None, None, None, None, None, ())
    standing = Figures("0001", [OrganizationStatus(*row)], {7: runway}, [], {}, [])
    return Scrape(settings, Counters(), standing, leads=True, now=NOON)


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    return settings_of(tmp_path, sqlite_url)


def test_no_use_at_all_lasts_for_ever(settings: Settings) -> None:
    body, _ = render(standing(settings), "")
    assert read(body.decode())["credit_monitor_runway_seconds"] == {("studio", "farm", "credits"): math.inf}


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (OPENMETRICS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        ("application/openmetrics-text;q=0.1,text/plain", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x,text/plain;q=0.1", False),
        ("text/html,;;,=,\x00", False),
    ],
)
def test_the_form_is_the_one_asked_for(settings: Settings, accept: str, is_openmetrics: bool) -> None:
    body, kind = render(standing(settings), accept)
    form = "application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain; version=0.0.4"
    assert kind == f"{form}; charset=utf-8"
    assert body.endswith(b"# EOF\n") is is_openmetrics


@pytest.mark.parametrize("name", ['a"b', "a\\b", "ä\u2028€", "\x1b[31mred", "a\nb", "a\r\tb"])
def test_no_name_breaks_a_line_or_moves_a_cursor(settings: Settings, name: str) -> None:
    shown = "".join(c if c.isprintable() else "?" for c in name)
    for accept, parse in (("", plain_text), (OPENMETRICS, openmetrics)):
        body, _ = render(standing(settings, name), accept)
        assert read(body.decode(), parse)["credit_monitor_runway_seconds"] == {("studio", shown, "credits"): math.inf}
        assert "\x1b" not in body.decode()


async def test_both_forms_can_be_read_and_say_the_same(site: Site) -> None:
    text, metrics = await site.ask("/metrics"), await site.ask("/metrics", Accept=OPENMETRICS)
    assert metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert read(text.body) == read(metrics.body, openmetrics)
    for family in plain_text(text.body):
        assert family.name.startswith("credit_monitor_")
        assert family.documentation.endswith(".")


def test_promtool_finds_nothing_wrong(settings: Settings) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: apt install prometheus); the forms were parsed all the same")
    body, _ = render(standing(settings), "")
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# --- the token --------------------------------------------------------------------------------------------------------


async def test_figures_are_told_only_to_who_shows_the_token(tmp_path: Path, sqlite_url: str) -> None:
    site = Site(settings_of(tmp_path, sqlite_url, f'token = "{TOKEN}"'))
    async with site.serve():
        for wrong in (
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            TOKEN,
            f"Basic {TOKEN}",
            "Bearer ü",
        ):
            refused = await site.ask("/metrics", Authorization=wrong)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in str(refused)
        for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN}"):
            assert (await site.ask("/metrics", Authorization=right)).status == 200
        for path in ("/healthz", "/readyz"):
            assert (await site.ask(path)).status in {200, 503}
        assert (await site.ask("/metrics", "HEAD")).status == 401
