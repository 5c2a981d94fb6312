"""On-call services end what they began: each real plug-in against its service on loopback."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from command import Answer, Shell
from on_call import GOALERT_KEY, URLS, Services, on_call_services
from story import Story, configured, key_of
from wait import LONG, STOP, until

from monitor import channels
from monitor.app import open_parts
from monitor.channels import Outgoing, Template
from monitor.model import Message, Severity
from monitor.sandbox import SandboxOrganization, Vendor
from monitor.store import installation, leader_lock, outbox
from monitor.store.engines import open_writer, transaction
from monitor.store.tables import deliveries, incidents, pages
from monitor.store.writer import Store

WORDS = Message("CRITICAL: render-farm has 148.2 credits", "in text", "in **Markdown**", "in <b>HTML</b>")
OTHER = Message("STILL CRITICAL: another subject", "other text", "other text", "other text")


@pytest.fixture
async def services(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    async with on_call_services() as services:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in services.environ.items():
            monkeypatch.setenv(name, value)
        yield services


@pytest.fixture
async def template(services: Services) -> AsyncIterator[Template]:
    """Every message goes through a child of its own."""
    async with Template() as template:
        yield template


Send = Callable[[str, Outgoing], Awaitable[str | None]]


@pytest.fixture
def send(template: Template) -> Send:
    """Return what sends one message: its error."""

    async def send(url: str, outgoing: Outgoing) -> str | None:
        async with aclosing(channels.send("pager", url, [outgoing], template=template)) as attempts:
            return (await anext(attempts)).error

    return send


def about(key: str, severity: Severity = Severity.CRITICAL, *, resolved: bool = False) -> Outgoing:
    return Outgoing(1, WORDS if severity is Severity.CRITICAL else OTHER, severity, resolved=resolved, key=key)


async def with_each(services: Services, tell: Callable[[str, str], Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*(tell(service, url) for service, url in services.urls.items()))
    assert set(services.open) == set(URLS)


async def test_each_service_keeps_one_incident_for_a_key_until_that_key_is_resolved(services, send):
    async def tell(service: str, url: str) -> None:
        for severity in (Severity.WARNING, Severity.CRITICAL, Severity.INFO):
            assert await send(url, about("credit-monitor.i.7", severity)) is None
            assert (service, services.open[service]) == (service, ["credit-monitor.i.7"])
        await send(url, about("credit-monitor.i.8"))
        assert (service, services.open[service]) == (service, ["credit-monitor.i.7", "credit-monitor.i.8"])
        assert await send(url, about("credit-monitor.i.7", resolved=True)) is None
        assert (service, services.open[service]) == (service, ["credit-monitor.i.8"])
        assert await send(url, about("credit-monitor.i.8", Severity.WARNING, resolved=True)) is None
        assert (service, services.open[service]) == (service, [])

    await with_each(services, tell)
    assert services.lost == []
    assert not [event for event in services.events if event.does == "notes"]


async def test_what_is_no_incident_is_opened_and_ended_at_once(services, send):
    async def tell(service: str, url: str) -> None:
        assert await send(url, Outgoing(1, WORDS, Severity.INFO, key="credit-monitor.test", ends=True)) is None
        told = [("opens", "credit-monitor.test"), ("ends", "credit-monitor.test")]
        assert (service, services.of(service), services.open[service]) == (service, told, [])

    await with_each(services, tell)


async def test_an_end_that_is_refused_is_a_failure(services, send):
    services.refused["ilert"] = ("ends", 503)
    test = Outgoing(1, WORDS, Severity.INFO, key="credit-monitor.test", ends=True)
    assert await send(services.urls["ilert"], test) == "failed with HTTP 503"
    assert services.open["ilert"] == ["credit-monitor.test"]


async def test_what_is_opened_for_one_of_two_recipients_is_resolved_there(services, send):
    other = GOALERT_KEY[::-1].replace("-", "")
    second = f"{other[:8]}-{other[8:12]}-{other[12:16]}-{other[16:20]}-{other[20:]}"
    services.refused_keys.add(second)
    error = await send(
        f"{services.urls['goalert']}/{second}", Outgoing(1, WORDS, Severity.INFO, key="credit-monitor.test", ends=True)
    )
    assert error.endswith("failed with HTTP 503")
    assert services.of("goalert") == [("opens", "credit-monitor.test"), ("ends", "credit-monitor.test")]
    assert services.open["goalert"] == []


# --- what the URL sets ------------------------------------------------------------------------------------------------


OWN_KEYS = (
    *(
        "pagerduty ?dedup=mine",
        "opsgenie ?alias=mine",
        "jira ?alias=mine",
        "victorops /mine",
        "victorops ?entity_id=mine",
    ),
    *("signl4 ?dedup=mine", "signl4 ?external_id=mine", "goalert ?dedup=mine", "pagertree ?tid=mine"),
    *("pagertree ?:id=mine", "ilert ?Dedup=mine", "victorops ?entity_id=mine"),
)
OWN_ACTIONS = (
    *("pagerduty ?action=trigger", "signl4 ?action=t", "goalert ?action=trigger", "pagertree ?action=create"),
    *("opsgenie ?:success=note", "victorops ?action=critical"),
)


@pytest.mark.parametrize("own", OWN_KEYS)
async def test_a_key_that_the_url_sets_wins(services, send, own):
    service, more = own.split()
    url = services.urls[service] + more
    await send(url, about("credit-monitor.i.7"))
    await send(url, about("credit-monitor.i.8"))
    assert services.open[service] == ["mine"]
    await send(url, about("credit-monitor.i.8", resolved=True))
    assert services.open[service] == []


@pytest.mark.parametrize("own", OWN_ACTIONS)
async def test_an_action_that_the_url_sets_wins(services, send, own):
    service, more = own.split()
    url = services.urls[service] + more
    await send(url, about("credit-monitor.i.7"))
    await send(url, about("credit-monitor.i.7", resolved=True))
    assert services.open[service] == ["credit-monitor.i.7"]


async def test_responders_of_one_alert_are_named_in_one_request(services, send):
    await send(services.urls["opsgenie"], about("credit-monitor.i.7"))
    (event,) = services.events
    assert [responder["type"] for responder in event.body["responders"]] == ["team", "user"]


async def test_a_web_address_that_apprise_takes_is_the_same_service(services, send):
    url = "https://api.squadcast.com/v2/incidents/api/key"
    await send(url, about("credit-monitor.i.7"))
    assert services.open["squadcast"] == ["credit-monitor.i.7"]
    assert channels.is_on_call(url)
    assert not channels.is_on_call("https://hooks.slack.com/services/T/B/c")


# --- one incident there for one incident here -------------------------------------------------------------------------

PAGER = """
[rules]
credits = { warning = 1000, critical = 200 }
runway = "off"
stale_after = "30m"
[accounts.studio]
base_url = "http://127.0.0.1:9"
[organizations.farm]
account = "studio"
id = "org-1"
[organizations.video]
account = "studio"
id = "org-2"
[channels.pager]
fallback_after = "15m"
[channels.second]
"""


@dataclass
class Duty:
    """A monitor with PagerDuty as its channel `pager` and ilert as `second`."""

    story: Story
    services: Services

    async def check(self, minutes: float = 5, **credits_now: str) -> None:
        """Check organizations, all within one poll, and deliver what is due."""
        self.story.now += timedelta(minutes=minutes)
        for name, amount in credits_now.items():
            self.story.parts.batch.add(self.story.result(amount, name))
        await self.story.parts.batch.flush()
        await self.drain()

    async def drain(self, minutes: float = 1) -> None:
        self.story.now += timedelta(minutes=minutes)
        async with asyncio.timeout(LONG):
            await self.story.parts.deliverer.drain()

    def incident(self, name: str) -> str:
        """The key of an organization's incident."""
        (row,) = self.story.rows(incidents, incidents.c.subject_id == self.story.ids[name])
        return f"credit-monitor.{self.story.write(installation.installation_id)}.{row['id']}"

    @property
    def open(self) -> list[str]:
        return self.services.open["pagerduty"]


@pytest.fixture
async def duty(tmp_path: Path, database_url: str, services: Services) -> AsyncIterator[Duty]:
    urls = {"pager": services.urls["pagerduty"], "second": services.urls["ilert"]}
    story = Story(tmp_path, database_url, urls=urls).begin(PAGER)
    yield Duty(story, services)
    await story.end()


async def test_what_falls_together_is_an_incident_each_and_ends_alone_after_a_restart(duty):
    await duty.check(farm="900", video="100")
    farm, video = duty.incident("farm"), duty.incident("video")
    assert sorted(duty.open) == sorted([farm, video])
    assert duty.services.of("pagerduty") == [("opens", video), ("opens", farm)]  # worst first
    severities = [event.body["payload"]["severity"] for event in duty.services.events if event.service == "pagerduty"]
    assert severities == ["critical", "warning"]
    await duty.story.restart(PAGER)
    await duty.check(farm="100")
    await duty.check(video="500")  # eased
    eased = duty.services.events[-1]
    assert duty.services.of("pagerduty")[2:] == [("opens", farm), ("opens", video)]
    await duty.check(farm="5000")
    assert duty.open == duty.services.open["ilert"] == [video]
    await duty.check(video="5000")
    assert duty.open == duty.services.lost == []
    assert eased.key == video
    assert duty.story.write(lambda tx: tx.execute(sa.select(pages)).all()) == []


async def test_what_a_channel_hears_when_it_is_back_is_not_joined_and_the_end_that_was_given_up_is_told(duty):
    await duty.check(farm="900")
    farm = duty.incident("farm")
    duty.services.refused["pagerduty"] = ("ends", 503)
    await duty.check(farm="5000")
    await duty.drain(20)
    duty.story.give_up("pager")
    duty.story.now += timedelta(days=2)  # it does not come back, then, but is another incident
    assert duty.open == [farm]
    assert [row["state"] for row in duty.story.rows(deliveries, deliveries.c.channel == "pager")][-1] == "given_up"
    duty.services.refused["pagerduty"] = ("opens", 503)
    await duty.check(farm="900", video="900")
    assert duty.open == [farm]
    del duty.services.refused["pagerduty"]
    await duty.drain(60)
    second = duty.story.rows(incidents)[-2:]
    keys = [f"{farm.rpartition('.')[0]}.{row['id']}" for row in second]
    assert sorted(duty.open) == sorted(keys)
    assert [does for does, key in duty.services.of("pagerduty") if key == farm][-1] == "ends"


async def test_what_was_never_answered_counts_as_opened_and_its_end_is_sent(duty, monkeypatch):
    impatient = partial(channels.send, per_message=timedelta(seconds=2))
    monkeypatch.setattr(channels, "send", impatient)
    duty.services.hang.add("pagerduty")
    await duty.check(farm="900")
    duty.services.hang.clear()
    (page,) = [page for page in duty.story.write(lambda tx: tx.execute(sa.select(pages)).all()) if page[0] == "pager"]
    assert page.incident_id
    await duty.check(farm="5000")
    assert duty.open == []
    assert duty.services.of("pagerduty")[-1] == ("ends", duty.incident("farm"))


async def test_a_channel_that_leaves_the_file_with_something_open_is_named_once(duty, caplog):
    await duty.check(farm="900")
    farm = duty.incident("farm")
    without = PAGER.replace('[channels.pager]\nfallback_after = "15m"\n', "")
    await duty.story.end()
    led(duty.story, without)
    (line,) = [record.message for record in caplog.records if "pager" in record.message and "resolve" in record.message]
    assert line == (
        "pager: it no longer leads to its on-call service, where somebody has to resolve what is open: "
        f"farm credits ({farm})"
    )
    await duty.story.end()
    caplog.clear()
    led(duty.story, without)
    assert "somebody has to resolve" not in caplog.text


async def test_what_is_open_at_a_channel_that_a_reload_renames_is_ended_under_its_new_name(duty, caplog):
    await duty.check(farm="900")
    farm = duty.incident("farm")
    await duty.story.end()
    toml = PAGER.replace("channels.pager", "channels.duty")
    led(duty.story, toml, renamed={"pager": "duty"}, duty=duty.story.urls["pager"])
    assert "somebody has to resolve" not in caplog.text
    question = sa.select(pages.c.channel)
    kept = duty.story.parts.store.write_now(lambda tx: set(tx.execute(question).scalars()), fenced=False)
    assert kept == {"duty", "second"}
    assert farm in duty.open


def led(story: Story, toml: str, *, renamed: Mapping[str, str] | None = None, **urls: str) -> None:
    """Begin as a leader, as `run` and `check` do."""
    settings = configured(story.folder, toml, story.url, second=story.urls["second"], **urls)
    lock = leader_lock.acquire(story.url)
    assert lock is not None
    story.settings = settings
    opened = Store(story.url)
    story._parts = open_parts(settings, opened, clock=lambda: story.now, leader_lock=lock, renamed=renamed or {})
    lock.release()


async def test_a_digest_opens_nothing_that_stays_open(duty):
    duty.story.write(lambda tx: outbox.enqueue_message(tx, "a" * 16, WORDS, "pager", at=duty.story.now))
    await duty.drain()
    (opened, ended) = duty.services.of("pagerduty")
    assert (opened[0], ended[0], opened[1]) == ("opens", "ends", ended[1])
    assert duty.open == []


# --- the program ------------------------------------------------------------------------------------------------------

FILE = """
[database]
url = "{url}"
[poll]
every = "1s"
deadline = "5s"
[rules]
credits = { warning = 1000, critical = 200 }
runway = "off"
[accounts.studio]
base_url = "{vendor}"
rate_limit = "off"
[organizations.farm]
account = "studio"
id = "org-1"
[organizations.video]
account = "studio"
id = "org-2"
"""


@dataclass
class Stage:
    """Two organizations, and a channel for each on-call service."""

    shell: Shell
    services: Services
    farm: SandboxOrganization
    video: SandboxOrganization
    daemons: list["subprocess.Popen[str]"] = field(default_factory=list)

    async def run(self, *arguments: str) -> Answer:
        return await asyncio.to_thread(self.shell.process, *arguments)

    def start(self) -> "subprocess.Popen[str]":
        self.daemons.append(self.shell.start("run"))
        return self.daemons[-1]

    def opened(self) -> dict[str, int]:
        """How many incidents each service has open."""
        return {service: len(self.services.open.get(service, [])) for service in URLS}

    def told(self, service: str) -> int:
        return len(self.services.of(service))

    async def all_have(self, count: int) -> None:
        await until(lambda: set(self.opened().values()) == {count}, why=lambda: str(self.opened()))

    async def all_told(self, count: int) -> None:
        await until(lambda: {self.told(service) for service in URLS} == {count}, why=lambda: str(self.services.events))


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """SQLite, unless a test asks for the other."""
    kind = getattr(request, "param", "sqlite")
    return str(request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url"))


@pytest.fixture
async def stage(shell: Shell, services: Services, database: str) -> AsyncIterator[Stage]:
    farm, video = (SandboxOrganization(f"org-{n}", "Farm", Decimal(5000)) for n in (1, 2))
    async with Vendor({key_of("studio"): ["org-1", "org-2"]}, [farm, video]) as vendor:
        tables = "".join(f"[channels.{name}]\n" for name in URLS)
        shell.write(FILE + tables, url=database, vendor=vendor.url)
        shell.environ["CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY"] = key_of("studio")
        shell.environ |= {f"CREDIT_MONITOR_CHANNELS__{name}__URL".upper(): url for name, url in services.urls.items()}
        shell.environ |= services.environ
        one = Stage(shell, services, farm, video)
        yield one
        for process in one.daemons:
            process.kill()
            _, err = await asyncio.to_thread(process.communicate)
            assert "Traceback" not in err


async def test_check_after_check_opens_worsens_and_ends_two_incidents_at_every_service(stage):
    stage.farm.credits, stage.video.credits = Decimal(900), Decimal(100)
    assert (await stage.run("check")).code == 2
    assert stage.opened() == dict.fromkeys(URLS, 2)
    stage.farm.credits = Decimal(100)
    await stage.run("check")
    assert stage.opened() == dict.fromkeys(URLS, 2)
    stage.video.credits = Decimal(5000)
    await stage.run("check")
    assert stage.opened() == dict.fromkeys(URLS, 1)
    before = {service: list(keys) for service, keys in stage.services.open.items()}
    tested = await stage.run("notify", *URLS)
    assert tested.code == 0
    assert tested.out.count("delivered (an incident of its own was opened there, and resolved)\n") == len(URLS)
    assert stage.services.open == before
    stage.farm.credits = Decimal(5000)
    assert (await stage.run("check")).code == 0
    assert stage.opened() == dict.fromkeys(URLS, 0)
    assert stage.services.lost == []
    told = {service: [does for does, _ in stage.services.of(service)] for service in URLS}
    expected = ["opens", "opens", "opens", "ends", "opens", "ends", "ends"]
    assert told == {service: expected for service in URLS}  # noqa: C420 -- a list that nobody changes


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_the_standby_that_takes_over_ends_what_the_leader_opened(stage):
    first = stage.start()
    stage.farm.credits = Decimal(900)
    await stage.all_have(1)
    stage.start()
    stage.farm.credits = Decimal(100)
    await stage.all_told(2)
    stage.video.credits = Decimal(100)
    await stage.all_have(2)
    first.kill()
    stage.farm.credits = Decimal(5000)
    await stage.all_have(1)
    stage.video.credits = Decimal(5000)
    await stage.all_have(0)
    assert stage.services.lost == []
    keys = {key for event in stage.services.events if (key := event.key)}
    assert len(keys) == 2


async def test_validate_says_once_what_it_means_that_a_url_sets_the_key_or_the_action(stage):
    stage.shell.environ |= {
        "CREDIT_MONITOR_CHANNELS__PAGERDUTY__URL": "pagerduty://routing@token?dedup=mine&action=trigger",
        "CREDIT_MONITOR_CHANNELS__VICTOROPS__URL": "victorops://route@key/mine",
    }
    answer = await stage.run("config", "validate")
    assert answer.code == 0
    warnings = [line for line in answer.err.splitlines() if "channels." in line]
    assert [line.split(" (")[0] for line in warnings] == [
        "warning: channels.pagerduty: the URL sets the key of the incident",
        "warning: channels.pagerduty: the URL sets what a message does",
        "warning: channels.victorops: the URL sets the key of the incident",
    ]


async def test_a_host_that_the_database_does_not_know_is_warned_once(stage, database):
    writer = open_writer(database)
    with transaction(writer) as tx:
        installation.record_host(tx, "farm-1", at=datetime(2026, 11, 1, tzinfo=UTC))
        identity = installation.installation_id(tx)
    for warned, organization in ((1, stage.farm), (0, stage.video)):
        process = stage.start()
        organization.credits = Decimal(900)
        await stage.all_have(1)
        organization.credits = Decimal(5000)
        await stage.all_have(0)
        process.terminate()
        _, err = await asyncio.to_thread(process.communicate, timeout=STOP)
        stage.daemons.remove(process)
        assert err.count("have one id, and would end each other's pages") == warned
        assert err.count(f"not used on {socket.gethostname()} before, but on farm-1:") == warned
    with transaction(writer) as tx:
        assert installation.installation_id(tx) == identity
    writer.dispose()
    assert all(event.key.startswith(f"credit-monitor.{identity}.") for event in stage.services.events)
