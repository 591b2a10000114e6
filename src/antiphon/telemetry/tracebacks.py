"""The form of exceptions in logs: type and stack, and the text only if the operator enables it.

The text of an unexpected exception may quote a user or a model: a parser quotes its input, a driver the parameters of a
statement. Local variables and lines of source are never shown.
"""

from typing import Any, TextIO

from structlog import dev
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import ExceptionRenderer, ExceptionTransformer, ExcInfo

Stack = dict[str, Any]
"""An exception: ``exc_type``, ``is_cause``, ``frames`` (of ``filename``, ``lineno``, ``name``), ``is_group`` and, for a
group, ``exceptions``: a list of such lists. In a list, each exception has the next one as its cause or context."""
_TEXTS = ("exc_value", "exc_notes", "syntax_error")

_stacks = ExceptionDictTransformer(show_locals=False)


def stacks_for(*, texts: bool) -> ExceptionTransformer:
    """Return a function that turns an exception into its stacks, for JSON; ``texts`` adds texts and notes."""
    return _stacks if texts else _bare_stacks


def text_for(*, texts: bool) -> ExceptionRenderer:
    """Return a function that writes an exception for people: Python's own traceback, or one without texts."""
    return dev.plain_traceback if texts else _bare_text


def _bare_stacks(exc_info: ExcInfo) -> list[Stack]:
    return _without_texts(_stacks(exc_info))


def _without_texts(stacks: list[Stack]) -> list[Stack]:
    for stack in stacks:
        for key in _TEXTS:
            stack.pop(key, None)
        for inner in stack["exceptions"]:
            _without_texts(inner)
    return stacks


def _bare_text(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write("\n" + "\n".join(_lines(_bare_stacks(exc_info))))


def _lines(stacks: list[Stack], indent: str = "") -> list[str]:
    lines: list[str] = []
    for stack in stacks:
        bridge = "" if not lines else "caused by " if stack["is_cause"] else "while handling "
        lines.append(f"{indent}{bridge}{stack['exc_type']}, its innermost call last:")
        lines += [f"{indent}  {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in stack["frames"]]
        for inner in stack["exceptions"]:
            lines += _lines(inner, indent + "    ")
    return lines
