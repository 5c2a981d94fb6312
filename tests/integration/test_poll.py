"""A poll of a simulated vendor over real HTTP: who is asked, once, whatever the others do; nothing is invented."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from story import Story, key_of
from wait import until

from monitor.sandbox import Fault, Reply, SandboxOrganization, Vendor
from monitor.store.tables import accounts, checks, incidents, organizations, snapshots

FAST = '[rules]\nrunway = "off"\n[poll]\ndeadline = "2s"\n[channels.ops]\n'
PATIENT = ('deadline = "2s"', 'deadline = "5s"')  # what is to happen before it has time on a busy machine


@dataclass
class Scene:
    """A monitor and the vendor that it asks."""

    story: Story
    vendor: Vendor

    def account(self, name: str, more: str = "") -> str:
        return f'[accounts.{name}]\nbase_url = "{self.vendor.url}"\nrate_limit = "off"\n{more}\n'

    def watch_all(self, *names: str) -> str:
        return FAST + "".join(self.account(name, 'organizations = "all"') for name in names)

    def watch(self, **organizations: str) -> str:
        """Account studio with these organizations (name → id)."""
        listed = (
            f'[organizations.{n}]\naccount = "studio"\n' + (f'id = "{i}"\n' if i else "")
            for n, i in organizations.items()
        )
        return FAST + self.account("studio") + "".join(listed)

    async def poll(self, *names: str, only: list[str] | None = None) -> None:
        self.story.now += timedelta(minutes=1)
        polls = [one for one in self.story.parts.polls if not names or one.name in names]
        await asyncio.gather(*(one.run(only) for one in polls))

    def balances(self) -> dict[str, list[Decimal]]:
        """Name → every balance recorded of it."""
        names = {row["id"]: row["name"] for row in self.story.rows(organizations)}
        found: dict[str, list[Decimal]] = {}
        for row in self.story.rows(snapshots):
            found.setdefault(names[row["organization_id"]], []).append(row["credits"])
        return found

    def watched(self) -> dict[str, str]:
        """Name → vendor's id of what is watched."""
        return {row["name"]: row["vendor_id"] for row in self.story.rows(organizations) if row["watched"]}

    def asked(self) -> Counter[str]:
        """How often each organization's balance was asked for."""
        balances = (one for one in self.vendor.requests if one.path.endswith("balance"))
        return Counter(one.headers.get("organization", "(default)") for one in balances)

    def asked_lists(self) -> int:
        return sum(one.path.endswith("account") for one in self.vendor.requests)

    def kinds(self) -> list[str]:
        return [row["kind"] for row in self.story.rows(checks)]


@pytest.fixture
async def scene(tmp_path, sqlite_url) -> AsyncIterator[Scene]:
    listed = [SandboxOrganization(f"org-{n}", f"Organization {n}", Decimal(n * 1000)) for n in range(1, 5)]
    keys = {key_of("studio"): ["org-1", "org-2", "org-3"], key_of("lab"): ["org-3", "org-4"]}
    async with Vendor(keys, listed) as vendor:
        one = Scene(Story(tmp_path, sqlite_url), vendor)
        yield one
        await one.story.end()


UNUSABLE = Reply(
    body=b'{"organizations": [{"id": "org-1"}, {"id": "org 7", "name": "Video"},'
    b' {"id": "org-2"}, {"id": "\\u00fc", "name": "Lab"}]}'
)


async def test_ids_that_cannot_be_used_are_named_once_and_the_others_are_watched(scene, caplog):
    scene.vendor.account_fault = UNUSABLE
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    await scene.poll()
    assert set(scene.watched()) == {"org-1", "org-2"}
    lines = [record.getMessage() for record in caplog.records if "not watched" in record.getMessage()]
    assert [line.partition(" has ")[0] for line in lines] == [
        "account studio: not watched: the organization org 7 called Video",
        "account studio: not watched: the organization ü called Lab",
    ]


# --- who is watched ---------------------------------------------------------------------------------------------------


async def test_all_organizations_of_a_key_are_found_and_kept_by_the_vendors_id(scene):
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    assert scene.balances() == {"org-1": [1000], "org-2": [2000], "org-3": [3000]}
    assert [row["title"] for row in scene.story.rows(organizations)] == [f"Organization {n}" for n in (1, 2, 3)]
    assert scene.asked() == {"org-1": 1, "org-2": 1, "org-3": 1}


async def test_an_organization_that_joins_and_a_title_that_changes_are_seen_at_the_next_poll(scene):
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    scene.vendor.keys[key_of("studio")] = ["org-1", "org-2", "org-3", "org-4"]
    scene.vendor.organizations["org-1"].name = "Renamed GmbH"
    await scene.poll()
    assert scene.balances()["org-4"] == [4000]
    assert scene.story.rows(organizations)[0]["title"] == "Renamed GmbH"


async def test_a_configured_name_counts_also_among_all(scene):
    scene.story.begin(scene.watch_all("studio") + '[organizations.farm]\naccount = "studio"\nid = "org-2"\n')
    await scene.poll()
    await scene.poll()
    assert scene.watched() == {"farm": "org-2", "org-1": "org-1", "org-3": "org-3"}


async def test_only_what_is_listed_is_watched_and_the_account_endpoint_left_alone(scene):
    scene.story.begin(scene.watch(farm="org-2"))
    await scene.poll()
    assert scene.balances() == {"farm": [2000]}
    assert scene.asked_lists() == 0


async def test_a_missing_id_is_resolved_once_before_anything_is_stored(scene):
    scene.story.begin(scene.watch(farm=""))
    scene.vendor.account_fault = Fault.SERVER_ERROR
    await scene.poll()
    assert (scene.balances(), scene.watched()) == ({}, {})
    assert scene.asked() == {}
    failed = scene.asked_lists()  # with its repetitions
    scene.vendor.account_fault = None
    for _ in range(3):
        await scene.poll()
    assert scene.balances() == {"farm": [1000, 1000, 1000]}
    assert scene.watched() == {"farm": "org-1"}
    assert scene.asked_lists() == failed + 1


async def test_a_resolved_organization_is_polled_at_once_after_a_restart_also_while_the_list_fails(scene):
    scene.story.begin(scene.watch(farm=""))
    await scene.poll()
    scene.vendor.account_fault = Fault.HANG
    await scene.story.restart(scene.watch(farm=""))
    await scene.poll()
    assert scene.balances() == {"farm": [1000, 1000]}


async def test_when_the_keys_default_changes_the_name_goes_with_it_and_the_old_one_is_left(scene):
    toml = scene.watch(farm="")
    scene.story.begin(toml)
    await scene.poll()
    scene.vendor.keys[key_of("studio")] = ["org-2", "org-1"]
    for _ in range(2):
        await scene.story.restart(toml)
        await scene.poll()
        assert scene.watched() == {"farm": "org-2"}
    before = scene.asked()["org-1"]
    await scene.poll()
    assert scene.asked()["org-1"] == before
    assert scene.balances()["farm"] == [2000, 2000, 2000]


async def test_two_keys_that_see_one_organization_poll_it_once_from_the_first_poll_on(scene):
    scene.story.begin(scene.watch_all("studio", "lab"))
    for number in (1, 2, 3):
        await scene.poll()
        assert scene.asked() == {f"org-{n}": number for n in (1, 2, 3, 4)}
    owner = next(row["account"] for row in scene.story.rows(organizations) if row["vendor_id"] == "org-3")
    scene.vendor.requests.clear()
    await scene.story.restart(scene.watch_all("studio", "lab"))
    await scene.poll(owner)
    assert scene.asked()["org-3"] == 1


async def test_one_that_disappears_from_the_list_is_polled_on_until_the_vendor_denies_it(scene):
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    scene.vendor.keys[key_of("studio")] = ["org-1", "org-2"]
    await scene.poll()
    assert scene.asked()["org-3"] == 2
    assert scene.story.heard() == [("ops", "access", "opened", "critical")]
    assert "org-3" in scene.watched()


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.UNAUTHORIZED, "credential_rejected"),
        (Fault.FORBIDDEN, "access_denied"),
        (Fault.NOT_FOUND, "access_denied"),
        (Fault.PAYMENT_REQUIRED, "no_credits"),
        (Fault.NULL, "unexpected_answer"),
        (Fault.HANG, "unavailable"),
    ],
)
async def test_what_is_wrong_with_one_organization_does_not_stop_its_siblings(scene, fault, kind):
    scene.story.begin(scene.watch(a="org-1", b="org-2", c="org-3"))
    scene.vendor.organizations["org-1"].fault = fault
    await scene.poll()
    assert scene.balances() == {"b": [2000], "c": [3000]}
    assert scene.kinds() == [kind]


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN_PAGE, Fault.RATE_LIMITED, Fault.NAN])
async def test_a_vendor_that_answers_nonsense_leaves_no_snapshot_and_one_failure_for_each(scene, fault):
    scene.story.begin(scene.watch(a="org-1", b="org-2"))
    scene.vendor.fault = fault
    await scene.poll()
    assert scene.balances() == {}
    assert len(scene.kinds()) == 2
    assert all(row["credits"] is None for row in scene.story.rows(organizations))


async def test_an_account_endpoint_that_hangs_holds_up_nothing_that_is_known(scene):
    scene.story.begin(scene.watch_all("studio").replace(*PATIENT))
    await scene.poll()
    scene.vendor.account_fault = Fault.HANG
    poll = asyncio.create_task(scene.poll())
    await until(lambda: sum(scene.asked().values()) == 6)
    assert not poll.done()
    await poll
    assert scene.balances() == {"org-1": [1000, 1000], "org-2": [2000, 2000], "org-3": [3000, 3000]}
    assert [row["organization_id"] for row in scene.story.rows(checks)] == [None]


async def test_an_account_whose_vendor_hangs_does_not_delay_anothers_poll(scene):
    async with Vendor({key_of("lab"): ["org-4"]}, [SandboxOrganization("org-4", "Four", Decimal(4))]) as other:
        lab = scene.account("lab").replace(scene.vendor.url, other.url)
        toml = scene.watch(a="org-1") + lab + '[organizations.d]\naccount = "lab"\nid = "org-4"\n'
        scene.story.begin(toml.replace(*PATIENT))
        scene.vendor.fault = Fault.HANG
        hanging = asyncio.create_task(scene.poll("studio"))
        await scene.poll("lab")
        assert not hanging.done()
        assert scene.balances() == {"d": [4]}
        await hanging
        assert scene.kinds() == ["unavailable"]


async def test_forty_five_organizations_are_each_asked_once(scene):
    ids = [f"org-{n}" for n in range(45)]
    scene.vendor.keys[key_of("studio")] = ids
    scene.vendor.organizations |= {one: SandboxOrganization(one, one, Decimal(7)) for one in ids}
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    assert scene.asked() == dict.fromkeys(ids, 1)
    assert len(scene.story.rows(snapshots)) == 45


async def test_a_list_that_cannot_be_kept_is_taken_in_when_the_database_is_back(scene):
    scene.story.begin(scene.watch(farm=""))
    connection = scene.story.parts.store.engine.raw_connection()
    connection.cursor().execute("PRAGMA query_only = ON")
    connection.close()
    await scene.poll()
    connection = scene.story.parts.store.engine.raw_connection()
    connection.cursor().execute("PRAGMA query_only = OFF")
    connection.close()
    assert scene.watched() == {}
    await scene.poll()
    assert scene.balances() == {"farm": [1000]}


# --- when it was ------------------------------------------------------------------------------------------------------


async def test_a_complete_poll_is_kept_with_its_beginning_also_when_every_check_failed(scene):
    scene.story.begin(scene.watch(a="org-1"))
    scene.vendor.fault = Fault.SERVER_ERROR
    await scene.poll()
    assert scene.story.rows(accounts)[0]["polled_at"] == scene.story.now


async def test_a_poll_of_some_organizations_checks_those_alone_and_is_no_complete_one(scene):
    scene.story.begin(scene.watch(a="org-1", b="org-2"))
    await scene.poll(only=["b"])
    await scene.poll(only=["org-2"])
    assert scene.balances() == {"b": [2000, 2000]}
    assert scene.asked() == {"org-2": 2}
    assert scene.story.rows(accounts)[0]["polled_at"] is None


async def test_a_poll_that_is_cancelled_records_nothing_of_what_it_was_fetching(scene):
    scene.story.begin(scene.watch(a="org-1", b="org-2").replace('"2s"', '"5m"'))
    scene.vendor.organizations["org-1"].fault = Fault.HANG
    poll = asyncio.create_task(scene.poll())
    await until(scene.balances)
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)
    await scene.story.parts.batch.flush()
    assert scene.balances() == {"b": [2000]}
    assert scene.kinds() == []
    assert scene.story.rows(accounts)[0]["polled_at"] is None


async def test_no_key_and_no_answer_that_repeats_it_is_kept_or_logged(scene, caplog):
    scene.story.begin(scene.watch_all("studio"))
    scene.vendor.fault = Fault.UNAUTHORIZED
    caplog.set_level("DEBUG")
    await scene.poll()
    assert key_of("studio") not in caplog.text + str(scene.story.rows(checks))


# --- defaults that change, accounts that are renamed ------------------------------------------------------------------


def incident_rows(scene) -> list[tuple[str, str, str | None]]:
    """Vendor's id, rule and how it ended, of every incident of an organization."""
    ids = {row["id"]: row["vendor_id"] for row in scene.story.rows(organizations)}
    rows = scene.story.rows(incidents, incidents.c.subject == "organization")
    return [(ids[row["subject_id"]], row["rule"], row["resolved_reason"]) for row in rows]


async def test_a_default_organization_that_moves_leaves_no_incident_of_its_predecessor(scene):
    """The old one is denied by now: that it is not asked any more must not be told as a refusal."""
    scene.vendor.organizations["org-1"].credits = Decimal(100)
    scene.story.begin(scene.watch(farm=""))
    await scene.poll()
    assert incident_rows(scene) == [("org-1", "credits", None)]
    scene.story.heard()
    scene.vendor.keys[key_of("studio")] = ["org-2", "org-3"]
    await scene.story.restart(scene.watch(farm=""))
    await scene.poll()
    assert incident_rows(scene) == [("org-1", "credits", "reconfigured")]
    assert [said[1:3] for said in scene.story.heard()] == [("credits", "resolved")]
    assert scene.watched() == {"farm": "org-2"}
    assert scene.kinds() == []


async def test_a_default_organization_is_asked_for_also_while_the_list_fails(scene):
    scene.story.begin(scene.watch(farm=""))
    await scene.poll()
    await scene.story.restart(scene.watch(farm=""))
    scene.vendor.account_fault = Fault.SERVER_ERROR
    await scene.poll()
    assert len(scene.balances()["farm"]) == 2


async def test_an_organization_without_an_id_that_moves_to_another_account_is_not_refused(scene):
    scene.story.begin(scene.watch(farm=""))
    await scene.poll()
    moved = FAST + scene.account("studio") + scene.account("lab") + '[organizations.farm]\naccount = "lab"\n'
    await scene.story.restart(moved)
    await scene.poll()
    assert incident_rows(scene) == []
    assert scene.watched() == {"farm": "org-3"}


async def test_a_renamed_account_keeps_what_stands_of_its_organizations(scene):
    scene.vendor.organizations["org-1"].credits = Decimal(100)
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    scene.story.heard()
    scene.vendor.keys[key_of("atelier")] = scene.vendor.keys.pop(key_of("studio"))
    await scene.story.restart(scene.watch_all("atelier"))
    await scene.poll()
    await scene.poll()
    assert incident_rows(scene) == [("org-1", "credits", None)]
    assert scene.story.heard() == []
    assert set(scene.watched()) == {"org-1", "org-2", "org-3"}
    assert {row["account"] for row in scene.story.rows(organizations)} == {"atelier"}
    assert len(scene.balances()["org-1"]) == 3


async def test_what_a_renamed_account_does_not_see_any_more_ends_as_reconfigured(scene):
    scene.vendor.organizations["org-1"].credits = Decimal(100)
    scene.story.begin(scene.watch_all("studio"))
    await scene.poll()
    await scene.story.restart(scene.watch_all("lab"))
    assert incident_rows(scene) == [("org-1", "credits", None)]  # nobody knows yet
    await scene.poll()
    assert incident_rows(scene) == [("org-1", "credits", "reconfigured")]
    assert set(scene.watched()) == {"org-3", "org-4"}


async def test_an_account_that_loses_its_last_organization_leaves_no_incident(scene):
    scene.vendor.keys[key_of("other")] = scene.vendor.keys.pop(key_of("studio"))
    scene.story.begin(scene.watch(farm="org-1"))
    await scene.poll()
    await scene.story.restart(FAST + scene.account("studio") + scene.account("lab"))
    (row,) = scene.story.rows(incidents)
    assert (row["rule"], row["resolved_reason"]) == ("credential", "reconfigured")


async def test_that_one_key_was_refused_ends_when_another_asks(scene):
    scene.story.begin(scene.watch(farm="org-4"))
    await scene.poll()
    assert incident_rows(scene) == [("org-4", "access", None)]
    farm = '[organizations.farm]\naccount = "lab"\nid = "org-4"\n'
    await scene.story.restart(FAST + scene.account("studio") + scene.account("lab") + farm)
    assert incident_rows(scene) == [("org-4", "access", "reconfigured")]


async def test_a_title_that_cannot_be_stored_keeps_no_other_organization_out(scene):
    """As in a database of another encoding."""
    scene.vendor.organizations["org-2"].name = "Kyōto"
    scene.story.begin(scene.watch_all("studio"))
    trigger = "CREATE TRIGGER no BEFORE INSERT ON organizations WHEN NEW.title = 'Kyōto' "
    scene.story.write(lambda tx: tx.exec_driver_sql(trigger + "BEGIN SELECT RAISE(ABORT, 'no such character'); END"))
    await scene.poll()
    assert {row["vendor_id"]: row["title"] for row in scene.story.rows(organizations)} == {
        "org-1": "Organization 1",
        "org-2": r"Ky\u014dto",
        "org-3": "Organization 3",
    }
    assert len(scene.balances()) == 3
