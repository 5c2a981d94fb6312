"""A reading that is hard to believe is asked for again before anyone is alarmed."""

from decimal import Decimal

import pytest

from monitor import check, config
from monitor.daemon.process import wall_clock
from monitor.sandbox import SandboxOrganization, Vendor

KEY = "sk-" + "a" * 48


def readings(*values: str):
    """Credits that change with every answer; the last one stays."""
    left = [Decimal(value) for value in values]
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("answers", "state", "kept"),
    [
        (("5000", "0", "4999"), "ok", "4999"),
        (("5000", "50", "50"), "critical", "50"),
        (("5000", "51", "4000"), "critical", "51"),
        (("0.9", "0.001"), "critical", "0.001"),
    ],
)
async def test_a_fall_to_a_hundredth_is_confirmed_by_a_second_fetch(tmp_path, answers, state, kept):
    async with Vendor({KEY: ["org-1"]}, [SandboxOrganization("org-1", "Farm", readings(*answers))]) as vendor:
        (tmp_path / "c.toml").write_text(
            f'[database]\nurl = "sqlite:///{tmp_path}/state/c.db"\n'
            f'[accounts.studio]\nbase_url = "{vendor.url}"\norganizations = "all"\nrate_limit = "off"\n'
        )
        settings = config.load(tmp_path / "c.toml", {"CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": KEY})
        for _ in range(2):
            report = await check.check(settings, (), clock=wall_clock, dry_run=False)
        (checked,) = report.checked
        assert (checked.state, checked.organization.snapshot.credits) == (state, Decimal(kept))
        assert checked.organization.previous.credits == Decimal(answers[0])
