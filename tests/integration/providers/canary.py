"""Looks for the API key wherever an error could carry it."""

import traceback
from collections.abc import Callable, Iterator
from types import TracebackType

import pytest

from monitor.errors import FetchError
from monitor.providers import Provider

Open = Callable[..., Provider]

KEY = "sk-CANARYcanaryCANARYcanaryCANARYcanaryCANARYcanary1"


def assert_no_key(error: FetchError, caplog: pytest.LogCaptureFixture) -> None:
    frames = traceback.StackSummary.extract(traceback.walk_tb(_ours(error.__traceback__)), capture_locals=True)
    shown = "".join(frames.format()) + "".join(traceback.format_exception(error))
    for text in (shown, str(error), repr(error), repr(error.failure), repr(vars(error)), caplog.text):
        assert "canary" not in text.lower().replace("canary.py", "").replace("import canary", "")
    for link in _chain(error):
        assert isinstance(link, FetchError | TimeoutError), f"{type(link)} hangs on the error"
        assert "canary" not in f"{link!s}{link!r}".lower()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _ours(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from where the package's own frames begin: a test's locals may know the key."""
    while tb is not None and "/monitor/" not in tb.tb_frame.f_code.co_filename:
        tb = tb.tb_next
    return tb
