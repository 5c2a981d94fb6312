"""The crash proof in small: `make crash-proof` runs it with two hundred kills."""

from tests.proofs.crash.proof import prove


async def test_a_daemon_killed_eight_times_loses_invents_and_reorders_nothing(tmp_path, database_url):
    counts = await prove(
        tmp_path, database_url, kills=8, seed=3, organizations=6, outage=1.5, longest_life=5, least_demanded=10
    )
    assert counts.faults() == {}, "\n".join(counts.notes)
    assert counts.kills >= 8
    assert counts.demanded >= 10
    assert counts.arrivals >= counts.deliveries
