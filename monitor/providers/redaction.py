"""What a vendor's answer is rid of: the key it was asked with, and every other secret of this process."""

from monitor.text import redaction


def redact(text: str, *secrets: str) -> str:
    """Return the text without these secrets, without any other that this process holds, and without `sk-…`."""
    for secret in secrets:
        redaction.remember(secret)
    return redaction.redact(text)


def sanitize(text: str, *secrets: str, limit: int = 200) -> str:
    """Return a foreign text as one short printable line without secrets."""
    for secret in secrets:
        redaction.remember(secret)
    return redaction.sanitize(text, limit=limit)
