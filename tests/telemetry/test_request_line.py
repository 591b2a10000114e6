import asyncio

import pytest
import structlog

from antiphon.errors import APIError, InternalServerError, InvalidRequestError
from antiphon.telemetry.request_line import RequestLine, current_line, error_name, request_line


def written(line: RequestLine, *, quiet: bool = False) -> list[dict[str, object]]:
    with structlog.testing.capture_logs() as lines:
        line.write(quiet=quiet)
    return [dict(line) for line in lines]


def test_later_value_replaces_an_earlier_one_in_the_line() -> None:
    line = RequestLine()
    line.add(status=None, model="m")
    line.add(status=200)
    assert [{"event": "request", "log_level": "info", "status": 200, "model": "m"}] == written(line)


def test_quiet_line_is_logged_at_debug_level() -> None:
    assert ["debug"] == [line["log_level"] for line in written(RequestLine(), quiet=True)]


def test_the_first_error_is_kept() -> None:
    line = RequestLine()
    line.fail(ValueError("hush"))
    line.fail(InternalServerError("hush"))
    assert {"outcome": "failed", "error": "ValueError"} == line.fields


def test_error_after_a_completed_answer_makes_it_failed() -> None:
    line = RequestLine()
    line.add(outcome="completed", error=None)
    line.fail(InternalServerError("hush"))
    assert {"outcome": "failed", "error": "server_error"} == line.fields


def test_conclude_keeps_an_outcome_that_is_set() -> None:
    line = RequestLine()
    line.add(outcome="cancelled")
    line.conclude("failed", "not_found")
    assert {"outcome": "cancelled"} == line.fields


def test_conclude_sets_a_missing_outcome() -> None:
    line = RequestLine()
    line.conclude("failed", "not_found")
    assert {"outcome": "failed", "error": "not_found"} == line.fields


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing", InvalidRequestError("hush", code="missing")),
        ("InvalidRequestError", InvalidRequestError("hush")),
        ("server_error", APIError("hush")),
        ("ValueError", ValueError("hush")),
    ],
)
def test_an_error_is_named_by_its_code_or_its_class(name: str, error: Exception) -> None:
    assert name == error_name(error)


def test_outside_a_request_there_is_no_line() -> None:
    with request_line():
        pass
    assert current_line() is None


@pytest.mark.anyio
async def test_tasks_add_to_the_line_of_their_request_and_to_no_other() -> None:
    async def serve(name: str) -> dict[str, object]:
        async def work() -> None:
            line = current_line()
            assert line is not None
            line.add(name=name)

        with request_line() as line:
            await asyncio.create_task(work())
            return line.fields

    assert [{"name": "a"}, {"name": "b"}] == list(await asyncio.gather(serve("a"), serve("b")))
