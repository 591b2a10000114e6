from typing import Any

import pytest

from tests.protocol.bodies import CALL, CALLER, RESULT, USER, broken_talk, error, refused, talk

SECOND = CALL | {"id": "call_2"}
TWO_CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL, SECOND]}
SECOND_RESULT = RESULT | {"tool_call_id": "call_2"}
TEXT = {"type": "text", "text": "Hello"}
REFUSAL = {"type": "refusal", "refusal": "No."}


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, CALLER, RESULT],
        [USER, CALLER, RESULT, USER],
        [USER, TWO_CALLS, SECOND_RESULT, RESULT],
        [USER, CALLER, RESULT, CALLER, RESULT],
        [CALLER, RESULT],
        [{"role": "assistant", "content": "Hi"}],
        [{"role": "assistant", "content": ""}],
        [{"role": "assistant", "refusal": "No."}],
        [{"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}}],
        [{"role": "assistant", "content": [TEXT, TEXT]}],
        [{"role": "assistant", "content": [REFUSAL]}],
        [{"role": "function", "name": "weather", "content": "rain"}],
    ],
)
def test_valid_orders_of_messages_are_accepted(messages: list[dict[str, Any]]) -> None:
    assert len(messages) == len(talk(*messages).messages)


@pytest.mark.parametrize("before", [[], [USER], [{"role": "assistant", "content": "Hi"}], [CALLER, RESULT, USER]])
def test_tool_message_without_tool_calls_before_it_is_refused(before: list[dict[str, Any]]) -> None:
    assert (
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        f"messages[{len(before)}].role",
        "invalid_value",
    ) == error(messages=[*before, RESULT])


def test_tool_message_with_an_unknown_id_is_refused() -> None:
    assert (
        "Invalid parameter: 'tool_call_id' of 'call_2' not found in unanswered 'tool_calls' of previous message.",
        "messages[2].tool_call_id",
        "invalid_value",
    ) == error(messages=[USER, CALLER, SECOND_RESULT])


def test_second_tool_message_for_one_call_is_refused() -> None:
    assert ("messages[2].tool_call_id", "invalid_value") == broken_talk(CALLER, RESULT, RESULT)


@pytest.mark.parametrize("after", [[], [USER], [RESULT], [RESULT, USER], [SECOND_RESULT, {"role": "assistant"}]])
def test_unanswered_call_before_the_next_message_is_refused(after: list[dict[str, Any]]) -> None:
    assert ("messages[1].tool_calls", "invalid_value") == broken_talk(USER, TWO_CALLS, *after)


def test_error_lists_the_unanswered_calls() -> None:
    assert (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        "The following tool_call_ids did not have response messages: call_2"
    ) == refused(messages=[TWO_CALLS, RESULT]).message


def test_two_calls_with_one_id_are_refused() -> None:
    twins = CALLER | {"tool_calls": [CALL, CALL]}
    assert ("messages[0].tool_calls[1].id", "invalid_value") == broken_talk(twins, RESULT)


def test_assistant_message_without_content_and_calls_is_refused() -> None:
    nothing: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    assert ("messages[1].content", "missing_required_parameter") == broken_talk(USER, nothing)


@pytest.mark.parametrize("parts", [[TEXT, REFUSAL], [REFUSAL, TEXT], [REFUSAL, REFUSAL]])
def test_refusal_part_beside_other_parts_is_refused(parts: list[dict[str, Any]]) -> None:
    assert ("messages[0].content", "invalid_value") == broken_talk({"role": "assistant", "content": parts})
