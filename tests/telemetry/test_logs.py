import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from antiphon.telemetry.logs import configure_logging, mask_keys, redact


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return the JSON lines logged so far; restore the logging of the test run afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", json=True, stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


Lines = Callable[[], list[dict[str, Any]]]


def log_a_failure() -> None:
    said = "hush"
    try:
        int(said[:0])
    except ValueError:
        structlog.get_logger().exception("failed")


def test_our_events_are_json_lines(lines: Lines) -> None:
    structlog.get_logger("antiphon.test").info("request", tokens=3)
    (line,) = lines()
    assert ("request", 3, "info", "antiphon.test") == (line["event"], line["tokens"], line["level"], line["logger"])


def test_context_variables_are_in_every_line(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        structlog.get_logger().info("x")
    assert "req_1" == lines()[0]["request_id"]


def test_logs_of_libraries_are_json_lines_too(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").warning("port %d", 1, extra={"color_message": "red"})
    (line,) = lines()
    assert ("port 1", "warning", False) == (line["event"], line["level"], "color_message" in line)


def test_info_lines_of_libraries_are_dropped(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").info("Started server process")
    assert [] == lines()


def test_lines_below_the_level_are_dropped(lines: Lines) -> None:
    structlog.get_logger().debug("x")
    assert [] == lines()


@pytest.mark.parametrize("key", ["messages", "content", "api_key", "authorization", "prompt"])
def test_values_of_secret_fields_are_not_logged(lines: Lines, key: str) -> None:
    structlog.get_logger().info("request", **{key: "hush"})
    assert "[not logged]" == lines()[0][key]


def test_a_traceback_shows_no_local_variables(lines: Lines) -> None:
    log_a_failure()
    (line,) = lines()
    assert "ValueError" == line["exception"][0]["exc_type"]
    assert "hush" not in json.dumps(line)


def test_traceback_for_people_shows_no_local_variables() -> None:
    stream = io.StringIO()
    configure_logging("info", json=False, stream=stream)
    log_a_failure()
    text = stream.getvalue()
    assert "ValueError" in text
    assert "'hush'" not in text


SAID = "what was said in confidence"


def logged(said: str, *, json: bool, exception_texts: bool = False) -> str:
    """Log exceptions that quote ``said``: in our log, in a library's, and in asyncio's."""
    stream = io.StringIO()
    configure_logging("info", json=json, exception_texts=exception_texts, stream=stream)
    try:
        look_up(said)
    except LookupError:
        structlog.get_logger().exception("failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    asyncio.run(fail_unawaited(said))
    return stream.getvalue()


def look_up(said: str) -> None:
    raise LookupError(said)


async def fail_unawaited(said: str) -> None:
    """Leave a future with an exception that is never retrieved, and a callback that fails."""
    loop = asyncio.get_running_loop()
    loop.create_future().set_exception(LookupError(said))
    loop.call_soon(int, said)
    await asyncio.sleep(0)


@pytest.mark.parametrize("json", [True, False])
def test_text_of_an_exception_is_not_logged_by_default(*, json: bool) -> None:
    text = logged(SAID, json=json)
    assert 3 == text.count("LookupError")
    assert "test_logs.py" in text
    assert "confidence" not in text


@pytest.mark.parametrize("json", [True, False])
def test_text_of_an_exception_is_logged_if_enabled(*, json: bool) -> None:
    assert "confidence" in logged(SAID, json=json, exception_texts=True)


def test_messages_of_asyncio_keep_their_beginning() -> None:
    lines = [json.loads(line) for line in logged(SAID, json=True).splitlines()]
    assert {"Future exception was never retrieved", "Exception in callback int"} == {
        line["event"] for line in lines if line["logger"] == "asyncio"
    }


def test_statements_of_the_database_are_not_logged_at_any_level() -> None:
    configure_logging("debug", json=True, stream=io.StringIO())
    assert not logging.getLogger("aiosqlite").isEnabledFor(logging.DEBUG)


def test_terminal_gets_text_instead_of_json() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logging("info", stream=stream)
    structlog.get_logger().info("request")
    assert "request" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


KEY = "sk-antiphon-0123456789abcdef"


@pytest.mark.parametrize("json", [True, False])
def test_key_is_masked_in_values_nested_values_and_exceptions(*, json: bool) -> None:
    stream = io.StringIO()
    configure_logging("info", json=json, exception_texts=True, stream=stream)
    structlog.get_logger().info("request", path=f"/v1/{KEY}", deep=[{"a": f"({KEY})"}])
    try:
        int(KEY)
    except ValueError:
        structlog.get_logger().exception("failed")
    text = stream.getvalue()
    assert "0123456789abcdef" not in text
    assert text.count("[key]") >= 3


@pytest.mark.parametrize("text", ["task-management-page", "sk-short", "risk-averse-people", "chatcmpl-0123456789"])
def test_text_without_a_key_is_unchanged(text: str) -> None:
    assert text == mask_keys(text)


def test_control_characters_of_clients_are_escaped_for_terminals() -> None:
    stream = io.StringIO()
    configure_logging("info", json=False, stream=stream)
    structlog.get_logger().info("request", path="/\x1b[2J\nx\u202e")
    text = stream.getvalue()
    assert "\\x1b[2J\\x0ax\\x202e" in text
    assert (False, 1) == ("\x1b[2J" in text, text.count("\n"))


def test_redact_leaves_other_fields_unchanged() -> None:
    assert {"prompt": "[not logged]", "prompt_tokens": 3} == redact(None, "info", {"prompt": "x", "prompt_tokens": 3})
