"""How many examples a property is tried with: few in `make test`, and ten times as many before a release."""

from hypothesis import HealthCheck, settings

USUAL = 100
THOROUGH = 10 * USUAL
CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # the machine's business; databases are emptied


def register() -> None:
    """Make the profiles known: the usual one, and `pytest --hypothesis-profile=thorough`."""
    settings.register_profile("usual", deadline=None, max_examples=USUAL, suppress_health_check=CHECKS)
    settings.register_profile("thorough", deadline=None, max_examples=THOROUGH, suppress_health_check=CHECKS)
    settings.load_profile("usual")


def examples(count: int) -> settings:
    """Try a property with so many examples, or as many times more as the profile says."""
    return settings(max_examples=count * settings.default.max_examples // USUAL)
