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
def test_a_conversation_in_order(messages: list[dict[str, Any]]) -> None:
    assert len(messages) == len(talk(*messages).messages)


@pytest.mark.parametrize("before", [[], [USER], [{"role": "assistant", "content": "Hi"}], [CALLER, RESULT, USER]])
def test_a_tool_message_needs_tool_calls_before_it(before: list[dict[str, Any]]) -> None:
    assert error(messages=[*before, RESULT]) == (
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        f"messages[{len(before)}].role",
        "invalid_value",
    )


def test_a_tool_message_answers_a_call_of_the_message_before() -> None:
    assert error(messages=[USER, CALLER, SECOND_RESULT]) == (
        "Invalid parameter: 'tool_call_id' of 'call_2' not found in unanswered 'tool_calls' of previous message.",
        "messages[2].tool_call_id",
        "invalid_value",
    )


def test_a_call_is_answered_once() -> None:
    assert broken_talk(CALLER, RESULT, RESULT) == ("messages[2].tool_call_id", "invalid_value")


@pytest.mark.parametrize("after", [[], [USER], [RESULT], [RESULT, USER], [SECOND_RESULT, {"role": "assistant"}]])
def test_every_call_is_answered_before_anything_else(after: list[dict[str, Any]]) -> None:
    assert broken_talk(USER, TWO_CALLS, *after) == ("messages[1].tool_calls", "invalid_value")


def test_the_error_names_the_calls_without_answer() -> None:
    assert refused(messages=[TWO_CALLS, RESULT]).message == (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        "The following tool_call_ids did not have response messages: call_2"
    )


def test_the_calls_of_one_message_have_ids_of_their_own() -> None:
    twins = CALLER | {"tool_calls": [CALL, CALL]}
    assert broken_talk(twins, RESULT) == ("messages[0].tool_calls[1].id", "invalid_value")


def test_an_assistant_says_something() -> None:
    nothing: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    assert broken_talk(USER, nothing) == ("messages[1].content", "missing_required_parameter")


@pytest.mark.parametrize("parts", [[TEXT, REFUSAL], [REFUSAL, TEXT], [REFUSAL, REFUSAL]])
def test_a_refusal_stands_alone(parts: list[dict[str, Any]]) -> None:
    assert broken_talk({"role": "assistant", "content": parts}) == ("messages[0].content", "invalid_value")
