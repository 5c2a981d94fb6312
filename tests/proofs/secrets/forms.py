"""The secrets of the proof, every way in which they are repeated, and the search for them in whatever was left."""

import base64
import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from tests.support.secrets_hunt import Hunt

# No eight letters of one stand in another, or in any word of ours.
SECRETS: Final = {
    "API key": "sk-qZxKvJwYtQpXzGkWvBqJxZfKyQwVjXkZpGqYvWxJzKtQfXvBw",
    "API key of another account": "sk-wKzJqXvGpYkQzWjVxBtZqKfXwJyGvQzPkXqBjWvZtYxKgQzJf",
    "path of a channel's URL": "wqxzkjvhookgqzxvkwjyqpzx",
    "header in a channel's URL": "hzqvjxkwtokengqzyvkxpjqw",
    "password of a mailbox": "zqvxmailkwjgxqzvpykq",
    "password of a proxy": "kvzqproxyxjwgqzkyvxp",
    "password of the database": "xjqzdbwkvgqyzxpjkvwq",
    "address of the heartbeat": "bqzxheartvkjwqgyzxkvpq",
    "token of the web pages": "pzqxwebjkvwgqyzxvtkjq",
}
HUNT: Final = Hunt(secret.removeprefix("sk-") for secret in SECRETS.values())


def forms(secret: str) -> dict[str, str]:
    """A secret in every form in which somebody may repeat it, by the form's name."""
    raw = secret.encode()
    wholes = {f"base64, {before} before it": base64.b64encode(b"u:"[:before] + raw).decode() for before in range(3)}
    wholes |= {"base64url": base64.urlsafe_b64encode(b"?>" + raw).decode()}
    return wholes | {
        "as it is": secret,
        "in capitals": secret.upper(),
        "percent-encoded": "".join(f"%{byte:02X}" for byte in raw),
        "percent-encoded in part": quote(secret[:-4], safe="") + "".join(f"%{byte:02x}" for byte in raw[-4:]),
        "in hexadecimal digits": raw.hex(),
        "as HTML, decimal": "".join(f"&#{byte};" for byte in raw),
        "as HTML, hexadecimal": "".join(f"&#x{byte:x};" for byte in raw),
        "as \\u escapes": "".join(f"\\u{byte:04x}" for byte in raw),
        "reversed": secret[::-1],
        "spaced": " ".join(secret),
        "in groups with dashes": "-".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "its first half": secret[: len(secret) // 2 + 2],
        "eight letters of it": secret[5:13],
        "its end": f"...{secret[-10:]}",
    }


def leaks(content: bytes) -> set[str]:
    """What of the secrets is found in something: whole and in pieces, as it is written or once it is read."""
    return {found for variant in _variants(content) for found in HUNT.found_in(variant)}


def _variants(content: bytes) -> Iterator[bytes]:
    """As it stands; with its escapes read; and that without anything but letters and digits."""
    yield content
    text = content.decode("latin-1")
    text = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text, flags=re.IGNORECASE)
    read = unquote_to_bytes(html.unescape(text).encode("utf-8", "replace"))
    yield read
    yield re.sub(rb"[^0-9A-Za-z]+", b"", read)
