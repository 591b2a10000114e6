import io
from typing import Any

import pytest
from structlog.typing import ExcInfo

from antiphon.telemetry.tracebacks import stacks_for, text_for

SAID = "what was said in confidence"


def innermost() -> None:
    raise ValueError(SAID)


def caught(error: BaseException) -> ExcInfo:
    return type(error), error, error.__traceback__


def plain() -> Exception:
    try:
        innermost()
    except ValueError as error:
        error.add_note(SAID)
        return error
    raise AssertionError


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Return the exception with a traceback."""
    try:
        raise error from cause  # noqa: TRY301 (caught here on purpose)
    except Exception as caught:  # noqa: BLE001 (it is returned)
        return caught


def from_another() -> Exception:
    return raised(LookupError(SAID), plain())


def while_handling_another() -> Exception:
    try:
        try:
            innermost()
        except ValueError:
            raise KeyError(SAID)  # noqa: B904 (a context without a cause)
    except KeyError as error:
        return error
    raise AssertionError


def grouped() -> Exception:
    return raised(ExceptionGroup(SAID, [plain(), from_another()]))


def unreadable_source() -> Exception:
    try:
        compile(f"{SAID} = ", f"<{SAID[:0]}>", "exec")
    except SyntaxError as error:
        return error
    raise AssertionError


EXCEPTIONS = [plain, from_another, while_handling_another, grouped, unreadable_source]


@pytest.mark.parametrize("make", EXCEPTIONS)
def test_texts_of_exceptions_are_hidden_by_default(make: Any) -> None:  # noqa: ANN401 (a function)
    error = make()
    text = io.StringIO()
    text_for(texts=False)(text, caught(error))
    assert SAID not in str(stacks_for(texts=False)(caught(error)))
    assert SAID not in text.getvalue()


@pytest.mark.parametrize("make", EXCEPTIONS)
def test_texts_of_exceptions_are_shown_if_enabled(make: Any) -> None:  # noqa: ANN401 (a function)
    error = make()
    text = io.StringIO()
    text_for(texts=True)(text, caught(error))
    assert SAID in str(stacks_for(texts=True)(caught(error)))
    assert SAID in text.getvalue()


def test_frame_has_only_file_line_and_function() -> None:
    (stack,) = stacks_for(texts=False)(caught(plain()))
    assert {"exc_type", "is_cause", "frames", "is_group", "exceptions"} == set(stack)
    assert ["plain", "innermost"] == [frame["name"] for frame in stack["frames"]]
    assert {(__file__, "filename", "lineno", "name")} == {(frame["filename"], *frame) for frame in stack["frames"]}


def test_cause_follows_the_exception() -> None:
    stacks = stacks_for(texts=False)(caught(from_another()))
    assert [("LookupError", False), ("ValueError", True)] == [(each["exc_type"], each["is_cause"]) for each in stacks]


def test_text_for_people_has_the_type_and_the_place() -> None:
    text = io.StringIO()
    text_for(texts=False)(text, caught(plain()))
    line = innermost.__code__.co_firstlineno + 1
    lines = text.getvalue().splitlines()
    assert ["", "ValueError, its innermost call last:"] == lines[:2]
    assert f"  {__file__}:{line} in innermost" == lines[-1]


@pytest.mark.parametrize(
    ("make", "heads"),
    [
        (from_another, ["LookupError", "caused by ValueError"]),
        (while_handling_another, ["KeyError", "while handling ValueError"]),
        (grouped, ["ExceptionGroup", "    ValueError", "    LookupError", "    caused by ValueError"]),
    ],
)
def test_the_text_for_people_shows_causes_and_groups(make: Any, heads: list[str]) -> None:  # noqa: ANN401 (a function)
    text = io.StringIO()
    text_for(texts=False)(text, caught(make()))
    marks = [line.partition(", its innermost")[0] for line in text.getvalue().splitlines() if "innermost call" in line]
    assert heads == marks
