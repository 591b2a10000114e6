"""The setting whether texts of unexpected exceptions are written, and its use in processes without our logging.

The parent logs a worker's output and cannot separate the texts from the rest, so the worker leaves them out. This
module imports nothing slow: workers import it when they start.
"""

import sys
import threading
import traceback
from types import TracebackType
from typing import Final


class ExceptionTexts:
    """The setting of this process; :func:`antiphon.telemetry.logs.configure_logging` sets it."""

    def __init__(self) -> None:
        self.shown = False


EXCEPTION_TEXTS: Final = ExceptionTexts()


def hide_exception_texts() -> None:
    """Make ``sys.excepthook`` and ``threading.excepthook`` write only types and stacks of exceptions from now on."""
    sys.excepthook = _write
    threading.excepthook = lambda ended: _write(ended.exc_type, ended.exc_value, ended.exc_traceback)


def write_exception(error: BaseException) -> None:
    """Write an exception to stderr, with its text unless texts are hidden."""
    sys.excepthook(type(error), error, error.__traceback__)


def _write(_kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None) -> None:
    """Write the exception's causes and contexts, the oldest first, then the exception. The chain may be a cycle."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for each in chain:
        frames = traceback.extract_tb(each.__traceback__)
        lines = [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
        print(*lines, type(each).__qualname__, sep="\n", file=sys.stderr)  # noqa: T201 (the output of this module)
