"""What each receiving service needs beyond what Apprise does: one table, an entry per service.

Nothing about one service stands anywhere else.  Imported by the daemon and by the child, so without Apprise; a service
is found by any of the schemas of its plug-in (`pagerduty` in `pagerduty://…`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

REPEATABLE: Final = re.compile(r"[\w.: -]{1,40}")  # what of an answer may be repeated in a log


@dataclass(frozen=True, slots=True)
class OnCall:
    """How a service that keeps an incident open until somebody resolves it by its key is told which one is meant.

    Unless the URL says otherwise its plug-in's action is `map`: `success` resolves, everything else opens.
    """

    key: str  # the attribute of the plug-in that carries the key
    keys: tuple[str, ...] = ()  # the parameters of a URL that set it, where they have other names
    path: re.Pattern[str] | None = None  # a URL whose path sets it
    actions: tuple[str, ...] = ("action",)  # the parameters of a URL that say what a message does
    info: str | None = None  # what the plug-in is to do with `info`, which would open nothing
    by_alias: bool = False  # it resolves what it remembers of its requests, and must be told to use the key instead


@dataclass(frozen=True, slots=True)
class Says:
    """A word in a JSON answer of 2xx that tells yes from no: every value at `path` is to be one of `good`.

    A path has the keys between dots, `[]` for each item of a list, `|` before another path.  Where nothing stands there
    it is a no only when `required`.  A value among `for_good` is a refusal that trying again will not mend.
    """

    path: str
    good: tuple[object, ...]
    required: bool = False
    for_good: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Lacks:
    """Something that stands in a JSON answer of 2xx only when it is a no, unless it is empty or zero."""

    path: str


@dataclass(frozen=True, slots=True)
class Reads:
    """Words in an answer of 2xx that is a no: a regular expression."""

    bad: str


@dataclass(frozen=True, slots=True)
class No:
    """A refusal inside an answer of 2xx: what stood there, when that may be repeated."""

    what: str
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiving service.  What is left out is as in most of them."""

    schemas: tuple[str, ...]
    hosts: tuple[str, ...] = ()  # whose web addresses Apprise takes for its URLs, too
    answers: tuple[Says | Lacks | Reads, ...] = ()  # each has to say yes; without any, every 2xx is a yes
    widened_to: int | None = None  # characters of the text, where the plug-in's own figure is too small
    max_characters: int | None = None  # of subject and text, where that figure is too large
    max_bytes: int | None = None  # the same in UTF-8
    max_characters_if: Mapping[str, int] = field(default_factory=dict)  # by what is set in the plug-in
    on_call: OnCall | None = None  # it pages people
    attaches: bool = True  # what the plug-in takes, it shows
    hook_hosts: tuple[str, ...] = ()  # of its web hooks, by their ends, where the plug-in does not tell
    mail: bool = False  # it arrives in a mailbox, which sorts by subject

    @property
    def joins(self) -> bool:
        """Whether a message to it may be about several incidents."""
        return self.on_call is None

    def refusal(self, body: bytes) -> No | None:
        """Return the no inside an answer of 2xx; None when it is a yes."""
        refusals = [no for answer in self.answers if (no := _refusal(answer, body))]
        return next((no for no in refusals if no.for_good), refusals[0] if refusals else None)


KINDS: Final = ("info", "success", "warning", "failure")
MAPPED: Final = ("action", *(f":{kind}" for kind in KINDS))  # of a plug-in whose actions are mapped kind by kind
SPLUNK_ENTITY: Final = re.compile(
    r"(?:splunk|victorops)://[^/?]*/+[^/?]|https?://alert\.victorops\.com/(?:[^/?]+/+){6}[^/?]", re.IGNORECASE
)

UNLISTED: Final = Receiver(())

SLACK_FOR_GOOD: Final = (
    *("invalid_auth", "account_inactive", "token_revoked", "token_expired", "not_authed", "no_permission"),
    *("channel_not_found", "not_in_channel", "is_archived", "missing_scope", "org_login_required"),
)

TABLE: Final = (
    # --- mail ---
    Receiver(("mailto", "mailtos"), widened_to=100_000, mail=True),  # what mail programs show whole; servers take more
    Receiver(
        (
            *("acs", "azure", "brevo", "groundmail", "mailersend", "mailgun", "o365", "postmark"),
            *("resend", "sendgrid", "sendpulse", "ses", "smtp2go", "sparkpost"),
        ),
        mail=True,
    ),
    # --- on call ---
    Receiver(("pagerduty",), on_call=OnCall("dedup")),
    Receiver(("opsgenie",), on_call=OnCall("alias", actions=MAPPED, info="new", by_alias=True)),
    Receiver(("jira",), on_call=OnCall("alias", actions=MAPPED, info="new", by_alias=True)),
    Receiver(
        ("splunk", "victorops"),
        hosts=("alert.victorops.com",),
        answers=(Says("result", ("success",)),),
        on_call=OnCall("entity_id", path=SPLUNK_ENTITY, actions=MAPPED, info="WARNING"),
    ),
    Receiver(("incidentio",), hosts=("api.incident.io",), on_call=OnCall("dedup")),
    Receiver(("ilert",), on_call=OnCall("dedup")),
    Receiver(("firehydrant",), hosts=("signals.firehydrant.com",), on_call=OnCall("dedup")),
    Receiver(("squadcast",), hosts=("api.squadcast.com", "api.eu.squadcast.com"), on_call=OnCall("dedup")),
    Receiver(
        ("signl4",),
        on_call=OnCall("external_id", keys=("external_id", "dedup"), actions=("action", "status")),
    ),
    Receiver(("goalert", "goalerts"), on_call=OnCall("dedup")),
    Receiver(
        ("pagertree",),
        on_call=OnCall("thirdparty", keys=("thirdparty", "tid", "dedup", ":id"), actions=("action", ":event_type")),
    ),
    # --- chats ---
    Receiver(("dingtalk",), answers=(Says("errcode", (0,), required=True),), max_bytes=19_000, attaches=False),
    Receiver(("wecombot",), answers=(Says("errcode", (0,), required=True),), max_bytes=4_096, attaches=False),
    Receiver(
        ("feishu", "lark"),
        answers=(Says("code|StatusCode", (0,), required=True),),
        max_bytes=19_000,
        attaches=False,
    ),
    Receiver(
        ("workflow", "workflows"),
        answers=(Reads(r"failed with status|HTTP error|error code:? ?[45]\d\d|Microsoft Teams endpoint returned"),),
        widened_to=20_000,
        max_bytes=25_000,
        attaches=False,
        hook_hosts=(".logic.azure.com", ".powerplatform.com", ".webhook.office.com", "outlook.office.com"),
    ),
    Receiver(
        ("tgram",),
        answers=(Says("error_code", (), for_good=(401, 403, 404)), Says("ok", (True,), required=True)),
        max_characters=4_096,
    ),
    Receiver(
        ("slack",),
        # A webhook answers with the one word; a workflow with JSON or nothing, a bot with JSON.
        answers=(Says("error", (), for_good=SLACK_FOR_GOOD), Says("ok", (True,)), Reads(r"^(?!ok$)[a-z_]+$")),
        max_characters_if={"use_blocks": 3_000},  # of the one section into which all of it goes
    ),
    Receiver(("zulip",), answers=(Says("result", ("success",), required=True),), attaches=False),
    Receiver(
        ("rocket", "rockets"),
        answers=(Says("success|status", (True, "success"), required=True),),  # the latter at a login
        attaches=False,
    ),
    Receiver(("mmost", "mmosts"), widened_to=16_383),
    Receiver(("gchat",), max_bytes=4_096, attaches=False),
    Receiver(("wxteams", "webex"), max_bytes=7_439),
    Receiver(("ntfy", "ntfys"), max_bytes=4_096),
    Receiver(("pover",), answers=(Says("status", (1,), required=True),)),
    Receiver(("synology", "synologys"), answers=(Says("success", (True,)),)),
    Receiver(("ncloud", "nclouds"), answers=(Says("ocs.meta.status", ("ok",)),)),
    Receiver(("nctalk", "nctalks"), answers=(Says("ocs.meta.status", ("ok",)),)),
    Receiver(("kakaotalk", "kakao"), answers=(Says("result_code", (0,)),)),
    Receiver(("wechat",), max_bytes=2_048),
    # --- phones and screens ---
    Receiver(("join",), answers=(Says("success", (True,)),)),
    Receiver(("kodi", "kodis", "xbmc", "xbmcs"), answers=(Lacks("error"),)),
    Receiver(("onesignal",), answers=(Lacks("errors"),)),
    Receiver(("fcm",), answers=(Lacks("failure"),)),
    Receiver(("pushdeer", "pushdeers"), answers=(Says("code", (0,)),)),
    Receiver(("bark", "barks"), answers=(Says("code", (200,)),)),
    Receiver(("qq",), answers=(Says("success", (True,)),)),
    Receiver(("schan",), answers=(Says("code", (0,)), Says("errno", (0,)))),
    Receiver(("spugpush",), answers=(Says("code", (200,)),)),
    Receiver(("push",), answers=(Says("success", (True,)),)),
    Receiver(("pjet", "pjets"), answers=(Lacks("error"),)),
    Receiver(("notifiarr",), answers=(Says("result", ("success",)),)),
    Receiver(("notifyapp",), answers=(Lacks("failureCount"),)),
    # --- text messages ---
    Receiver(("vonage", "nexmo"), answers=(Says("messages[].status", ("0", 0)),)),
    Receiver(
        ("clicksend",), answers=(Says("response_code", ("SUCCESS",)), Says("data.messages[].status", ("SUCCESS",)))
    ),
    Receiver(("clickatell",), answers=(Says("messages[].accepted", (True,)),)),
    Receiver(("burstsms", "kudosity"), answers=(Says("error.code", ("SUCCESS",)),)),
    Receiver(("bulkvs",), answers=(Says("Results[].Status", ("SUCCESS",)),)),
    Receiver(("msg91",), answers=(Says("type", ("success",)),)),
    Receiver(("kavenegar",), answers=(Says("return.status", (200,)),)),
    Receiver(("seven",), answers=(Says("success", ("100", 100)), Reads(r"^(?!10[01]$)\d{3}$"))),
    Receiver(("smsmgr", "smsmanager"), answers=(Reads(r"^ERROR\b"),)),
    Receiver(("exotel",), answers=(Lacks("RestException"),)),
    # --- mail ---
    Receiver(("smtp2go",), answers=(Lacks("data.failed"), Lacks("data.error_code"))),
    Receiver(("sparkpost",), answers=(Lacks("results.total_rejected_recipients"),)),
    Receiver(("postmark",), answers=(Says("ErrorCode", (0,)),)),
    Receiver(("sendpulse",), answers=(Says("result", (True,)),)),
)

RECEIVERS: Final[Mapping[str, Receiver]] = {schema: receiver for receiver in TABLE for schema in receiver.schemas}
HOSTS: Final[Mapping[str, Receiver]] = {host: receiver for receiver in TABLE for host in receiver.hosts}


def find(schema: str) -> Receiver:
    """Return what is known of a service, by any of its plug-in's schemas; one without an entry is like most."""
    return RECEIVERS.get(schema.lower(), UNLISTED)


def find_url(url: str) -> Receiver:
    """Return the same by a URL: one of Apprise's, or a web address that Apprise takes for one."""
    schema, _, rest = url.partition("://")
    if schema.lower() in ("http", "https"):
        return HOSTS.get(re.split("[/?:]", rest, maxsplit=1)[0].lower(), UNLISTED)
    return find(schema)


# --- what a URL sets itself -------------------------------------------------------------------------------------------


def own_keys(url: str, on_call: OnCall) -> list[str]:
    """Return what sets the key in a URL: its own, one for all incidents."""
    names = [f"{name}=" for name in _parameters(url) if name in (on_call.keys or (on_call.key,))]
    return [*names, "the end of its path"] if on_call.path and on_call.path.match(url) else names


def own_actions(url: str, on_call: OnCall) -> list[str]:
    """Return the parameters of a URL that say what a message does; `:i` is short for `:info`."""
    return [name for name, value in _parameters(url).items() if _is_action(name, value, on_call)]


def _is_action(name: str, value: str, on_call: OnCall) -> bool:
    if name == "action":
        return not "map".startswith(value.lower())  # that is what it would be
    if name.startswith(":") and len(name) > 1:
        return any(action.startswith(name) for action in on_call.actions)
    return name in on_call.actions


def _parameters(url: str) -> dict[str, str]:
    """Return the parameters of a URL as Apprise reads them: those without a value count as left out."""
    pairs = (pair.partition("=") for pair in re.split("[&;]", url.partition("?")[2]))
    named = {unquote(name).strip().lower(): unquote(value).strip() for name, _, value in pairs}
    return {name: value for name, value in named.items() if name and value}


# --- answers ----------------------------------------------------------------------------------------------------------


def _refusal(answer: Says | Lacks | Reads, body: bytes) -> No | None:
    if isinstance(answer, Reads):
        text = body.decode(errors="replace").strip()
        return No("its answer says so") if re.search(answer.bad, text) else None
    content = parse(body)
    paths = answer.path.split("|")
    values = [(path.rpartition(".")[2], value) for path in paths for value in _values(content, path)]
    if isinstance(answer, Lacks):
        return next((_no(name, value) for name, value in values if value), None)
    if not values:
        return No(f"no {' or '.join(paths)} in its answer") if answer.required else None
    wrong = next(((name, value) for name, value in values if not _among(value, answer.good)), None)
    return wrong and _no(*wrong, for_good=_among(wrong[1], answer.for_good))


def parse(body: bytes) -> Any:
    """Return an answer as JSON; None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _values(content: Any, path: str) -> Iterator[Any]:
    key, _, rest = path.partition(".")
    if not isinstance(content, dict) or key.removesuffix("[]") not in content:
        return
    value = content[key.removesuffix("[]")]
    for item in value if key.endswith("[]") and isinstance(value, list) else [value]:
        if rest:
            yield from _values(item, rest)
        else:
            yield item


def _among(value: object, words: tuple[object, ...]) -> bool:
    """True is no 1, and False no 0."""
    return any(type(value) is type(word) and value == word for word in words)


def _no(name: str, value: object, *, for_good: bool = False) -> No:
    told = str(value) if isinstance(value, str | int | float) else ""
    return No(f"{name.removesuffix('[]')} {told}" if REPEATABLE.fullmatch(told) else name, for_good)


def find_host(host: str) -> str | None:
    """Return the schema of the service whose web hooks are at a host, of those that the table knows."""
    return next((receiver.schemas[0] for receiver in TABLE for end in receiver.hook_hosts if host.endswith(end)), None)


# --- how a message travels --------------------------------------------------------------------------------------------

# Schemas that send in clear where another one of the same service does not; a test compares them with Apprise's.
_NAMES: Final = """
amqp apprise bark deltachat emby enigma2 evolution flowtriq fluxer form goalert gorush gotify hassio humhub irc jellyfin
json kodi lametric mailto mastodon matrix misskey mmost mqtt ncloud nctalk notica notifico ntfy onebot opsimate parsep
pinglet pjet psafer pushdeer rocket session signal smpp smseagle synology toot trigv xbmc xml xmpp
"""
IN_CLEAR: Final = frozenset(re.findall(r"\w+", _NAMES))
_HERE: Final = re.compile(r"(?:[^/?#]*@)?(?:127(?:\.\d+){3}|localhost|\[::1\])(?:[:/?#]|$)", re.IGNORECASE)


def may_be_insecure(url: str) -> bool:
    """Return whether what is sent may be read or changed by others, as far as can be seen without Apprise."""
    schema, _, rest = url.partition("://")
    names = {name.lower() for name in _parameters(url)}
    return bool({"verify", "mode"} & names) or (schema.lower() in IN_CLEAR and not _HERE.match(rest))
