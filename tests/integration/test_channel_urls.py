"""What is said of a channel's URL before anything is sent: the real cause, and what to write instead."""

import warnings

import pytest

from monitor import channels
from monitor.channels import service, urls

MAIL = "mailtos://user:secret@mail.example.com?from=credits@example.com&to=ops@example.com"


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what its plug-ins use
        service.load()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://example.com/hook", "write jsons://… for the same address"),
        ("http://example.com/hook", "write json://… for the same address"),
        ("https://hooks.slack.com/workflows/T1/2", "Slack is written slack://…"),
        ("https://discord.com/api/hooks/1/2", "Discord is written discord://…"),
        ("https://api.telegram.org/bot123:abc/sendMessage", "Telegram is written tgram://…"),
        ("https://events.pagerduty.com/v2/enqueue", "Pager Duty is written pagerduty://…"),
        ("https://prod-12.westus.logic.azure.com:443/workflows/a/triggers", "is written workflow://…"),
        ("mailtos://user:p@ss@mail.example.com", "the character @ in a user name or password is written %40"),
        ("mailtos://user:p#ss@mail.example.com", "the character # in a user name or password is written %23"),
        ("mailtos://user:p/ss@mail.example.com", "the character / in a user name or password is written %2F"),
        ("mailtos://user:p?ss@mail.example.com", "the character ? in a user name or password is written %3F"),
        ("slack://a b", "the URL has a space in it, which is written %20"),
        ("slack://a\tb", "which is written %09"),
        ("slacks://a/b/c", "names no service that Apprise knows; did you mean slack://?"),
        ("tgram://abc/@channel", "something in it is missing or malformed; see https://"),
        (MAIL.replace("user", "jürgen"), "its login holds a character outside ASCII"),
        (MAIL.replace("secret", "geheimß"), "its password holds a character outside ASCII"),
        (MAIL.replace("=ops", "=büro"), "a recipient holds the character ü"),
        (MAIL.replace("=credits@", "=kredit@bücher."), "the sender holds the character ü"),
        (MAIL + "&bcc=%C3%A4@example.com", "a recipient (bcc) holds the character ä"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(url, hint):
    wrong = service.problem(url)
    assert wrong is not None
    assert hint in wrong
    for secret in ("secret", "geheim", "p@ss", "ops@", "abc", "123"):
        assert secret not in wrong


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", []),
        (MAIL + "&retry=3&wait=1.5&redirect=yes&optional=yes", ["optional=", "redirect=", "retry=", "wait="]),
        ("jsons://example.com/?cto=1&rto=2", ["cto=", "rto="]),
    ],
)
def test_what_works_and_should_be_known_is_said(url, words):
    assert service.problem(url) is None
    cautions = service.cautions(url)
    assert len(cautions) == len(words)
    assert all(word in caution for word, caution in zip(words, cautions, strict=True))
    assert all("; " in caution for caution in cautions)  # what to do stands behind it


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mailto://user:secret@mail.example.com", "unencrypted to another machine; write mailtos://"),
        ("mailto://user:secret@mail.example.com?mode=starttls", None),
        ("mailto://user:secret@gmail.com", None),
        ("mailtos://user:secret@mail.example.com?mode=insecure", "unencrypted to another machine; leave mode= out"),
        ("mailtos://user:secret@mail.example.com?verify=no", "verify=no: whoever answers there is believed"),
        ("mailto://127.0.0.1:25?from=a@example.com", None),
        ("json://192.0.2.1/", "write jsons://"),
        ("json://192.0.2.1/?verify=no", "write jsons://"),
        ("json://localhost/", None),
        ("jsons://localhost/?verify=no", "verify=no"),
        ("jsons://hook.example.com/?verify=False", "verify=no"),
        ("jsons://hook.example.com/?%76erify=0", "verify=no"),
        ("jsons://hook.example.com/?verify=yes", None),
        ("gotify://gotify.example.com/abcdefghijklmno", "write gotifys://"),
        ("ntfy://topic", None),
        ("ntfy://ntfy.example.com/topic", "write ntfys://"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?verify=no", "verify=no"),
    ],
)
def test_a_url_that_sends_in_clear_or_to_whoever_answers_is_named_with_what_to_write(url, words):
    assert service.problem(url) is None
    said = service.insecure(url)
    assert (said is None) is (words is None)
    assert words is None or (words in said and said.count("; ") == 1 and "allow_insecure = true" in said)


def test_a_target_that_the_plug_in_leaves_out_is_said():
    (caution,) = service.cautions("clicksend://user:secret@15551235553/abc")
    assert "cannot be understood" in caution


def test_a_login_in_the_query_is_decoded_once():
    url = "mailtos://mail.example.com?user=me%2540x&pass=a%2540b%25c%26&from=a@example.com"
    opened = service.open_service(url)
    assert not isinstance(opened, str)
    assert (opened.user, opened.password) == ("me%40x", "a%40b%c&")


def test_what_a_url_sets_of_retries_is_overruled():
    opened = service.open_service(MAIL + "&retry=3&wait=5&optional=yes&redirect=yes")
    assert not isinstance(opened, str)
    assert (opened.retry, opened.wait, opened.optional, opened.redirects) == (0, 0.0, False, False)


async def test_the_daemon_s_side_hears_the_same():
    examined = await channels.examine({"a": "json://192.0.2.1/", "b": "https://x.example", "c": "pagerduty://x@y"})
    assert examined["a"].error is None
    assert examined["a"].cautions == tuple(service.cautions("json://192.0.2.1/"))
    assert (examined["b"].error, examined["b"].cautions) == (service.problem("https://x.example"), ())
    assert [examined[name].pages for name in "abc"] == [False, False, True]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.9.9.9"])
def test_this_machine_is_known_by_its_addresses(host):
    assert urls.is_here(host)
