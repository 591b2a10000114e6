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
    """What was logged as JSON so far; the logging of the test run comes back afterwards."""
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


def test_context_variables_join_every_line(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        structlog.get_logger().info("x")
    assert "req_1" == lines()[0]["request_id"]


def test_the_libraries_logs_come_the_same_way(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").warning("port %d", 1, extra={"color_message": "red"})
    (line,) = lines()
    assert ("port 1", "warning", False) == (line["event"], line["level"], "color_message" in line)


def test_the_libraries_chatter_is_left_out(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").info("Started server process")
    assert [] == lines()


def test_what_is_less_severe_is_left_out(lines: Lines) -> None:
    structlog.get_logger().debug("x")
    assert [] == lines()


@pytest.mark.parametrize("key", ["messages", "content", "api_key", "authorization", "prompt"])
def test_secrets_and_what_was_said_never_reach_a_log(lines: Lines, key: str) -> None:
    structlog.get_logger().info("request", **{key: "hush"})
    assert "[not logged]" == lines()[0][key]


def test_a_traceback_shows_no_local_variables(lines: Lines) -> None:
    log_a_failure()
    (line,) = lines()
    assert "ValueError" == line["exception"][0]["exc_type"]
    assert "hush" not in json.dumps(line)


def test_text_for_people_shows_no_local_variables_either() -> None:
    stream = io.StringIO()
    configure_logging("info", json=False, stream=stream)
    log_a_failure()
    text = stream.getvalue()
    assert "ValueError" in text
    assert "'hush'" not in text


SAID = "what was said in confidence"


def logged(said: str, *, json: bool, exception_texts: bool = False) -> str:
    """Log an exception that quotes what was said, as ours and as a library's, and one of a task nobody awaits."""
    stream = io.StringIO()
    configure_logging("info", json=json, exception_texts=exception_texts, stream=stream)
    try:
        look_up(said)
    except LookupError:
        structlog.get_logger().exception("failed")
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    asyncio.run(left_alone(said))
    return stream.getvalue()


def look_up(said: str) -> None:
    raise LookupError(said)


async def left_alone(said: str) -> None:
    """Let asyncio find a future whose exception nobody asks for, and a callback that fails."""
    loop = asyncio.get_running_loop()
    loop.create_future().set_exception(LookupError(said))
    loop.call_soon(int, said)
    await asyncio.sleep(0)


@pytest.mark.parametrize("json", [True, False])
def test_what_an_exception_says_is_not_logged(*, json: bool) -> None:
    text = logged(SAID, json=json)
    assert 3 == text.count("LookupError")
    assert "test_logs.py" in text
    assert "confidence" not in text


@pytest.mark.parametrize("json", [True, False])
def test_what_an_exception_says_is_logged_where_that_is_asked_for(*, json: bool) -> None:
    assert "confidence" in logged(SAID, json=json, exception_texts=True)


def test_the_event_loop_s_reports_keep_their_first_words() -> None:
    lines = [json.loads(line) for line in logged(SAID, json=True).splitlines()]
    assert {"Future exception was never retrieved", "Exception in callback int"} == {
        line["event"] for line in lines if line["logger"] == "asyncio"
    }


def test_statements_of_the_database_are_not_logged_at_any_level() -> None:
    configure_logging("debug", json=True, stream=io.StringIO())
    assert not logging.getLogger("aiosqlite").isEnabledFor(logging.DEBUG)


def test_the_form_follows_the_terminal() -> None:
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
def test_a_key_is_masked_wherever_it_stands(*, json: bool) -> None:
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
def test_what_is_no_key_is_left(text: str) -> None:
    assert text == mask_keys(text)


def test_a_terminal_is_not_written_to_by_clients() -> None:
    stream = io.StringIO()
    configure_logging("info", json=False, stream=stream)
    structlog.get_logger().info("request", path="/\x1b[2J\nx\u202e")
    text = stream.getvalue()
    assert "\\x1b[2J\\x0ax\\x202e" in text
    assert (False, 1) == ("\x1b[2J" in text, text.count("\n"))


def test_redact_leaves_the_rest() -> None:
    assert {"prompt": "[not logged]", "prompt_tokens": 3} == redact(None, "info", {"prompt": "x", "prompt_tokens": 3})
