from typing import Any

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.protocol.path_header import IGNORED, path_header
from antiphon.protocol.requests import ReceivedRequest, decode_request, receive_request
from antiphon.protocol.tolerance import MAX_PATHS, Tolerance
from tests.protocol.bodies import CALL, CALLER, RESULT, USER, accepted, body, broken_talk, place, talk

TEXT = {"type": "text", "text": "x"}
PARSED_CALL = CALL | {"index": 0, "function": CALL["function"] | {"parsed_arguments": {"city": "Rome"}}}  # type: ignore[operator]


def test_members_that_the_official_sdk_adds_to_an_answer_change_nothing() -> None:
    answer = {"role": "assistant", "content": '{"a": 1}'}
    sent_back = answer | {"parsed": {"a": 1}, "tool_calls": [PARSED_CALL]}
    assert talk(USER, answer | {"tool_calls": [CALL]}, RESULT) == talk(USER, sent_back, RESULT)


def received(*messages: dict[str, Any], tolerance: Tolerance | None = None, **fields: object) -> ReceivedRequest:
    return receive_request(body(messages=list(messages or [USER]), **fields), tolerance or Tolerance())


@pytest.mark.parametrize(
    ("ignored", "message"),
    [
        ("messages[0].sender, messages[0].timestamp", USER | {"sender": "ada", "timestamp": 1}),
        ("messages[0].parsed_arguments", USER | {"parsed_arguments": {}}),
        ("messages[0].tool_calls[].index", USER | {"tool_calls[].index": 0}),
        ("messages[0].content[0].font", {"role": "user", "content": [TEXT | {"font": 1}]}),
        ("messages[0].images", USER | {"images": []}),
        ("messages[0].", USER | {"": 1}),
    ],
)
def test_unknown_members_of_messages_are_ignored_and_reported(ignored: str, message: dict[str, Any]) -> None:
    assert ignored == ", ".join(received(message).ignored)


def test_unknown_members_of_calls_are_ignored_and_reported() -> None:
    function = {"name": "weather", "arguments": "{}", "x": 1}
    calls = [CALL | {"y": 2, "function": function}]
    found = received(USER, CALLER | {"tool_calls": calls}, RESULT)
    assert ("messages[1].tool_calls[0].function.x", "messages[1].tool_calls[0].y") == found.ignored
    assert talk(USER, CALLER, RESULT) == found.request


@pytest.mark.parametrize(
    "message",
    [USER, USER | {"x": None}, {"role": "assistant", "content": "x", "parsed": {}}, USER | {"tool_calls": []}],
)
def test_members_that_ask_for_nothing_are_not_reported(message: dict[str, Any]) -> None:
    assert () == received(message).ignored
    assert 1 == len(received(message, tolerance=Tolerance(strict_messages=True)).request.messages)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("messages[0].tool_call_id", USER | {"tool_call_id": "x"}),
        ("messages[0].audio", USER | {"audio": {"id": "x"}}),
        (
            "messages[0].content[0].image_url",
            {"role": "user", "content": [TEXT | {"image_url": 1}]},
        ),
    ],
)
def test_field_of_the_reference_is_never_ignored(param: str, message: dict[str, Any]) -> None:
    assert (param, "unknown_parameter") == broken_talk(message)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a,b", "a%2Cb"),
        ("a\r\nx-evil: 1", "a%0D%0Ax-evil%3A%201"),
        ("\u00e9\u4e16", "%C3%A9%E4%B8%96"),
        ("x" * 100, "x" * 61 + "..."),
        ("\x00 %", "%00%20%25"),
    ],
)
def test_report_is_ascii_whatever_the_client_calls_its_members(name: str, written: str) -> None:
    assert (f"messages[0].{written}",) == received(USER | {name: 1}).ignored


def test_report_names_a_bounded_number_of_members() -> None:
    members = {f"m{number}": 1 for number in range(MAX_PATHS + 1)}
    named = tuple(f"messages[0].m{number}" for number in range(MAX_PATHS))
    assert (*named, "...") == received(USER | members).ignored
    del members[f"m{MAX_PATHS}"]
    assert named == received(USER | members).ignored


def test_every_path_of_a_report_fits_the_header() -> None:
    (path,) = received(USER | {"\U00010000" * 1000: 1}).ignored
    assert "%F0%90%80%80" * 61 + "..." == path.removeprefix("messages[0].")
    assert {IGNORED: path} == path_header(IGNORED, [path])


def test_strict_messages_refuses_unknown_members_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        received(USER | {"sender": "ada"}, tolerance=Tolerance(strict_messages=True))
    assert ("messages[0].sender", "unknown_parameter") == (caught.value.param, caught.value.code)


def test_named_field_of_the_request_is_ignored_and_reported() -> None:
    found = received(tolerance=Tolerance(ignored_fields=frozenset({"keep_alive"})), keep_alive="5m")
    assert (("keep_alive",), accepted()) == (found.ignored, found.request)


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("parsed", {"parsed": 1}),
        ("keep_alive", {"keep_alive": 1}),
        ("stream_options.x", {"stream": True, "stream_options": {"x": 1}}),
        ("tools[0].function.x", {"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}),
        (
            "prediction.content[0].x",
            {"prediction": {"type": "content", "content": [TEXT | {"x": 1}]}},
        ),
    ],
)
def test_other_unknown_members_are_refused_by_name(param: str, fields: dict[str, Any]) -> None:
    assert (param, "unknown_parameter") == place(**fields)


def test_ignored_members_are_no_part_of_the_request() -> None:
    assert talk(USER) == decode_request(body(messages=[USER | {"sender": "ada"}]))
