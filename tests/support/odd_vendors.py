"""Vendors that nobody has built in, as ten lines of TOML each, with an answer and what has to come out of it."""

from typing import NamedTuple

URL = 'url = "https://api.example.com/balance"\n'


class Odd(NamedTuple):
    toml: str
    body: str
    expect: list[tuple[str, str | None, str]]


ODD: dict[str, Odd] = {
    "cents-in-a-nested-list": Odd(
        URL
        + 'balance = "wallets[?@.type==\'main\'].money.cents"\ndivide = 100\nunit = { path = "wallets[0].money.cur" }',
        '{"wallets":[{"type":"main","money":{"cents":1999,"cur":"EUR"}},{"type":"bonus","money":{"cents":5}}]}',
        [("", "19.99", "EUR")],
    ),
    "thousands-commas-and-a-dollar": Odd(
        URL + 'balance = "remaining"\nstrip = "$"\nunit = "USD"',
        '{"remaining":"-$1,234,567.8901234"}',
        [("", "-1234567.890123", "USD")],
    ),
    "currency-behind-the-number": Odd(
        URL + 'balance = "b"\nstrip = "kr"\nunit = "SEK"', '{"b":"99.50 kr"}', [("", "99.5", "SEK")]
    ),
    "sum-of-grants-less-use": Odd(
        URL + 'balance = "grants[*].amount - used"\nunit = { path = "grants[*].currency" }',
        '{"grants":[{"amount":5,"currency":"USD"},{"amount":"7.25","currency":"USD"}],"used":2.5}',
        [("", "9.75", "USD")],
    ),
    "optional-parts": Odd(
        URL + 'balance = "paid? + granted? - held?"\nunit = "tokens"',
        '{"paid":null,"granted":40}',
        [("", "40", "tokens")],
    ),
    "optional-parts-of-a-sum": Odd(
        URL + 'balance = "packs[*].left? + base"\nunit = "tokens"',
        '{"packs":[{"left":1},{"left":null},{}],"base":2}',
        [("", "3", "tokens")],
    ),
    "text-with-two-figures": Odd(
        URL + "format = \"text\"\npattern = 'limit=\\d+ left=(?P<balance>[\\d.,]+) (?P<unit>[A-Z]+)'",
        "OK limit=5000 left=1,250.50 GBP\n",
        [("", "1250.5", "GBP")],
    ),
    "xml": Odd(
        URL + 'format = "text"\npattern = \'<balance[^>]*>(?P<balance>[0-9.]+)</balance>\'\nunit = "EUR"',
        '<?xml version="1.0"?><response><balance currency="EUR">12.75</balance></response>',
        [("", "12.75", "EUR")],
    ),
    "cents-in-text": Odd(
        URL + 'format = "text"\npattern = \'^(?P<balance>-?[0-9]+);\'\ndivide = 100\nunit = "PLN"',
        "-250;ok",
        [("", "-2.5", "PLN")],
    ),
    "a-list-at-the-root": Odd(
        URL + 'each = "$"\nid = "code"\nbalance = "amount"\nunit = { path = "code" }',
        '[{"code":"USD","amount":1.5},{"code":"EUR","amount":"2"}]',
        [("USD", "1.5", "USD"), ("EUR", "2", "EUR")],
    ),
    "a-number-alone": Odd(URL + 'balance = "$"\nunit = "messages"', "4711", [("", "4711", "messages")]),
    "numbered-wallets": Odd(
        URL + 'each = "data.wallets"\nid = "wallet_id"\nbalance = "total.value - total.hold"\nunit = "USD"',
        '{"data":{"wallets":[{"wallet_id":17,"total":{"value":10,"hold":0.1}},{"wallet_id":18,"total":{"value":5,"hold":5}}]}}',
        [("17", "9.9", "USD"), ("18", "0", "USD")],
    ),
    "odd-names": Odd(
        URL + "balance = \"['credit balance']['left - now'] - ['credit balance'].held\"\nunit = \"USD\"",
        '{"credit balance":{"left - now":3,"held":1}}',
        [("", "2", "USD")],
    ),
    "several-by-name": Odd(
        URL + 'divide = 1000\n[[providers.odd.balances]]\nid = "sms"\nbalance = "a.sms"\nunit = "SMS"\ndivide = 1\n'
        '[[providers.odd.balances]]\nid = "money"\nbalance = "a.milli"\nunit = "EUR"',
        '{"a":{"sms":120,"milli":1500}}',
        [("sms", "120", "SMS"), ("money", "1.5", "EUR")],
    ),
    "debt-is-negative": Odd(URL + 'balance = "-owed"\nunit = "USD"', '{"owed":12.5}', [("", "-12.5", "USD")]),
    "exact-digits": Odd(
        URL + 'balance = "v"\nunit = "USD"', '{"v":123456789012.0000005}', [("", "123456789012", "USD")]
    ),
    "wei": Odd(
        URL + 'balance = "wei"\ndivide = 1000000000000000000\nunit = "ETH"',
        '{"wei":"1234567890123456789012"}',
        [("", "1234.567890", "ETH")],
    ),
    "no-limit": Odd(
        URL + 'balance = "limit - used"\nunlimited = "limit"\nunit = "USD"',
        '{"limit":null,"used":3}',
        [("", None, "USD")],
    ),
    "period-end-in-milliseconds": Odd(
        URL + 'balance = "left"\nresets_at = "period.end_ms"\nunit = "requests"',
        '{"left":12,"period":{"end_ms":4102444800000}}',
        [("", "12", "requests")],
    ),
    "an-envelope-with-a-code": Odd(
        URL + 'ok = { "meta.status" = ["ok", "OK"], success = true }\nabsent = ["error", "warnings"]\n'
        'balance = "result.credit"\nunit = "RUB"',
        '{"meta":{"status":"OK"},"success":true,"error":null,"warnings":[],"result":{"credit":0}}',
        [("", "0", "RUB")],
    ),
    "dollars-in-a-map": Odd(
        URL + 'balance = "by_team.*.usd"\nunit = "USD"',
        '{"by_team":{"a":{"usd":1},"b":{"usd":2.5}}}',
        [("", "3.5", "USD")],
    ),
    "the-last-entry": Odd(
        URL + 'balance = "history[-1].after"\nunit = "credits"',
        '{"history":[{"after":1},{"after":9}]}',
        [("", "9", "credits")],
    ),
    "a-decimal-in-a-filter": Odd(
        URL + 'balance = "t[?@.rate==1.1].left"\nunit = "credits"',
        '{"t":[{"rate":1.1,"left":4},{"rate":1,"left":5}]}',
        [("", "4", "credits")],
    ),
    "an-id-of-its-own": Odd(
        URL + 'id = "account.number"\nbalance = "account.left"\nunit = "USD"',
        '{"account":{"number":"A-9","left":1}}',
        [("A-9", "1", "USD")],
    ),
}
