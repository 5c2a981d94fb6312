"""Every mistake in a configuration file, with the exact line that is printed for it."""

from pathlib import Path

import pytest
from given import CANARY, HOME, in_file

from monitor.config import load

LENGTH = 'expected a length of time such as "90s", "5m", "1h30m" or "7d"'
NO_UNIT = 'has no unit; expected a length of time such as "90s" or "5m"'
CREDITS = "expected a number of credits, 0 or more"
LEVELS = 'expected levels such as { warning = …, critical = … }, or "off"'
BASE_URL = 'expected a URL such as "https://api.stability.ai", without user, query or fragment'
OPEN = "would send the key unencrypted; expected https:// (or allow_http = true, in a network you trust)"
DATABASE = 'expected "sqlite:////path/to/file.db" or "postgresql://user@host/name"'
PASSWORD = 'expected "postgresql://user@host/name"; in a password, %40 is @, %3A is :, %2F is /, %3F is ?, %23 is #'
RATE = 'expected requests in a time such as "75/10s", or "off"'
PROXY = 'expected a URL such as "http://proxy.example.org:3128"'
TWICE = "is given twice, here and as"
REMOVE = "; remove one"
ALIKE = "only in case or in - _ . and a variable could not tell them apart"
NAME = "is not a name; expected letters and digits with single - _ . between them, 64 at most"
FEW = "names no channel that is configured; expected one of mail, ops"
TWO = "[accounts.studio]\n[accounts.attic]\n"
CHANNELS = "[channels.ops]\n[channels.mail]\n"
TABLES = (
    "timezone, price_per_credit, heartbeat_url, heartbeat_url_file, database, poll, retention, web, "
    "rules, accounts, organizations, channels, providers"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # unknown names, at every level
        ("timezon = 'UTC'", ":1: timezon: unknown setting; did you mean timezone?"),
        ("[account.studio]", ":1: account: unknown setting; did you mean accounts?"),
        ("[quokka]", f":1: quokka: unknown setting; expected one of {TABLES}"),
        ("[poll]\n\nevry = '5m'", ":3: poll.evry: unknown setting; did you mean every?"),
        ("poll.evry = '5m'", ":1: poll.evry: unknown setting; did you mean every?"),
        ("poll = { evry = '5m' }", ":1: poll.evry: unknown setting; did you mean every?"),
        ("[database]\nuri = 'x'", ":2: database.uri: unknown setting; did you mean url?"),
        ("[rules]\ncredit = 'off'", ":2: rules.credit: unknown setting; did you mean credits?"),
        ("[accounts.a]\napikey = 5", ":2: accounts.a.apikey: unknown setting; did you mean api_key?"),
        ("[channels.a]\nmin_sevrity = 5", ":2: channels.a.min_sevrity: unknown setting; did you mean min_severity?"),
        (
            "[accounts.a]\n[organizations.x]\nnotfy = []",
            ":3: organizations.x.notfy: unknown setting; did you mean notify?",
        ),
        (
            "[accounts.a]\n[organizations.x]\nrules.stale = '5m'",
            ":3: organizations.x.rules.stale: unknown setting; did you mean stale_after?",
        ),
        (
            "[accounts.a]\n[organizations.x.rules]\n# no\nconfirm_check = 5",
            ":4: organizations.x.rules.confirm_check: unknown setting; did you mean confirm_checks?",
        ),
        (
            "rules.credits = { waring = 5 }",
            ":1: rules.credits.waring: unknown setting; did you mean warning?",
        ),
        (
            "[rules.credits]\nwarning = 5\nclear = { critcal = 7 }",
            ":3: rules.credits.clear.critcal: unknown setting; did you mean critical?",
        ),
        # tables and texts of the wrong type
        ("poll = 5", ":1: poll: expected a table"),
        ("accounts = []", ":1: accounts: expected a table"),
        ("[[channels]]\nurl = 'x'", ":1: channels: expected a table"),
        ("[accounts]\nstudio = 'x'", ":2: accounts.studio: expected a table"),
        ("[accounts.a]\n[organizations.x]\nrules = 'off'", ":3: organizations.x.rules: expected a table"),
        ("[accounts.a]\n[organizations.x]\nid = 123", ":3: organizations.x.id: expected text in quotes"),
        ("[accounts.a]\napi_key = 5", ":2: accounts.a.api_key: expected text in quotes"),
        (f"[accounts.a]\napi_key = ['{CANARY}']", ":2: accounts.a.api_key: expected text in quotes"),
        ("[accounts.a]\napi_key_file = ' '", ":2: accounts.a.api_key_file: is empty"),
        (
            f"[channels.a]\nurl = '''{CANARY}\nx'''",
            ":2: channels.a.url: holds a line break or another character that cannot be printed",
        ),
        # words
        ("[database]\nmigrate = 'never'", ':2: database.migrate: expected "auto" or "manual"'),
        ("[accounts.a]\ngeneration = 'v2'", ':2: accounts.a.generation: expected "v1" or "v1alpha"'),
        ("[accounts.a]\ngeneration = []", ':2: accounts.a.generation: expected "v1" or "v1alpha"'),
        ("[accounts.a]\norganizations = ['x']", ':2: accounts.a.organizations: expected "all" or "listed"'),
        (
            "[channels.a]\nmin_severity = 'high'",
            ':2: channels.a.min_severity: expected "info" or "warning" or "critical"',
        ),
        ("timezone = 'Europe/Berln'", ":1: timezone: is not a time zone; did you mean Europe/Berlin?"),
        (
            "timezone = '../../etc/passwd'",
            ':1: timezone: is not a time zone; expected a name such as "Europe/Berlin" or "UTC"',
        ),
        ("timezone = 5", ":1: timezone: expected text in quotes"),
        # lengths of time and numbers
        ("[poll]\nevery = 300", f":2: poll.every: {NO_UNIT}"),
        ("[poll]\nevery = '300'", f":2: poll.every: {NO_UNIT}"),
        ("[poll]\nevery = 1.5", f":2: poll.every: {NO_UNIT}"),
        ("[poll]\nevery = true", f":2: poll.every: {LENGTH}"),
        ("[poll]\nevery = '-5m'", f":2: poll.every: {LENGTH}"),
        ("[poll]\nevery = '5 m'", f":2: poll.every: {LENGTH}"),
        ("[poll]\nevery = '5m5m'", ":2: poll.every: names a unit twice"),
        ("[poll]\ndeadline = '0s'", ":2: poll.deadline: expected more than nothing and at most ten years"),
        ("[poll]\ndeadline = '999999999w'", ":2: poll.deadline: expected more than nothing and at most ten years"),
        (
            "[rules]\nstale_after = '9m'",
            ":2: rules.stale_after: must be at least twice poll.every, or one late poll would alarm",
        ),
        *(
            (f"[rules]\nconfirm_checks = {number}", ":2: rules.confirm_checks: expected a whole number from 1 to 1000")
            for number in ("0", "-1", "1001", "1.5", "true", "'two'", "[]")
        ),
        *(
            (f"accounts.a.rate_limit = {rate}", f":1: accounts.a.rate_limit: {RATE}")
            for rate in ("75", "'75'", "'0/10s'", "'75/10'", "'-1/1s'")
        ),
        # ladders
        ("rules.credits = 5", f":1: rules.credits: {LEVELS}"),
        ("rules.credits = 'on'", f":1: rules.credits: {LEVELS}"),
        ("rules.credits = {}", ':1: rules.credits: has no level; expected { warning = …, critical = … }, or "off"'),
        ("rules.credits = { warning = -1 }", f":1: rules.credits.warning: {CREDITS}"),
        ("rules.credits = { warning = '7d' }", f":1: rules.credits.warning: {CREDITS}"),
        ("rules.credits = { warning = nan }", f":1: rules.credits.warning: {CREDITS}"),
        ("rules.credits = { warning = 1e12 }", f":1: rules.credits.warning: {CREDITS}"),
        ("rules.credits = { warning = true }", f":1: rules.credits.warning: {CREDITS}"),
        ("rules.runway = { warning = 7 }", f":1: rules.runway.warning: {NO_UNIT}"),
        ("rules.credits = { warning = 5, critical = 5 }", ":1: rules.credits.critical: must be lower than warning"),
        ("[rules.runway]\ninfo = '2d'\nwarning = '3d'", ":3: rules.runway.warning: must be lower than info"),
        (
            "[rules.credits]\nwarning = 9\nclear.warning = 8",
            ":3: rules.credits.clear.warning: must not be lower than the level itself",
        ),
        (
            "rules.credits = { warning = 9, clear = { critical = 8 } }",
            ":1: rules.credits.clear.critical: there is no level of that name to clear",
        ),
        ("rules.credits = { warning = 9, clear = 10 }", ":1: rules.credits.clear: expected a table"),
        (
            "[accounts.a]\n[organizations.x]\nid = 'o'\nrules.credits = { warning = 1, critical = 2 }",
            ":4: organizations.x.rules.credits.critical: must be lower than warning",
        ),
        (
            "[accounts.a]\n[organizations.x.rules]\n[organizations.x.rules.credits]\nwarning = 1\ncritical = 2",
            ":5: organizations.x.rules.credits.critical: must be lower than warning",
        ),
        (
            "[accounts.a]\n[organizations.x.rules]\nstale_after = '1s'",
            ":3: organizations.x.rules.stale_after: must be at least twice poll.every, or one late poll would alarm",
        ),
        # addresses
        *(
            (f"accounts.a.base_url = '{url}'", f":1: accounts.a.base_url: {BASE_URL}")
            for url in (
                *("api.stability.ai", "ftp://host", "https://", "https://me:canary8f2c61@host", "http://h:99999"),
                *("https://h/?canary8f2c61", "http://[::1", "http://a b"),
            )
        ),
        *(
            (f"[accounts.a]\nbase_url = '{url}'", f":2: accounts.a.base_url: {OPEN}")
            for url in ("http://api.stability.ai", "HTTP://10.0.0.1:8080", "http://localhost.example.org")
        ),
        (
            "accounts.a = { allow_http = 'yes' }",
            ":1: accounts.a.allow_http: expected true or false",
        ),
        *(
            (f"accounts.a.proxy = '{url}'", f":1: accounts.a.proxy: {PROXY}")
            for url in (f"me:{CANARY}@proxy:3128", f"socks5://me:{CANARY}@proxy", f"http://me:{CANARY}@:80")
        ),
        *(
            (f"database.url = '{url}'", f":1: database.url: {DATABASE}")
            for url in ("x.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", f"mysql://me:{CANARY}@db/credits")
        ),
        *(
            (f"database.url = 'postgresql://me:{url}@db/credits'", f":1: database.url: {PASSWORD}")
            for url in (f"{CANARY}@x", f"{CANARY}/x", f"{CANARY}#x", f"{CANARY}?x")
        ),
        # settings against each other
        (
            "[accounts.a]\napi_key = 'x'\napi_key_file = 'y'",
            f":2: accounts.a.api_key: {TWICE} api_key_file{REMOVE}",
        ),
        ("[channels.a]\nurl_file = 'y'\nurl = 'x'", f":3: channels.a.url: {TWICE} url_file{REMOVE}"),
        (
            f"{TWO}[organizations.x]\naccount = 'studo'",
            ":4: organizations.x.account: names no account that is configured; did you mean studio?",
        ),
        (f"{TWO}[organizations.x]", ":3: organizations.x.account: is missing; expected one of attic, studio"),
        ("[organizations.x]", ":1: organizations.x.account: is missing; there is none: add [accounts.NAME]"),
        (f"[accounts.a]\n{CHANNELS}[organizations.x]\nnotify = ['ops', 'sms']", f":5: organizations.x.notify.2: {FEW}"),
        (
            f"[accounts.a]\n{CHANNELS}[organizations.x]\nnotify = '{CANARY}'",
            f":5: organizations.x.notify.1: {FEW}",
        ),
        (
            "[accounts.a]\n[organizations.x]\nnotify = 5",
            ':3: organizations.x.notify: expected a list of names such as ["ops", "mail"]',
        ),
        (
            "[accounts.a]\n[organizations.x]\nid = 'o'\n[organizations.y]\nid = 'o'",
            ":4: organizations.y: is the same organization as x; remove one",
        ),
        (
            f"{TWO}[organizations.x]\nid = 'o'\naccount = 'studio'\n[organizations.y]\nid = 'o'\naccount = 'attic'",
            ":6: organizations.y: is the same organization as x; remove one",
        ),
        (
            "[accounts.a]\n[organizations.x]\n[organizations.y]",
            ":3: organizations.y: is the same organization as x; remove one",
        ),
        (
            "[channels.my-ops]\n[channels.My_Ops]",
            f":2: channels.My_Ops: differs from my-ops {ALIKE}",
        ),
        *((f"[channels.'{name}']", f":1: channels.{name}: {NAME}") for name in ("a b", "ü", "-a", "a__b", "x" * 65)),
        ('[channels."a\\u001b[31m"]', f":1: channels.a?[31m: {NAME}"),
    ],
)
def test_a_mistake_is_told_with_its_line_its_key_and_what_is_expected(tmp_path: Path, text: str, expected: str) -> None:
    assert in_file(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    "account",
    [
        *(f"base_url = 'http://{host}'" for host in ("127.0.0.1:8080", "127.8.8.8", "localhost/api", "[::1]:80")),
        "base_url = 'https://api.stability.ai'",
        "base_url = 'http://vendor.internal'\nallow_http = true",
    ],
)
def test_http_is_for_this_machine_unless_it_is_allowed_by_name(tmp_path: Path, account: str) -> None:
    (tmp_path / "c.toml").write_text(f"[accounts.a]\norganizations = 'all'\n{account}")
    assert load(tmp_path / "c.toml", HOME).accounts["a"].base_url.startswith("http")
