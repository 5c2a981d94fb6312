"""Accounts at any vendor: what a description leaves to them, and vendors that are nothing but named."""

from pathlib import Path

import pytest
from given import HOME, in_file

from monitor.config import load
from monitor.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[accounts.a]\nprovider = "litellm"', ":1: accounts.a.base_url: is missing: litellm is asked there"),
        (
            '[accounts.a]\nprovider = "twilio"',
            ':1: accounts.a.vars: lacks sid, which twilio needs: vars = { sid = "…" }',
        ),
        (
            '[accounts.a]\nprovider = "xai"\nvars = { team = "t", tem = "t" }',
            ":3: accounts.a.vars.tem: is not used by xai; did you mean team?",
        ),
        (
            '[accounts.a]\nprovider = "xai"\nvars = { team = ".." }',
            ":3: accounts.a.vars.team: {team} would lead to another path",
        ),
        (
            '[accounts.a]\nprovider = "sms-activate-protocol"\nvars = { host = "evil.example/x" }',
            ':3: accounts.a.vars.host: {host} is a part of the host; expected a name such as "eu.example.com"',
        ),
        (
            '[accounts.a]\nprovider = "openruter"',
            (
                ":2: accounts.a.provider: names no provider; did you mean openrouter?,"
                " or describe it in [providers.openruter]"
            ),
        ),
        (
            '[providers.mine]\nurl = "https://a.example/"\nbalance = "b"\nunit = "USD"\ncredits = { warnin = 5 }',
            ":5: providers.mine.credits.warnin: unknown setting; did you mean warning?",
        ),
        (
            (
                '[providers.mine]\nurl = "https://a.example/"\nbalance = "b"\nunit = "USD"\nevery_min = "1h"\n'
                '[accounts.a]\nprovider = "mine"\nevery = "5m"'
            ),
            ":8: accounts.a.every: must be at least 1h, more often mine is not to be asked",
        ),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert in_file(tmp_path, text) == [said]


def test_a_base_url_needs_no_host(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[accounts.a]\nprovider = "sms-activate-protocol"\nbase_url = "http://127.0.0.1:8080"'
    )
    assert load(tmp_path / "c.toml", HOME).accounts["a"].base_url == "http://127.0.0.1:8080"


def test_a_description_stands_before_the_built_in_one_also_of_stability(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[providers.stability]\nurl = "https://a.example/"\nbalance = "b"\nunit = "USD"\n[accounts.a]\n'
        'provider = "stability"\n[providers.deepseek]\nurl = "https://a.example/"\nbalance = "b"\nunit = "USD"\n'
        '[accounts.b]\nprovider = "deepseek"'
    )
    settings = load(tmp_path / "c.toml", HOME)
    for account in ("a", "b"):
        made = settings.description(account)
        assert made is not None
        assert made.unit == "USD"
        assert settings.accounts[account].organizations_all


# --- nothing but a name -----------------------------------------------------------------------------------------------


def named(vendors: str, **environ: str) -> dict[str, tuple[str, str]]:
    """Account → its vendor and key."""
    settings = load(None, HOME | {"CREDIT_MONITOR_PROVIDERS": vendors} | environ)
    return {name: (account.provider, settings.api_key(name)) for name, account in settings.accounts.items()}


def test_a_vendor_that_is_named_has_the_key_of_its_own_variable() -> None:
    keys = {
        "DEEPSEEK_API_KEY": "d",
        "AI_GATEWAY_API_KEY": "v",
        "BFL_API_KEY": "nobody named it",
        "STABILITY_API_KEY": "s",
    }
    found = named(" deepseek, vercel-ai-gateway,", **keys)
    assert found == {"deepseek": ("deepseek", "d"), "vercel-ai-gateway": ("vercel-ai-gateway", "v")}
    assert named("stability", **keys) == {"stability": ("stability", "s")}


def test_of_two_kinds_of_key_the_one_that_is_set_says_what_is_asked() -> None:
    assert named("openrouter", OPENROUTER_API_KEY="k") == {"openrouter": ("openrouter-key", "k")}
    both = {"OPENROUTER_API_KEY": "k", "OPENROUTER_MANAGEMENT_KEY": "m"}
    assert named("openrouter", **both) == {"openrouter": ("openrouter", "m")}


def test_variables_refine_it() -> None:
    environ = {"TWILIO_AUTH_TOKEN": "t", "CREDIT_MONITOR_ACCOUNTS__TWILIO__VARS__SID": "AC1"}
    settings = load(None, HOME | {"CREDIT_MONITOR_PROVIDERS": "twilio"} | environ)
    assert settings.accounts["twilio"].vars == {"sid": "AC1"}
    environ = {"CREDIT_MONITOR_ACCOUNTS__VERCEL_AI_GATEWAY__API_KEY": "own"}
    assert named("vercel-ai-gateway", **environ)["vercel-ai-gateway"] == ("vercel-ai-gateway", "own")


@pytest.mark.parametrize(
    ("vendors", "said"),
    [
        ("deepseek", "accounts.deepseek.api_key: is missing; set DEEPSEEK_API_KEY"),
        ("openrouter", "is missing; set OPENROUTER_MANAGEMENT_KEY or OPENROUTER_API_KEY"),
        ("deepsek", "accounts.deepsek.provider: names no provider; did you mean deepseek?"),
        ("zzz", "accounts.zzz.provider: names no provider; `credit-monitor providers` lists them, or describe it in"),
    ],
)
def test_what_is_missing_is_named(vendors: str, said: str) -> None:
    with pytest.raises(ConfigError, match="CREDIT_MONITOR_PROVIDERS") as caught:
        named(vendors)
    assert said in str(caught.value)
