"""A URL for every service that Apprise reaches by HTTP, and what its receiver answers when all is well.

`1` and `2` of a URL's targets are told apart by the marks in `MARKS`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HOST = "receiver.example"
PHONES = "15551230001/15551230002"
MAILS = "one@example.com/two@example.com"
MARKS = (
    ("15551230001", "15551230002"),
    ("one@example.com", "two@example.com"),
    ("one", "two"),
    ("1000000001", "1000000002"),
    ("a" * 32, "b" * 32),
)
A40, UUID = "a" * 40, "11111111-2222-4333-8444-555555555555"


@dataclass(frozen=True)
class Service:
    """How to reach one service."""

    url: str
    body: Any = ""  # of the answer that says yes
    status: int = 200
    targets: tuple[str, str] | None = None  # what tells the requests for the two apart

    paths: Mapping[str, Any] = field(default_factory=dict)  # other answers, by a part of the path

    def answer(self, line: str) -> tuple[int, bytes]:
        """The status and the body for a request."""
        for part, (status, body) in self.paths.items():
            if part in line:
                return status, json.dumps(body).encode()
        return self.status, (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def _two(url: str, body: Any = "", status: int = 200, *, marks: tuple[str, str] | None = None) -> Service:
    """A service with two targets, whose requests have these marks in them."""
    marks = marks or next((pair for pair in MARKS if all(mark in url for mark in pair)), None)
    assert marks is not None, url
    return Service(url, body, status, marks)


EMBY = {
    "AuthenticateByName": (200, {"AccessToken": "t", "Id": "1", "User": {"Id": "1"}}),
    "/Sessions?": (200, [{"Id": "one"}]),
    "/Sessions ": (200, [{"Id": "one"}]),
}
MATRIX = {
    ".well-known": (404, {}),
    "/login": (200, {"access_token": "t", "user_id": "@user:receiver.example", "home_server": HOST}),
    "/join/": (200, {"room_id": "!room:receiver.example"}),
}
BLUESKY = {
    "resolveHandle": (200, {"did": "did:plc:1"}),
    "did:plc:1": (
        200,
        {"service": [{"type": "AtprotoPersonalDataServer", "serviceEndpoint": f"https://{HOST}"}]},
    ),
    "createSession": (200, {"accessJwt": "a", "refreshJwt": "b", "did": "did:plc:1"}),
}

SERVICES = {
    "46elks": _two(f"46elks://user:pw@15551230000/{PHONES}"),
    "acs": _two(f"acs://from@example.com/{'A' * 40}=/x.communication.azure.com/{MAILS}", status=202),
    "awswhatsapp": _two(
        f"awswhatsapp://AKIAAAAAAAAAAAAAAAAA/{'a' * 40}/us-east-1/phone-number-id-1/{PHONES}",
        {"messageId": "1"},
        marks=("NTEyMzAwMDEi", "NTEyMzAwMDIi"),  # in Base64
    ),
    "apprises": Service(f"apprises://{HOST}/token"),
    "atalk": _two(f"atalk://user@key/{PHONES}"),
    "bale": _two("bale://1:abc/1000000001/1000000002", {"ok": True}),
    "barks": _two(f"barks://{HOST}/one/two", {"code": 200}),
    "betterstack": Service("betterstack://token"),
    "bsky": Service("bsky://user@pw", {"uri": "x", "cid": "y"}, paths=BLUESKY),
    "brevo": _two(f"brevo://key:from@example.com/{MAILS}", status=201),
    "bulksms": _two(f"bulksms://id:secret@{PHONES}", status=201),
    "bulkvs": _two(f"bulkvs://user:pw@15551230000/{PHONES}", {"Results": [{"Status": "SUCCESS"}]}),
    "burstsms": _two(f"burstsms://key:secret@sender/{PHONES}", {"error": {"code": "SUCCESS"}}),
    "cm": _two(f"cm://{UUID}/{PHONES}", {"errorCode": 0}),
    "chanify": Service("chanify://token"),
    "clickatell": _two(f"clickatell://key/{PHONES}", {"messages": [{"accepted": True}]}, 202),
    "clicksend": _two(f"clicksend://user:key@{PHONES}", {"response_code": "SUCCESS"}),
    "cliq": _two(f"cliq://1001.{'a' * 32}.{'b' * 32}/one/two", status=204),
    "d7sms": _two(f"d7sms://token@{PHONES}", {"request_id": "1"}),
    "dapnet": _two("dapnet://user:pw@df1abc/df2abc", status=201, marks=("DF1ABC", "DF2ABC")),
    "dingtalk": Service("dingtalk://token/", {"errcode": 0, "errmsg": "ok"}),
    "discord": Service(f"discord://{'1' * 24}/{'a' * 64}", status=204),
    "dot": Service("dot://key@device/"),
    "eight00com": _two(f"eight00com://token@15551230000/{PHONES}"),
    "embys": Service(f"embys://user:pw@{HOST}/", paths=EMBY, status=204),
    "enigma2s": Service(f"enigma2s://{HOST}", {"result": True}),
    "evolutions": _two(f"evolutions://key@{HOST}/instance/{PHONES}", status=201),
    "exotel": _two(f"exotel://sid:token@15551230000/{PHONES}", {"SMSMessage": {"Status": "queued"}}),
    "feishu": Service("feishu://token", {"code": 0, "StatusCode": 0}),
    "firehydrant": Service("firehydrant://token", status=202),
    "flock": _two("flock://token/g:one/g:two", {"uid": "1"}),
    "flowtriqs": Service(f"flowtriqs://key@{HOST}/path/"),
    "fluxer": Service("fluxer://1234567890123/aaaaaaaaaaaaaaaaaaaa", status=204),
    "forms": Service(f"forms://{HOST}/"),
    "freemobile": Service("freemobile://user@pw"),
    "github": Service("github://token@owner/repo", {"id": 1}, 201),
    "goalerts": Service(f"goalerts://{HOST}/{UUID}", status=202),
    "gchat": Service("gchat://workspace/key/token", {"name": "x"}),
    "gorushs": Service(f"gorushs://{HOST}/token?platform=ios", {"logs": []}),
    "gotifys": Service(f"gotifys://{HOST}/token", {"id": 1}),
    "groundmail": _two(f"groundmail://key:from@example.com/{MAILS}"),
    "groupme": Service("groupme://bot", status=202),
    "guilded": Service(f"guilded://{'1' * 24}/{'a' * 64}", status=204),
    "gupshup": _two(f"gupshup://app:key@15551230000/{PHONES}", {"status": "submitted"}, 202),
    "hassios": Service(f"hassios://{HOST}/token"),
    "httpsms": _two(f"httpsms://key@15551230000/{PHONES}", {"status": "success"}),
    "humhubs": Service(f"humhubs://token@{HOST}/1/2", {"id": 5}),
    "ifttt": _two("ifttt://key/one/two"),
    "ilert": Service("ilert://key", status=202),
    "incidentio": Service("incidentio://source/token", status=202),
    "infobip": _two(f"infobip://key@{HOST}/{PHONES}", {"messages": [{"status": {"groupName": "PENDING"}}]}),
    "instagram": _two("instagram://token/1000000001/1000000002"),
    "jellyfins": Service(f"jellyfins://user:pw@{HOST}/", paths=EMBY, status=204),
    "jira": Service("jira://key/@one", {"requestId": "1"}, 202),
    "join": _two(f"join://{'c' * 32}/{'a' * 32}/{'b' * 32}", {"success": True}),
    "jsons": Service(f"jsons://{HOST}/"),
    "kakaotalk": Service("kakaotalk://id/refresh", {"access_token": "a", "expires_in": 100, "result_code": 0}),
    "kaleyra": _two(f"kaleyra://sid:key@sender/{PHONES}", {"error": {}}, 202),
    "kavenegar": _two(f"kavenegar://key/{PHONES}", {"return": {"status": 200}}),
    "kodis": Service(f"kodis://{HOST}", {"jsonrpc": "2.0", "result": "OK"}),
    "kook": Service("kook://token/1234567890", {"code": 0}),
    "kumulos": Service(f"kumulos://{UUID}/{'a' * 36}/"),
    "lametrics": Service(f"lametrics://{'a' * 32}@{HOST}/"),
    "lark": Service("lark://abcdef12-3456-7890-abcd-ef1234567890", {"code": 0}),
    "lauther": Service("lauther://lpt_abc"),
    "lfg": Service(f"lfg://{'a' * 32}", {"fired": True, "devices": 1}),
    "line": _two("line://token/one/two"),
    "mailersend": _two(f"mailersend://key:from@example.com/{MAILS}", status=202),
    "mailgun": _two(f"mailgun://from@example.com/{'a' * 32}-{'b' * 8}-{'c' * 8}/{MAILS}"),
    "mastodons": Service(f"mastodons://token@{HOST}/", {"id": "1"}),
    "matrixs": Service(
        f"matrixs://user:pw@{HOST}/%23one/%23two?v=3",
        {"event_id": "e"},
        targets=("join/#one", "join/#two"),
        paths=MATRIX,
    ),
    "mmosts": _two(f"mmosts://{HOST}/token?to=one,two", "ok"),
    "msgbird": _two(f"msgbird://{'a' * 25}/15551230000/{PHONES}", status=201),
    "misskeys": Service(f"misskeys://token@{HOST}"),
    "mobilemsg": _two(
        "mobilemsg://user:pw@sender/61412345678/61412345679",
        {"status": "complete", "results": [{"status": "success"}]},
        marks=("61412345678", "61412345679"),
    ),
    "msg91": Service(f"msg91://template@{'a' * 23}/15551230001", {"type": "success"}),
    "nclouds": _two(f"nclouds://admin:pw@{HOST}/one/two", {"ocs": {"meta": {"status": "ok"}}}),
    "nctalks": _two(f"nctalks://admin:pw@{HOST}/one/two", {"ocs": {"meta": {"status": "ok"}}}, 201),
    "notica": Service("notica://token"),
    "notifiarr": _two("notifiarr://key/1000000001/1000000002", {"result": "success"}),
    "notifico": Service("notifico://1/hook"),
    "notifyapp": Service("notifyapp://device/token", {"successCount": 1, "failureCount": 0}),
    "notifyre": Service("notifyre://key/15551230001", {"success": True}),
    "ntfys": _two(f"ntfys://{HOST}/one/two", {"id": "1"}),
    "octopush": _two(f"octopush://me@example.com/key/{PHONES}", status=201),
    "o365": _two(
        f"o365://from@example.com/tenant/{UUID}/secret/{MAILS}", {"access_token": "t", "expires_in": 10, "id": "1"}, 202
    ),
    "onebots": _two(f"onebots://{HOST}/@1000000001/@1000000002", {"status": "ok", "retcode": 0}),
    "onesignal": _two("onesignal://app@key/one/two", {"id": "1"}, marks=('"one"', '"two"')),
    "opsgenie": Service("opsgenie://key/@one", {"requestId": "1"}, 202),
    "opsimates": Service(f"opsimates://key@{HOST}", status=201),
    "pagerduty": Service("pagerduty://key@apikey", status=202),
    "pagertree": Service("pagertree://int_abcdefg", status=202),
    "parseps": Service(f"parseps://app:key@{HOST}"),
    "pinglets": Service(f"pinglets://token@{HOST}/namespace/topic"),
    "pingram": _two(f"pingram://pingram_sk_abc/{MAILS}", {"trackingId": "1"}),
    "plivo": _two(f"plivo://{'a' * 25}@{'b' * 40}/15551230000/{PHONES}", status=202),
    "postmark": _two(f"postmark://key:from@example.com/{MAILS}", {"ErrorCode": 0}),
    "prowl": Service(f"prowl://{A40}"),
    "pbul": _two("pbul://token/one/two", {"active": True}),
    "pushdeer": Service("pushdeer://key", {"code": 0}),
    "pushme": Service("pushme://token", "success"),
    "psafer": _two("psafer://key/one/two", {"status": 1, "success": "ok"}),
    "pushward": Service("pushward://hlk_abc"),
    "pushed": _two("pushed://key/secret/@one/@two"),
    "pjets": Service(f"pjets://{HOST}/secret", {"status": "ok"}),
    "pover": _two(
        f"pover://{'u' * 30}@{'t' * 30}/phone/tablet/%23{'g' * 30}",  # a request for the devices, one for the group
        {"status": 1, "request": "1"},
        marks=("phone,tablet", "g" * 30),
    ),
    "pushplus": Service(f"pushplus://{'a' * 32}", {"code": 200}),
    "pushy": _two("pushy://key/one/two", {"success": True, "id": "1"}),
    "qq": Service(f"qq://{'a' * 32}", {"success": True}),
    "reddit": _two(
        "reddit://user:pw@app/secret/one/two", {"access_token": "t", "expires_in": 10, "json": {"errors": []}}
    ),
    "resend": _two(f"resend://key:from@example.com/{MAILS}", {"id": "1"}),
    "revolt": _two("revolt://token/one/two", {"_id": "1"}),
    "ringc": _two(
        f"ringc://15551230000:{'t' * 20}@client/secret/{PHONES}", {"access_token": "t", "expires_in": 99, "id": 1}
    ),
    "rockets": _two(
        f"rockets://user:pw@{HOST}/#one/#two",
        {"status": "success", "success": True, "data": {"authToken": "a", "userId": "b"}},
    ),
    "ryver": Service("ryver://organization/aaaaaaaaaaaaaaa"),
    "ses": _two(
        f"ses://from@example.com/AKIAAAAAAAAAAAAAAAAA/{A40}/us-east-1/{MAILS}",
        "<SendRawEmailResponse><SendRawEmailResult><MessageId>1</MessageId></SendRawEmailResult></SendRawEmailResponse>",
    ),
    "sfr": _two(f"sfr://user:pw@space/{PHONES}", {"success": True}),
    "signl4": Service("signl4://secret", {"eventId": "1"}),
    "smsc": Service("smsc://user:pw@15551230001", {"id": 1, "cnt": 1}),
    "smseagles": _two(f"smseagles://token@{HOST}/{PHONES}", {"result": {"status": "ok", "message_id": "1"}}),
    "smsmgr": _two(f"smsmgr://key@{PHONES}"),
    "smstunnel": _two(f"smstunnel://key/{PHONES}", {"success": True}),
    "smtp2go": _two(f"smtp2go://from@example.com/key/{MAILS}", {"data": {"succeeded": 1, "failed": 0}}),
    "sns": _two(f"sns://AKIAAAAAAAAAAAAAAAAA/{A40}/us-east-1/{PHONES}", "<x/>"),
    "sendgrid": _two(f"sendgrid://key:from@example.com/{MAILS}", status=202),
    "sendpulse": _two(f"sendpulse://from@example.com/id/secret/{MAILS}", {"result": True, "access_token": "t"}),
    "schan": Service("schan://token", {"code": 0}),
    "serwersms": _two(f"serwersms://user:pw@sender/{PHONES}", {"success": True}),
    "seven": _two(f"seven://key/{PHONES}", {"success": "100"}),
    "signals": _two(f"signals://{HOST}/15551230000/{PHONES}", status=201),
    "signalgrid": _two("signalgrid://client/one/two"),
    "spush": Service("spush://token", {"status": "OK"}),
    "sinch": _two(f"sinch://{'a' * 32}:{'b' * 32}@15551230000/{PHONES}", {"id": "1"}, 201),
    "slack": _two("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#one/#two", "ok"),
    "sparkpost": _two(
        f"sparkpost://from@example.com/{A40}/{MAILS}",
        {"results": {"total_rejected_recipients": 0, "total_accepted_recipients": 1}},
    ),
    "spike": Service(f"spike://{'a' * 32}"),
    "splunk": Service("splunk://routing@key", {"result": "success"}),
    "spugpush": Service(f"spugpush://{'a' * 32}", {"code": 200}),
    "squadcast": Service("squadcast://key", status=202),
    "stackfield": Service(f"stackfield://{UUID}"),
    "strmlabs": Service(f"strmlabs://{A40}/"),
    "synologys": Service(f"synologys://{HOST}/token", {"success": True}),
    "push": Service(f"push://{UUID}", {"success": True}),
    "tgram": _two("tgram://123456789:abcdefg_hijklmnop/1000000001/1000000002", {"ok": True, "result": {}}),
    "telesign": _two(f"telesign://{UUID}:{'A' * 40}@{PHONES}", {"status": {"code": 290}}),
    "telnyx": _two(f"telnyx://key@15551230000/{PHONES}"),
    "threema": _two(f"threema://*THEGWID@secret/{PHONES}"),
    "trigv": _two(f"trigv://trgv_{'a' * 8}_{'b' * 32}/one/two"),
    "twilio": _two(f"twilio://AC{'a' * 32}:{'b' * 32}@15551230000/{PHONES}", {"sid": "1"}, 201),
    "twist": Service("twist://pw:me@example.com/12:34", {"token": "t", "default_workspace": 12, "id": 12}),
    "twitter": Service("twitter://a/b/c/d?mode=tweet", {"data": {"id": "1"}}, 200),
    "viber": _two("viber://token/one/two", {"status": 0}),
    "voipms": _two(
        f"voipms://pw:me@example.com/15551230000/{PHONES}", {"status": "success"}, marks=("5551230001", "5551230002")
    ),
    "vonage": _two(f"vonage://key:secret@15551230000/{PHONES}", {"messages": [{"status": "0"}]}),
    "wpush": Service(f"wpush://WPUSH{'a' * 27}", {"code": 0}),
    "wechat": Service("wechat://corp:secret@1000001/one", {"errcode": 0, "access_token": "t", "expires_in": 7200}),
    "wecombot": Service("wecombot://key", {"errcode": 0, "errmsg": "ok"}),
    "wxteams": Service(f"wxteams://{'a' * 80}", status=204),
    "whapi": _two(f"whapi://token/{PHONES}", {"sent": True}),
    "whatsapp": _two(f"whatsapp://token@15551230000/{PHONES}", {"messages": [{"id": "1"}]}),
    "workflows": Service(f"workflows://{HOST}/workflow/signature", status=202),
    "wxpusher": Service("wxpusher://AT_abc/UID_one", {"code": 1000}),
    "kodi": Service(f"kodis://{HOST}", {"result": "OK"}),
    "xmls": Service(f"xmls://{HOST}/"),
    "xmatters": Service(f"xmatters://key@{HOST}/integration", status=202),
    "youlmk": Service(f"youlmk://ylk_{'a' * 32}"),
    "zalo": _two("zalo://1:abc/one/two", {"ok": True}),
    "zoom": Service("zoom://hook/token"),
    "zulip": _two(f"zulip://bot@organization/{'a' * 32}/one/two", {"result": "success"}),
}

# What no HTTP receiver can stand in for: other protocols, the screen of this machine, libraries that are not installed.
OTHERS = {
    "amqp", "aprs", "blink1", "dbus", "deltachat", "fcm", "glib", "gnome", "growl", "irc", "macosx", "mailto", "mqtt",
    "nostr", "rsyslog", "session", "smpp", "syslog", "vapid", "windows", "xmpp",
}  # fmt: skip
