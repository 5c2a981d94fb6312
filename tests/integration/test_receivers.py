"""Every service that Apprise reaches by HTTP, by its real plug-in: what its receiver does, and what is made of it."""

import asyncio
import gzip
import json
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from apprise import NotifyBase
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from proxy import Internet, Reply, Request, internet
from services import OTHERS, SERVICES

from monitor.channels import answers, receivers, service
from monitor.channels.limits import CUT, Content, Limits, fit
from monitor.channels.outcomes import Wanted

MESSAGE = {
    "kind": "failure",
    "subject": "Subject",
    "mail_subject": "Subject of a mail",
    "text": "its text",
    "markdown": "its *text*",
    "html": "<p>its text</p>",
}
# Those that docs/channels.md names, each with what tells it that a message is not wanted, in an answer of 200.
NO = [
    ("dingtalk", {"errcode": 310000, "errmsg": "keywords not in content"}, "errcode 310000", True),
    ("dingtalk", "", "no errcode in its answer", True),
    ("wecombot", {"errcode": 45009, "errmsg": "api freq out of limit"}, "errcode 45009", True),
    ("feishu", {"code": 9499, "msg": "Bad Request"}, "code 9499", True),
    ("feishu", {"StatusCode": 11232, "StatusMessage": "frequency limited"}, "StatusCode 11232", True),
    ("lark", {"code": 9499, "msg": "Bad Request"}, "code 9499", True),
    ("lark", {"ok": "whatever"}, "no code or StatusCode in its answer", True),
    ("workflows", "Webhook message delivery failed with status 413", "its answer says so", True),
    ("workflows", "Microsoft Teams endpoint returned HTTP error 429 with ContextId x", "its answer says so", True),
    ("tgram", {"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked"}, "error_code 403", False),
    ("tgram", {"ok": False}, "ok False", True),
    ("slack", "no_service", "its answer says so", True),
    ("slack-bot", {"ok": False, "error": "channel_not_found"}, "error channel_not_found", False),
    ("slack-bot", {"ok": False, "error": "fatal_error"}, "error fatal_error", True),
    ("pover", {"status": 0, "errors": ["user identifier is invalid"]}, "status 0", True),
    ("zulip", {"result": "error", "msg": "Stream does not exist"}, "result error", True),
    ("rockets", {"success": False, "error": "error-not-allowed"}, "success False", True),
    ("splunk", {"result": "failure", "message": "x"}, "result failure", True),
    ("synologys", {"success": False, "error": {"code": 404}}, "success False", True),
    ("nctalks", {"ocs": {"meta": {"status": "failure", "statuscode": 998}}}, "status failure", True),
    ("join", {"success": False, "errorMessage": "User not authorised"}, "success False", True),
    ("kodis", {"jsonrpc": "2.0", "error": {"code": -32601}}, "error", True),
    ("onesignal", {"id": "", "errors": ["All included players are not subscribed"]}, "errors", True),
    ("pushdeer", {"code": 80501, "error": "key not found"}, "code 80501", True),
    ("barks", {"code": 400, "message": "failed"}, "code 400", True),
    ("qq", {"success": False, "reason": "x"}, "success False", True),
    ("schan", {"code": 40001, "message": "x"}, "code 40001", True),
    ("spugpush", {"code": 204, "msg": "x"}, "code 204", True),
    ("push", {"success": False}, "success False", True),
    ("pjets", {"error": {"id": 2}}, "error", True),
    ("notifiarr", {"result": "error"}, "result error", True),
    ("notifyapp", {"successCount": 1, "failureCount": 1}, "failureCount 1", True),
    ("vonage", {"messages": [{"status": "4", "error-text": "Bad Credentials"}]}, "status 4", True),
    (
        "clicksend",
        {"response_code": "SUCCESS", "data": {"messages": [{"status": "INVALID_RECIPIENT"}]}},
        "status INVALID_RECIPIENT",
        True,
    ),
    ("clickatell", {"messages": [{"accepted": False, "error": "x"}]}, "accepted False", True),
    ("burstsms", {"error": {"code": "AUTH_FAILED"}}, "code AUTH_FAILED", True),
    ("bulkvs", {"Results": [{"To": "1", "Status": "FAILED"}]}, "Status FAILED", True),
    ("msg91", {"type": "error", "message": "x"}, "type error", True),
    ("kavenegar", {"return": {"status": 411, "message": "x"}}, "status 411", True),
    ("seven", "900", "its answer says so", True),
    ("smsmgr", "ERROR|103|x", "its answer says so", True),
    ("exotel", {"RestException": {"Status": 400}}, "RestException", True),
    ("smtp2go", {"data": {"succeeded": 0, "failed": 1}}, "failed 1", True),
    ("sparkpost", {"results": {"total_rejected_recipients": 1}}, "total_rejected_recipients 1", True),
    ("postmark", {"ErrorCode": 406, "Message": "inactive recipient"}, "ErrorCode 406", True),
    ("sendpulse", {"result": False, "access_token": "t"}, "result False", True),
    ("kakaotalk", {"access_token": "t", "expires_in": 99, "result_code": -1}, "result_code -1", True),
]
URLS = {name: one.url for name, one in SERVICES.items()} | {
    "slack-bot": "slack://xoxb-1234-1234-abc124/#one",
}
# The services that docs/channels.md has something to say about.
LISTED = sorted(
    {name for name, *_ in NO} | {"ntfys", "gchat", "discord", "pagerduty", "opsgenie", "mmosts", "line", "wxteams"}
)


@pytest.fixture(scope="module", autouse=True)
def plugins() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries of services that we never use
        service.load()
    yield
    OPENED.clear()  # a plug-in that is deleted with the interpreter complains
    service.open_service.cache_clear()


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug-ins wait seconds between two requests."""
    monkeypatch.setattr(NotifyBase, "throttle", lambda *_, **__: None)


@pytest.fixture
async def net(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    async with internet() as hosts:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, hosts.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield hosts


async def send(url: str, *, seconds: float = 20, wanted: Wanted = service.ALL, **message: Any) -> dict[str, Any]:
    """As a child does it, in a thread of this process."""
    service.open_service.cache_clear()
    whole = f"{url}{'&' if '?' in url else '?'}verify=no"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nobody verifies the proxy's certificate
        return await asyncio.to_thread(service.send, whole, MESSAGE | message, seconds=seconds, wanted=wanted)


# --- every service ----------------------------------------------------------------------------------------------------


def test_every_plugin_is_here():
    known = {service.PLUGINS[schema] for schema in (*SERVICES, *OTHERS)}
    assert sorted(plugin.__name__ for plugin in set(service.PLUGINS.plugins()) - known) == []


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_says_yes_and_no(name, net):
    one = SERVICES[name]
    net.answer = lambda request: Reply(*one.answer(request.line))
    answer = await send(one.url)
    assert (answer["error"], answer["unknown"]) == (None, False)
    assert net.requests
    assert all("Accept-Encoding: identity" in request.head for request in net.requests)
    net.answer = lambda _: Reply(500, b"{}")
    answer = await send(one.url)
    assert (answer["error"], answer["retryable"]) == ("failed with HTTP 500", True)


@pytest.mark.parametrize("name", [name for name, one in SERVICES.items() if one.targets])
async def test_one_refused_target_costs_the_other_nothing(name, net):
    one = SERVICES[name]
    good, bad = one.targets

    def refuse(request: Request) -> Reply:
        return Reply(403, b"{}") if bad in request.everything else Reply(*one.answer(request.line))

    net.answer = refuse
    answer = await send(one.url)
    outcomes = {target["key"]: target["error"] for target in answer["targets"]}
    assert sorted(map(str, outcomes.values())) == ["None", "refused with HTTP 403"]
    assert set(answer["seen"]) == set(outcomes)
    taken, waiting = sorted(outcomes, key=lambda key: outcomes[key] is not None)
    net.requests.clear()
    net.answer = lambda request: Reply(*one.answer(request.line))
    wanted = Wanted("", frozenset({waiting}), frozenset({taken, *answer["parts"]}))
    again = await send(one.url, wanted=wanted)
    assert [(target["key"], target["error"]) for target in again["targets"]] == [(waiting, None)]
    assert any(bad in request.everything for request in net.requests)
    assert not any(good in request.everything for request in net.requests)


PHONES = ("15551230001", "15551230002")
# Those that answer for each target by itself, inside a 200: what they say of those in a request.
REPLIES: dict[str, tuple[tuple[str, str], Callable[[list[str], str], Any]]] = {
    "cm": (
        PHONES,
        lambda asked, bad: {
            "errorCode": 201 if bad in asked else 0,
            "messages": [{"to": f"00{one}", "messageErrorCode": 303 * (one == bad)} for one in asked],
        },
    ),
    "atalk": (
        PHONES,
        lambda asked, bad: {
            "SMSMessageData": {
                "Recipients": [{"number": f"+{one}", "statusCode": 403 if one == bad else 101} for one in asked]
            }
        },
    ),
    "mobilemsg": (
        ("61412345678", "61412345679"),
        lambda asked, bad: {
            "status": "complete",
            "results": [{"status": "error" if one == bad else "success"} for one in asked],
        },
    ),
    "gorushs": (
        ("device-one", "device-two"),
        lambda asked, bad: {"logs": [{"type": "failed-push", "token": bad, "error": "x"}] if bad in asked else []},
    ),
}
URLS_OF_SEVERAL = {"gorushs": "gorushs://receiver.example/device-one/device-two?platform=ios"}


@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.parametrize("name", REPLIES)
async def test_one_target_refused_in_the_reply_for_several_costs_the_other_nothing(name, refused, net):
    marks, reply = REPLIES[name]
    good, bad = marks[1 - refused], marks[refused]

    def answer(request: Request, refuse: str) -> Reply:
        return Reply(200, json.dumps(reply([mark for mark in marks if mark in request.everything], refuse)).encode())

    url = URLS_OF_SEVERAL.get(name) or f"{SERVICES[name].url}{'&' if '?' in SERVICES[name].url else '?'}batch=yes"
    net.answer = lambda request: answer(request, bad)
    outcomes = {target["key"]: target["error"] for target in (await send(url))["targets"]}
    assert sorted(map(str, outcomes.values())) == ["None", "not accepted by the service"]
    taken, waiting = sorted(outcomes, key=lambda key: outcomes[key] is not None)
    net.requests.clear()
    net.answer = lambda request: answer(request, "nobody")
    again = await send(url, wanted=Wanted("", frozenset({waiting}), frozenset({taken})))
    assert [(target["key"], target["error"]) for target in again["targets"]] == [(waiting, None)]
    assert (bad in net.requests[0].everything, good in net.requests[0].everything) == (True, False)


async def test_one_request_for_several_targets_has_one_outcome_for_all(net):
    net.answer = lambda _: Reply(429, b"", {"Retry-After": "120"})
    answer = await send(URLS_OF_SEVERAL["gorushs"])
    assert [(one["error"], one["retry_after"]) for one in answer["targets"]] == [("refused with HTTP 429", 120)] * 2
    net.answer = lambda _: Reply(delay=3600)
    answer = await send(f"{URLS_OF_SEVERAL['gorushs']}&rto=0.2", seconds=0.2)
    assert [(one["error"], one["unknown"]) for one in answer["targets"]] == [(answers.UNANSWERED, True)] * 2


async def test_a_target_that_failed_last_time_comes_last(net):
    one = SERVICES["slack"]
    net.answer = lambda request: Reply(*one.answer(request.line))
    first = (await send(one.url))["targets"][0]["key"]
    net.requests.clear()
    answer = await send(one.url, wanted=Wanted(later=frozenset({first})))
    assert [target["key"] for target in answer["targets"]].index(first) == 1
    assert "#two" in net.requests[0].body


async def test_a_target_that_is_new_gets_nothing_old_and_one_that_left_is_gone(net):
    net.answer = lambda _: Reply(200, b"ok")
    url = SERVICES["slack"].url
    both = await send(url)
    one, two = (target["key"] for target in both["targets"])
    net.requests.clear()
    wanted = Wanted("", frozenset({two}), frozenset({one}))
    answer = await send(url.replace("#two", "#three"), wanted=wanted)
    assert net.requests == []
    assert (answer["error"], answer["targets"]) == (None, [])
    assert two not in answer["seen"]


# --- a no inside a 200 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "body", "what", "retryable"), NO)
async def test_a_no_inside_a_200_is_a_no(name, body, what, retryable, net):
    text = body if isinstance(body, str) else json.dumps(body)
    net.answer = lambda _: Reply(200, text.encode())
    answer = await send(URLS[name])
    assert answer["error"] == f"refused, inside an answer of HTTP 200 ({what})"
    assert answer["retryable"] is retryable
    assert not answer["unknown"]


def test_nothing_of_an_answer_is_repeated_that_could_be_anything():
    dingtalk = receivers.find("dingtalk")
    secret = "https://user:canary@host/"
    assert str(dingtalk.refusal(json.dumps({"errcode": secret}).encode())) == "No(what='errcode', for_good=False)"
    for odd in (b"", b"null", b"[]", b'"x"', b"[" * 50_000, b'{"errcode": {"a": 1}}', b"\xff\xfe"):
        assert dingtalk.refusal(odd) is not None
    for odd in (b"", b"null", b"[]", b'{"messages": 5}', b'{"messages": [5]}', b"[" * 50_000):
        assert receivers.find("vonage").refusal(odd) is None


async def test_the_status_comes_from_the_answer_and_not_from_a_text_in_it(net):
    net.answer = lambda _: Reply(403, b'{"code": 40301, "http": 403, "error": "forbidden"}')
    answer = await send(SERVICES["ntfys"].url)
    assert (answer["error"], answer["retryable"]) == ("refused with HTTP 403", False)


# --- pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "headers", "body", "seconds"),
    [
        ("ntfys", {"Retry-After": "120"}, {"code": 42901}, 120),
        ("jsons", {"Retry-After": "later"}, {"retry_after": 7}, 7),
        ("discord", {}, {"message": "You are being rate limited.", "retry_after": 64.57}, 64.57),
        ("discord", {"Retry-After": "65"}, {"retry_after": 64.57}, 65),
        ("tgram", {}, {"ok": False, "error_code": 429, "parameters": {"retry_after": 35}}, 35),
        ("matrixs", {}, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2000}, 2),
        ("lfg", {}, {"retryAfterSeconds": 30}, 30),
        ("slack", {"Retry-After": "-1"}, {}, None),
        ("slack", {}, {"retry_after": "soon"}, None),
        ("slack", {}, [], None),
    ],
)
async def test_the_pause_that_a_service_asks_for_is_kept(name, headers, body, seconds, net):
    net.answer = lambda _: Reply(429, json.dumps(body).encode(), headers)
    answer = await send(SERVICES[name].url)
    assert (answer["error"], answer["retry_after"]) == ("refused with HTTP 429", seconds)
    assert len(net.requests) == len(SERVICES[name].targets or (1,))  # the plug-in does not try again by itself


async def test_a_pause_may_be_an_instant(net):
    at = datetime.now(UTC) + timedelta(minutes=10)
    net.answer = lambda _: Reply(503, b"", {"Retry-After": format_datetime(at, usegmt=True)})
    answer = await send(SERVICES["jsons"].url)
    assert 500 < answer["retry_after"] <= 600


# --- slow and endless -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTED)
async def test_a_receiver_that_does_not_answer_may_have_the_message(name, net):
    net.answer = lambda _: Reply(delay=3600)
    url = URLS[name]
    answer = await send(f"{url}{'&' if '?' in url else '?'}rto=0.2", seconds=0.2)
    assert answer["error"] == answers.UNANSWERED
    assert answer["unknown"]


@pytest.mark.parametrize("name", LISTED)
def test_every_service_is_waited_for(name):
    service.open_service.cache_clear()
    opened = service.open_service(URLS[name])
    assert isinstance(opened, NotifyBase)
    service._set_timeouts(opened, 60)
    assert opened.request_timeout == (12, 54)


async def test_what_comes_compressed_does_not_grow_beyond_what_is_read(net):
    bomb = gzip.compress(b"\0" * 50_000_000)
    net.answer = lambda _: Reply(500, bomb, {"Content-Encoding": "gzip"})
    read = []
    judge = answers.judge

    def watch(response: Any, *args: Any, **options: Any) -> Any:
        read.append(len(response.content))
        return judge(response, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "judge", watch)
        answer = await send(SERVICES["jsons"].url)
    assert answer["error"] == "failed with HTTP 500"
    assert read == [answers.MAX_BODY]


async def test_what_comes_compressed_and_is_small_is_read(net):
    net.answer = lambda _: Reply(200, gzip.compress(b'{"errcode": 5}'), {"Content-Encoding": "gzip"})
    assert (await send(SERVICES["dingtalk"].url))["error"] == "refused, inside an answer of HTTP 200 (errcode 5)"


# --- too long ---------------------------------------------------------------------------------------------------------

LONG = "\n".join(f"line {number} of a message that is longer than anything" for number in range(2000))


@pytest.mark.parametrize("name", LISTED)
async def test_a_single_message_is_cut_at_a_line_and_a_joined_one_is_not_sent(name, net):
    net.answer = lambda request: Reply(*SERVICES[name.removesuffix("-bot")].answer(request.line))
    if name == "slack-bot":
        net.answer = lambda _: Reply(200, b'{"ok": true, "channel": "C1"}')
    joined = await send(URLS[name], text=LONG, markdown=LONG, html=LONG, members=5)
    assert (joined["error"], joined["too_long"]) == ("too long for the service", True)
    assert net.requests == []
    answer = await send(URLS[name], text=LONG, markdown=LONG, html=LONG)
    assert answer["error"] is None
    assert any("cut" in request.everything or "u0063ut" in request.everything for request in net.requests)


@pytest.mark.parametrize(
    ("status", "body"), [(413, b""), (400, b"message is too long"), (400, b'{"error": "msg_too_long"}')]
)
async def test_a_refusal_for_length_is_not_repeated_as_it_is(status, body, net):
    sizes = []

    def answer(request: Request) -> Reply:
        sizes.append(len(json.loads(request.body)["message"]))
        return Reply(status, body) if sizes[-1] > 3000 else Reply()

    net.answer = answer
    result = await send(SERVICES["jsons"].url, text=LONG[:10_000])
    assert result["error"] is None
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 3
    assert json.loads(net.requests[-1].body)["message"].splitlines()[-1] == CUT


async def test_a_joined_message_that_a_service_does_not_take_is_to_be_taken_apart(net):
    net.answer = lambda _: Reply(400, b"Bad Request")
    assert (await send(SERVICES["jsons"].url, members=2))["too_long"]
    assert not (await send(SERVICES["jsons"].url))["too_long"]
    assert len(net.requests) == 2


async def test_a_digest_says_how_many_more_there_were(net):
    rows = "\n".join(f"organization-{number:03}  100.00  3 days" for number in range(80))
    text = f"Balances\n--------\n\n{rows}\n\ncredit-monitor, summary for channel ops\n"
    markdown = f"**Balances**\n\n```\n{rows}\n```\n\ncredit-monitor, summary\n"
    answer = await send(URLS["discord"], text=text, markdown=markdown, members=1, counted=True)
    assert answer["error"] is None
    said = json.loads(net.requests[0].body)
    content = said.get("content") or said["embeds"][0]["description"]
    assert len(content) <= 2000
    *_, last_row, ending = [line for line in content.splitlines() if line.strip("`").strip()]
    shown = int(re.findall(r"organization-(\d+)", last_row)[0]) + 1
    assert ending == f"… and {80 - shown} more"
    assert content.count("```") % 2 == 0


# What receivers hold where their plug-ins do not know it: characters, bytes.
HOLDS = {
    "ntfys": (None, 4096),
    "gchat": (None, 4096),
    "wecombot": (None, 4096),
    "dingtalk": (None, 20_000),
    "feishu": (None, 20_000),
    "workflows": (None, 28_000),
    "wxteams": (None, 7439),
    "mmosts": (16_383, None),
    "tgram": (4096, None),
    "discord": (2000, None),
    "pover": (1024, None),
    "zulip": (10_000, None),
    "line": (5000, None),
    "slack-blocks": (3000, None),
}


CUTTING = re.compile("maxlen|max_line|overflow|format(?!__)|dialect|_build_send_calls")  # what decides over a cut


def opened_services() -> Iterator[tuple[str, Limits]]:
    """One service of each kind: what says the same of itself, and stands alike in both tables, is cut alike."""
    kinds = set()
    for name, url in (URLS | {"slack-blocks": f"{SERVICES['slack'].url}?blocks=yes"}).items():
        service.open_service.cache_clear()
        opened = service.open_service(url)
        if isinstance(opened, NotifyBase):
            limits = Limits(opened, service.find_receiver(opened))
            own = {attribute: getattr(opened, attribute) for attribute in dir(opened) if CUTTING.search(attribute)}
            own = {attribute: getattr(value, "__func__", value) for attribute, value in own.items()}
            kind = str((own, limits.characters, limits.receiver.max_bytes, HOLDS.get(name)))
            if kind not in kinds:
                kinds.add(kind)
                yield name, limits


LETTERS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=60)
SUBJECTS = st.text("abcdefgh ä€", min_size=1, max_size=400)


@examples(8)
@given(
    lines=st.lists(LETTERS, min_size=1, max_size=40),
    times=st.integers(1, 60),
    subject=SUBJECTS,
    counted=st.booleans(),
)
def test_nothing_exceeds_what_a_service_holds(lines, times, subject, counted):
    """Over what each plug-in says of itself, and what the table of receivers adds."""
    text = "\n".join(lines * times) + "\nfooter\n"
    if not OPENED:
        OPENED.update(opened_services())
    for name, limits in OPENED.items():
        content = Content(subject, text, limits.service.resolve_format())
        cut = fit(limits, content, counted=counted)
        (piece,) = limits._pieces(cut)
        assert 0 < len(piece["body"]) <= limits.service.body_maxlen, name
        assert len(piece["title"]) <= max(limits.service.title_maxlen, 0), name
        characters, size = HOLDS.get(name, (None, None))
        assert len(piece["body"]) <= (characters or 10**9), name
        assert len((piece["title"] + piece["body"]).encode()) <= (size or 10**9), name
        if cut.body != text and cut.body.splitlines()[:-1]:
            assert cut.body.endswith(CUT) or re.search(r"… and \d+ more$", cut.body), name


OPENED: dict[str, Limits] = {}
