"""A changed configuration ends what it ended, tells new channels once, and says nothing when nothing changed."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from story import DENIED, DOWN, NOON, REJECTED, SPENT, TOML, Story, of_credits

from monitor.model import Rule
from monitor.query import account_incidents, status
from monitor.store.engines import open_reader
from monitor.store.tables import deliveries, incidents, metadata, organizations, snapshots

FARM = '[organizations.farm]\naccount = "studio"\nid = "org-1"\n'
WITHOUT_FARM = TOML.replace(FARM, "")
RENAMED = TOML.replace("[organizations.farm]", "[organizations.render-farm]")
WITHOUT_CREDITS = TOML.replace("credits = { warning = 1000, critical = 200 }", 'credits = "off"')
WITH_LATE = TOML + "[channels.late]\n"
WITHOUT_BOSS = TOML.replace('[channels.boss]\nmin_severity = "critical"\n', "")


def levels(**rungs: int) -> str:
    ladder = ", ".join(f"{rung} = {level}" for rung, level in rungs.items())
    return TOML.replace("warning = 1000, critical = 200", ladder)


# --- names and places -------------------------------------------------------------------------------------------------


async def test_a_renamed_organization_keeps_its_history_and_its_incident(story):
    await story.check("900")
    assert await story.restart(RENAMED) == []
    (row,) = story.rows(organizations)
    assert (row["name"], row["watched"]) == ("render-farm", True)
    assert await story.check("890", "render-farm") == []
    assert await story.check("5000", "render-farm") == of_credits("ops", reason="resolved", severity="warning")
    assert story.facts()["name"] == "render-farm"
    assert len(story.rows(snapshots)) == 3


async def test_two_organizations_may_swap_their_names(story):
    other = FARM.replace("farm", "video").replace("org-1", "org-2")
    await story.restart(TOML + other)
    await story.check("900")
    swapped = (TOML + other).replace("org-1", "org-X").replace("org-2", "org-1").replace("org-X", "org-2")
    assert await story.restart(swapped) == []
    assert [(row["vendor_id"], row["name"]) for row in story.rows(organizations)] == [
        ("org-1", "video"),
        ("org-2", "farm"),
    ]
    assert await story.check("5000", "video") == of_credits("ops", reason="resolved", severity="warning")


async def test_an_organization_found_by_its_account_keeps_its_name_until_the_account_names_another(story):
    nameless = FARM.replace('id = "org-1"\n', "")
    await story.check("900")
    assert await story.restart(TOML.replace(FARM, nameless)) == []
    (row,) = story.rows(organizations)
    assert (row["name"], row["account"], row["watched"]) == ("farm", "studio", True)


async def test_the_vendors_id_decides_between_two_places(story):
    """The account's default was org-1 under this name; now the file lists org-1 under another."""
    both = '[organizations.farm]\naccount = "studio"\n[organizations.extra]\naccount = "studio"\nid = "org-1"\n'
    await story.check("900")
    assert await story.restart(TOML.replace(FARM, both)) == []
    assert [(row["vendor_id"], row["name"]) for row in story.rows(organizations)] == [("org-1", "extra")]


async def test_a_removed_organization_ends_as_reconfigured_to_whom_was_told(story):
    await story.check("900")
    assert await story.restart(WITHOUT_FARM) == of_credits("ops", reason="resolved", severity="warning")
    assert story.facts()["reconfigured"] is True
    (incident,) = story.rows(incidents)
    assert (incident["resolved_reason"], incident["resolved_at"]) == ("reconfigured", story.now)
    (row,) = story.rows(organizations)
    assert (row["watched"], row["name"], len(story.rows(snapshots))) == (False, "farm", 1)
    assert await story.restart(WITHOUT_FARM) == []


async def test_a_removed_organization_that_comes_back_is_judged_anew_on_its_old_history(story):
    await story.check("900")
    await story.restart(WITHOUT_FARM)
    assert await story.restart(TOML) == []
    assert await story.check("890") == of_credits("ops", reason="opened", severity="warning")
    (row,) = story.rows(organizations)
    assert (row["watched"], row["previous_credits"], row["used"]) == (True, 900, 10)


async def test_a_removed_account_ends_its_incident_as_reconfigured(story):
    await story.check(REJECTED)
    gone = WITHOUT_FARM.replace("[accounts.studio]", "[accounts.lab]")
    said = await story.restart(gone)
    assert said == [(c, "credential", "resolved", "critical") for c in ("ops", "boss")]
    assert story.facts()["reconfigured"] is True
    assert await story.restart(gone) == []


async def test_a_file_without_an_id_keeps_the_organization_that_was_resolved_before(story):
    await story.check("900")
    assert await story.restart(TOML.replace('id = "org-1"\n', "")) == []
    assert [(row["name"], row["watched"]) for row in story.rows(organizations)] == [("farm", True)]


# --- rules ------------------------------------------------------------------------------------------------------------


async def test_a_rule_switched_off_ends_as_reconfigured_and_not_as_topped_up(story):
    await story.check("100")
    assert await story.restart(WITHOUT_CREDITS) == of_credits("ops", "boss", reason="resolved", severity="critical")
    assert story.facts()["reconfigured"] is True
    assert await story.check("1") == []


async def test_a_rule_switched_off_for_one_organization_leaves_the_others(story):
    both = TOML + FARM.replace("farm", "video").replace("org-1", "org-2")
    await story.restart(both)
    await story.check("900")
    await story.check("900", "video")
    assert len(await story.restart(both + 'rules.credits = "off"\n')) == 1
    assert story.facts()["name"] == "video"


async def test_a_lowered_level_ends_what_is_no_longer_below_it(story):
    await story.check("900")
    assert await story.restart(levels(warning=500, critical=200)) == of_credits(
        "ops", reason="resolved", severity="warning"
    )
    assert story.facts()["reconfigured"] is True
    assert await story.check("900") == []


async def test_a_lowered_critical_level_eases_to_the_warning_that_still_stands(story):
    await story.check("150")
    assert await story.restart(levels(warning=1000, critical=100)) == of_credits(
        "ops", "boss", reason="eased", severity="warning"
    )
    assert story.open() == [("credits", "warning")]


async def test_a_raised_level_says_nothing_until_the_next_check(story):
    await story.check("1500")
    raised = levels(warning=2000, critical=200)
    assert await story.restart(raised) == []
    assert await story.check("1500") == of_credits("ops", reason="opened", severity="warning")


async def test_no_credits_is_below_any_lowered_level(story):
    await story.check("5000")
    await story.check(SPENT)
    assert await story.restart(levels(warning=1)) == of_credits("ops", "boss", reason="eased", severity="warning")
    assert story.open() == [("credits", "warning")]


async def test_stale_switched_off_ends_and_a_longer_one_stands_until_a_fresh_snapshot(story):
    await story.check("1500")
    await story.check(DOWN, minutes=40)
    assert await story.restart(TOML.replace('stale_after = "30m"', 'stale_after = "9h"')) == []
    assert await story.restart(TOML.replace('stale_after = "30m"', 'stale_after = "off"')) == [
        ("ops", "stale", "resolved", "warning")
    ]


async def test_access_is_not_ended_by_any_change_of_rules(story):
    await story.check(DENIED)
    assert await story.restart(WITHOUT_CREDITS.replace('"30m"', '"off"')) == []
    assert story.open() == [("access", "critical")]


# --- channels ---------------------------------------------------------------------------------------------------------


async def test_a_new_channel_hears_of_what_is_open_once_and_only_once_over_restarts(story):
    await story.check("900")
    assert await story.restart(WITH_LATE) == of_credits("late", reason="opened", severity="warning")
    for _ in range(3):
        assert await story.restart(WITH_LATE) == []
    story.mark("late")
    assert await story.restart(WITH_LATE) == []
    assert await story.check("100") == of_credits("ops", "boss", "late", reason="escalated", severity="critical")
    assert await story.check("5000") == of_credits("ops", "boss", "late", reason="resolved", severity="critical")


async def test_a_new_channel_is_told_the_present_figures(story):
    await story.check("900")
    await story.check("850")
    await story.restart(WITH_LATE)
    facts = story.facts()
    assert (float(facts["credits"]), float(facts["level"])) == (850, 1000)
    assert facts["opened_at"] == (NOON + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")


async def test_a_new_channel_hears_nothing_that_is_below_its_severity_over_or_not_its_own(story):
    await story.check("100")
    await story.check("5000")
    await story.check("900")
    late = '[channels.late]\nmin_severity = "critical"\n[channels.art]\n'
    own = TOML.replace('id = "org-1"', 'id = "org-1"\nnotify = ["ops", "boss", "late"]')
    assert await story.restart(own + late) == []


async def test_a_channel_that_is_let_hear_less_severe_things_hears_of_what_is_open(story):
    await story.check("900")
    assert await story.restart(TOML.replace('min_severity = "critical"', "")) == of_credits(
        "boss", reason="opened", severity="warning"
    )


async def test_a_new_channel_hears_of_a_rejected_key(story):
    await story.check(REJECTED)
    assert await story.restart(WITH_LATE) == [("late", "credential", "opened", "critical")]
    assert await story.restart(WITH_LATE) == []


async def test_a_removed_channel_is_abandoned_and_told_nothing_more(story):
    await story.check("100")
    assert await story.restart(WITHOUT_BOSS) == []
    (left,) = story.rows(deliveries, deliveries.c.channel == "boss")
    assert (left["state"], left["ended_at"]) == ("given_up", story.now)
    assert await story.check("5000") == of_credits("ops", reason="resolved", severity="critical")


async def test_a_channel_that_comes_back_without_having_heard_hears_of_what_is_open(story):
    """Taken out of the file with a message still waiting, it was told nothing."""
    await story.check("100")
    await story.restart(WITHOUT_BOSS)
    assert await story.restart(TOML) == of_credits("boss", reason="opened", severity="critical")
    assert await story.restart(TOML) == []
    assert await story.check("5000") == of_credits("ops", "boss", reason="resolved", severity="critical")


async def test_a_channel_that_comes_back_after_having_heard_is_not_told_again(story):
    await story.check("100")
    story.mark("boss")
    await story.restart(WITHOUT_BOSS)
    assert await story.restart(TOML) == []


# --- nothing changed --------------------------------------------------------------------------------------------------

OUTCOMES = st.sampled_from(["5000", "1500", "1020", "900", "205", "100", "0", DOWN, REJECTED, DENIED, SPENT])


def everything(story: Story) -> list[list[tuple]]:
    questions = [sa.select(table) for table in metadata.sorted_tables]
    return [sorted(map(repr, rows)) for rows in story.write(lambda tx: [tx.execute(one).all() for one in questions])]


@examples(6)
@given(outcomes=st.lists(OUTCOMES, max_size=6), minutes=st.sampled_from([5, 40]))
async def test_an_unchanged_configuration_changes_nothing_at_any_point_of_any_history(story, outcomes, minutes):
    for outcome in outcomes:
        await story.check(outcome, minutes=minutes)
    before = everything(story)
    for _ in range(2):
        assert await story.restart(TOML) == []
        assert everything(story) == before


@examples(5)
@given(outcomes=st.lists(OUTCOMES, min_size=1, max_size=6), cuts=st.lists(st.booleans(), min_size=6, max_size=6))
async def test_cutting_a_history_by_restarts_changes_nothing_that_is_said(
    tmp_path_factory, migrated_sqlite, outcomes, cuts
):
    told = []
    for cut in (False, True):
        folder = tmp_path_factory.mktemp("cut")
        (folder / "story.db").write_bytes(migrated_sqlite.read_bytes())
        story = Story(folder, f"sqlite:///{folder / 'story.db'}").begin()
        heard = []
        for outcome, here in zip(outcomes, cuts, strict=False):
            heard += await story.check(outcome, minutes=20)
            if cut and here:
                heard += await story.restart(TOML)
                story.now -= timedelta(minutes=1)
        told.append((heard, story.open()))
        await story.end()
    assert told[0] == told[1]


@pytest.mark.parametrize("toml", [WITHOUT_FARM, WITHOUT_CREDITS, RENAMED, WITH_LATE, WITHOUT_BOSS, levels(warning=1)])
async def test_every_change_is_said_once_and_nobody_reads_of_it_as_open_afterwards(story, toml):
    await story.check("900")
    await story.restart(toml)
    before = everything(story)
    assert await story.restart(toml) == []
    assert everything(story) == before
    reader = open_reader(story.url)
    stands = [one.rule for row in status(reader, watched_only=False) for one in row.incidents]
    assert stands == ([Rule.CREDITS] if toml in {RENAMED, WITH_LATE, WITHOUT_BOSS} else [])
    assert account_incidents(reader) == []
    reader.dispose()
