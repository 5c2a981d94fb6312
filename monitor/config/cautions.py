"""What is no mistake and still worth a word: the warnings of a configuration.

Refuses nothing.
"""

from collections.abc import Iterable, Mapping

from monitor.config.schema import PollTable
from monitor.config.settings import Account, Organization, Secret


def open_secrets(secrets: Iterable[Secret]) -> list[str]:
    """A warning for every secret that stands in the file."""
    return [
        f"{one.place}:{one.line}: {one.key}: the secret itself stands in this file; a file of its own is safer"
        for one in secrets
        if one.value is not None and one.line
    ]


def slow_checks(poll: PollTable) -> list[str]:
    """A warning where one organization that does not answer delays the next poll of its siblings."""
    if poll.deadline < poll.every or "deadline" not in poll.model_fields_set:
        return []
    return ["poll.deadline: is not shorter than poll.every; a check that hangs delays the account's next poll"]


def idle_accounts(accounts: Mapping[str, Account], organizations: Mapping[str, Organization]) -> list[str]:
    """A warning for every account that watches nothing."""
    used = {one.account for one in organizations.values()}
    return [
        f'accounts.{name}: watches nothing; set organizations = "all", or add an organization with account = "{name}"'
        for name, account in accounts.items()
        if not account.organizations_all and name not in used
    ]
