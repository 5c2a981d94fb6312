"""Tells once that a secret travels unencrypted, or to a server that proves nothing: in the log, and the other channels.

What is meant is not told: `allow_insecure`, `allow_http`, an `sslmode`.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from monitor.channels import is_on_call
from monitor.config import Settings
from monitor.config.checks import insecure_secrets
from monitor.config.exposure import insecure_settings
from monitor.daemon.state import ProcessState
from monitor.errors import ChildError, DatabaseError
from monitor.message import insecure_notice
from monitor.model import Severity
from monitor.notify.routing import hearing
from monitor.store import outbox
from monitor.store.writer import Transaction

LOOK_EVERY: Final = 2.0  # seconds between looks whether this daemon leads, and with other settings

log = logging.getLogger(__name__)


async def watch(state: ProcessState) -> None:
    """Look at each settings with which this daemon leads, until cancelled."""
    looked_at: Settings | None = None
    while True:
        settings = state.settings
        if settings is not looked_at and state.leader_lock.leads:
            try:
                await _look(state, settings)
                looked_at = settings
            except (ChildError, DatabaseError) as error:
                log.debug("what is insecure is not told yet: %s", error)
            except Exception:
                log.exception("what is insecure could not be looked at")
                looked_at = settings
        await asyncio.sleep(LOOK_EVERY)


async def _look(state: ProcessState, settings: Settings) -> None:
    found = await insecure_secrets(settings, template=state.template)
    for warning in found:
        log.warning("%s", warning)
    found += insecure_settings(settings)  # of which the start, or the reload, has a line in the log
    if found:
        await state.store.write(lambda tx: tell(tx, settings, found, at=state.clock()))


def tell(tx: Transaction, settings: Settings, warnings: Iterable[str], *, at: datetime) -> None:
    """Enqueue a notice of each warning, unless it was told before, to all channels but the one that it is about.

    Nobody is paged for it.
    """
    heard = hearing(settings, settings.channels, Severity.WARNING)
    others = [name for name in heard if not is_on_call(settings.channel_url(name))]
    for warning in warnings:
        key, _, what = warning.partition(": ")
        about = key.split(".")[1] if key.startswith("channels.") else None
        digest = hashlib.sha256(f"{key}: {what}".encode()).hexdigest()[:16]
        state, _, todo = what.rpartition("; ")
        notice = insecure_notice(key, state, todo, at=at, timezone=settings.timezone)
        outbox.enqueue_once(tx, digest, notice, [name for name in others if name != about], at=at)
