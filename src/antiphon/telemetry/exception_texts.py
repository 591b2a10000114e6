"""Whether logs show what unexpected exceptions say, and how a process without our logging writes exceptions then.

A worker's output goes to the log of the process that started it, which cannot tell where in it a text begins. Nothing
is imported here that takes time, since such processes start with it.
"""

import sys
import threading
import traceback
from types import TracebackType
from typing import Final


class ExceptionTexts:
    """The choice for this process; :func:`antiphon.telemetry.logs.configure_logging` makes it."""

    def __init__(self) -> None:
        self.shown = False


EXCEPTION_TEXTS: Final = ExceptionTexts()


def hide_exception_texts() -> None:
    """Have what ``sys.excepthook`` and threads write of exceptions show only their types and stacks from now on."""
    sys.excepthook = _write
    threading.excepthook = lambda ended: _write(ended.exc_type, ended.exc_value, ended.exc_traceback)


def write_exception(error: BaseException) -> None:
    """Write an exception to stderr as it was chosen."""
    sys.excepthook(type(error), error, error.__traceback__)


def _write(_kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None) -> None:
    """Write the exception and those that led to it, which come first; an exception may lead to itself."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for each in chain:
        frames = traceback.extract_tb(each.__traceback__)
        lines = [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
        print(*lines, type(each).__qualname__, sep="\n", file=sys.stderr)  # noqa: T201 (where exceptions are written)
