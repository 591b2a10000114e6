import asyncio

import pytest
import structlog

from antiphon.errors import APIError, InternalServerError, InvalidRequestError
from antiphon.telemetry.request_line import RequestLine, current_line, error_name, request_line


def written(line: RequestLine, *, quiet: bool = False) -> list[dict[str, object]]:
    with structlog.testing.capture_logs() as lines:
        line.write(quiet=quiet)
    return [dict(line) for line in lines]


def test_what_was_added_is_one_line_and_the_later_value_wins() -> None:
    line = RequestLine()
    line.add(status=None, model="m")
    line.add(status=200)
    assert [{"event": "request", "log_level": "info", "status": 200, "model": "m"}] == written(line)


def test_a_quiet_line_is_for_debugging() -> None:
    assert ["debug"] == [line["log_level"] for line in written(RequestLine(), quiet=True)]


def test_the_first_error_is_kept() -> None:
    line = RequestLine()
    line.fail(ValueError("hush"))
    line.fail(InternalServerError("hush"))
    assert {"outcome": "failed", "error": "ValueError"} == line.fields


def test_an_error_after_a_good_answer_makes_it_fail() -> None:
    line = RequestLine()
    line.add(outcome="completed", error=None)
    line.fail(InternalServerError("hush"))
    assert {"outcome": "failed", "error": "server_error"} == line.fields


def test_an_outcome_that_is_known_is_kept() -> None:
    line = RequestLine()
    line.add(outcome="cancelled")
    line.conclude("failed", "not_found")
    assert {"outcome": "cancelled"} == line.fields


def test_an_outcome_that_nobody_knows_is_told_at_the_end() -> None:
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
