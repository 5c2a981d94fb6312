"""The pages and the JSON without a browser: what they say, their ETags, and what becomes of hostile text."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from seen import HOSTILE, TOML, live
from visitor import Answer, Site, settings_of

from monitor.cli import cli
from monitor.web.organization import View, _instant

PAGES = (
    *("/", "/?q=lab&state=ok&sort=-balance&page=9", "/?wall", "/incidents", "/incidents?open", "/deliveries"),
    *("/deliveries?state=pending", "/channels", "/organizations/render-farm", "/organizations/deepseek/CNY"),
    *("/organizations/deepseek%2FCNY?range=1y&by=month&tz=Europe/Berlin", "/organizations/archive?range=all&by=hour"),
    *(
        "/organizations/research",
        "/organizations/web?from=2026-01-01&to=2026-01-02",
        "/organizations/nightly?from=x&to=y",
    ),
)


@pytest.fixture(scope="module")
def filled_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A month of a monitor's life, filled once."""
    folder = tmp_path_factory.mktemp("seen")
    settings = settings_of(folder, f"sqlite:///{folder}/seen.db", base=TOML)
    now = datetime.now(UTC)
    live(settings, now, days=20, every=timedelta(hours=2))
    return Site(settings, now=now)


@pytest.fixture
async def seen(filled_site: Site) -> AsyncIterator[Site]:
    """The same, served."""
    async with filled_site.serve() as site:
        yield site


class Found(HTMLParser):
    """What a page is made of: its tags, its links, and what is not allowed in it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.feed(answer.body)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [str(value) for name, value in attrs if name in {"href", "src", "action"}]
        self.ids += [str(given["id"])] if "id" in given else []
        self.wrong += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        self.wrong += ["script"] if tag == "script" and not given.get("src") else []
        self.wrong += ["style element"] if tag == "style" else []


async def test_every_page_is_whole_strict_and_the_same_until_something_changes(seen: Site) -> None:
    for path in PAGES:
        await _look_at(seen, path)


async def _look_at(seen: Site, path: str) -> None:
    answer = await seen.ask(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Found(answer)
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    assert HOSTILE not in answer.body
    assert not {"<script>alert", "\u202e"} & {part for part in ("<script>alert", "\u202e") if part in answer.body}
    assert "http://" not in " ".join(page.links)  # but for the vendor's page nothing leads elsewhere
    again = await seen.ask(path, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body, again.headers["etag"]) == (304, "", answer.headers["etag"])
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_every_link_of_every_page_leads_somewhere(seen: Site) -> None:
    links = set()
    for path in PAGES:
        links |= {link.partition("#")[0] for link in Found(await seen.ask(path)).links if link.startswith("/")}
    assert len(links) > 30
    assert [link for link in sorted(links) if (await seen.ask(link)).status != 200] == []


async def test_files_are_kept_for_ever_under_a_name_with_their_hash(seen: Site) -> None:
    names = {link for link in Found(await seen.ask("/organizations/lab")).links if link.startswith("/static/")}
    assert len(names) >= 6
    for name in names:
        answer = await seen.ask(name)
        assert re.search(r"-[0-9a-f]{12}\.(js|css|svg)$", name)
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert (await seen.ask("/static/page.css")).status == 404
    assert (await seen.ask("/static/..%2Fpages.py")).status == 404


async def test_what_runs_out_first_is_on_top_and_filters_leave_the_rest_away(seen: Site) -> None:
    def names(answer: Answer) -> list[str]:
        return re.findall(r'<th scope="row"><a href="/organizations/([^"]+)"', answer.body)

    first = names(await seen.ask("/"))
    assert (len(first), first[-2:]) == (10, ["research", "web"])
    hours = {row["organization"]: row["runway_hours"] for row in json.loads((await seen.ask("/api/v1/status")).body)}
    known = [hours[name.replace("%2F", "/")] for name in first[:8]]
    assert known == sorted(known)
    assert names(await seen.ask("/?q=STUDIO-e")) == ["studio-eu"]
    assert names(await seen.ask("/?state=critical")) == ["render-farm"]
    assert names(await seen.ask("/?state=silenced")) == ["studio-eu"]
    assert names(await seen.ask("/?sort=organization")) == sorted(first, key=lambda name: name.replace("%2F", "/"))


COMMANDS = [
    ("/api/v1/status", ("status",)),
    ("/api/v1/incidents", ("incidents",)),
    ("/api/v1/incidents?open=1", ("incidents", "--open")),
    ("/api/v1/deliveries", ("deliveries",)),
    (
        "/api/v1/deliveries?state=pending&organization=render-farm",
        ("deliveries", "render-farm", "--state", "pending"),
    ),
    ("/api/v1/organizations/lab/history?every=1d", ("history", "lab", "--every", "1d")),
    ("/api/v1/organizations/deepseek/CNY/usage?by=week", ("usage", "deepseek/CNY", "--by", "week")),
]


async def test_the_json_is_the_commands_own(seen: Site) -> None:
    for path, command in COMMANDS:
        await _compare(seen, path, command)


async def _compare(seen: Site, path: str, command: tuple[str, ...]) -> None:
    asked = [*command, "--format", "json", "--config", str(seen.settings.file)]
    ran = await asyncio.to_thread(CliRunner().invoke, cli, asked)
    assert ran.exit_code == 0, ran.output
    wanted = json.loads(ran.stdout)
    for row in wanted:
        row.pop("age_seconds", None)
    answer = await seen.ask(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == wanted
    assert (await seen.ask(path, If_None_Match=answer.headers["etag"])).status == 304


async def test_long_answers_come_in_pages_that_together_are_all(seen: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {
        path: json.loads((await seen.ask(path)).body)
        for path in ("/api/v1/status", "/api/v1/deliveries", "/api/v1/organizations/lab/history")
    }
    monkeypatch.setattr("monitor.web.api.ROWS", 3)
    for path, rows in whole.items():
        found, link = [], f"{path}?" if path.endswith("status") else f"{path}?x=1"
        while link and len(found) < 12:
            answer = await seen.ask(link)
            found += json.loads(answer.body)
            link = re.sub(r'^<(.*)>; rel="next"$', r"\1", answer.headers.get("link", ""))
        assert found == rows[: len(found)]
        assert len(found) >= min(len(rows), 10)


UNANSWERED = [
    ("/api/v1/organizations/nobody/history", 404),
    ("/api/v1/organizations/lab/history?every=never", 400),
    ("/api/v1/organizations/lab/history?since=yesterday", 400),
    ("/api/v1/organizations/lab/usage?by=year", 400),
    ("/api/v1/organizations/lab/usage?tz=Nowhere", 400),
    ("/api/v1/deliveries?state=lost", 400),
    ("/api/v1/deliveries?after=-1", 400),
    ("/api/v1/deliveries?after=99999999999999999999", 400),
    ("/organizations/nobody", 404),
    ("/organizations/", 404),
    ("/api/v1/", 404),
]


async def test_what_cannot_be_answered_says_why_in_one_line(seen: Site) -> None:
    for path, status in UNANSWERED:
        answer = await seen.ask(path)
        found = (answer.status, answer.body.count("\n"), answer.headers["content-type"][:10])
        assert found == (status, 1, "text/plain"), path


async def test_the_chart_has_its_points_levels_gap_and_words(seen: Site) -> None:
    answer = await seen.ask("/organizations/render-farm?range=30d")
    found = re.search(r'data-course="([^"]+)"', answer.body)
    assert found is not None
    course = json.loads(found[1].replace("&#34;", '"'))
    history = json.loads((await seen.ask("/api/v1/organizations/render-farm/history")).body)
    assert [figure for figure in course["y"] if figure is not None][-2] == float(history[-1]["credits"])
    assert course["y"].count(None) == 1  # the two days of which nothing is known
    assert [level[:2] for level in course["levels"]] == [["critical", 800.0], ["warning", 3000.0]]
    assert 'class="chart-gap"' in answer.body
    assert "<desc id=" in answer.body


def test_files_of_others_carry_version_hash_and_licence() -> None:
    static = Path(__file__).parents[3] / "monitor/web/static"
    noted = (static / "VENDORED.md").read_text()
    for name in ("uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"):
        assert f"{name} | {hashlib.sha256((static / name).read_bytes()).hexdigest()}" in noted
    assert "v1.6.32" in (static / "uPlot.iife.min.js").read_text()[:80]
    assert "MIT" in noted


async def test_before_the_first_poll_and_without_a_database_pages_say_so(site: Site, tmp_path: Path) -> None:
    answer = await site.ask("/")
    assert (answer.status, "No organization yet; the first poll finds them." in answer.body) == (200, True)
    async with Site(settings_of(tmp_path, f"sqlite:///{tmp_path}/none.db")).serve() as other:
        for path in ("/", "/api/v1/status"):
            answer = await other.ask(path)
            assert (answer.status, answer.body) == (
                503,
                "the database cannot be read; the log of the daemon says why\n",
            )


def test_a_period_that_is_old_is_shown_as_it_was() -> None:
    assert _instant("2026-11-01", ZoneInfo("Europe/Berlin")) == datetime(2026, 10, 31, 23, tzinfo=UTC)
    assert _instant("2026-11-01T12:00:00 02:00", ZoneInfo("UTC")) == datetime(2026, 11, 1, 10, tzinfo=UTC)
    view = View("7d", None, "day", ZoneInfo("UTC"), {})
    now = datetime(2026, 11, 27, tzinfo=UTC)
    assert view.within(now, None).begins_at == now - timedelta(days=7)
