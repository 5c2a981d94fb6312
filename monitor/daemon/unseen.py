"""What goes wrong in the event loop itself, where no caller could see it, as lines of the log.

Refuses a traceback for what an operator can mend, and to fill a journal: asyncio tries a socket again and again.
"""

import asyncio
import errno
import logging
import math
from collections.abc import Mapping
from typing import Any, Final

SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
AGAIN_AFTER: Final = 60.0  # seconds until the same want is said again

log = logging.getLogger(__name__)


class LoopErrors:
    """A loop's exception handler."""

    def __init__(self) -> None:
        self._said: dict[int, float] = {}  # errno -> when, by the loop's clock

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log one; of the rest of what asyncio tells, representations, nobody knows what is in them."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in SCARCE:
            log.error("in the event loop: %s", context["message"], exc_info=error)
        elif loop.time() - self._said.get(error.errno, -math.inf) >= AGAIN_AFTER:
            self._said[error.errno] = loop.time()
            log.error("in the event loop: %s: %s", context["message"], (error.strerror or "").lower())
