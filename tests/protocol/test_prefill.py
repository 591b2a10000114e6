from typing import Any

import pytest

from tests.protocol.bodies import CALLER, RESULT, USER, accepted, error

SAID = {"role": "assistant", "content": "Sure"}
CALLED = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
CONTINUE = {"continue_final_message": True}


def continued(last: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {"messages": [USER, last], **CONTINUE, **fields}


@pytest.mark.parametrize("add_generation_prompt", [None, False])
def test_last_message_of_the_assistant_can_be_continued(add_generation_prompt: bool | None) -> None:  # noqa: FBT001
    assert accepted(**continued(SAID, add_generation_prompt=add_generation_prompt)).continue_final_message


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (continued(SAID, add_generation_prompt=True), "it contradicts 'add_generation_prompt'."),
        ({"messages": [USER], **CONTINUE}, "the last message is not the assistant's."),
        ({"messages": [USER, CALLER, RESULT], **CONTINUE}, "the last message is not the assistant's."),
        (continued(CALLED), "the last message calls a tool."),
        (continued({"role": "assistant", "content": ""}), "the last message has no text."),
        (
            continued({"role": "assistant", "content": "", "reasoning_content": "Hm"}, reasoning_effort="none"),
            "it continues reasoning, which 'reasoning_effort' turns off.",
        ),
    ],
)
def test_message_that_cannot_be_continued_is_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    message = f"Invalid value for 'continue_final_message': {reason}"
    assert (message, "continue_final_message", "invalid_value") == error(**fields)


def test_messages_are_checked_only_when_one_is_continued() -> None:
    assert accepted(messages=[USER], continue_final_message=False).continue_final_message is False
    assert accepted(messages=[USER, SAID], add_generation_prompt=True).add_generation_prompt


def test_budget_of_reasoning_is_refused_after_the_reasoning() -> None:
    reason = "'continue_final_message' continues after the reasoning."
    expected = (f"Invalid value for 'thinking_budget': {reason}", "thinking_budget", "invalid_value")
    assert expected == error(**continued(SAID, thinking_budget=5))
