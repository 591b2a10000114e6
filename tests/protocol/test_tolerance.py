from typing import Any

import pytest

from tests.protocol.bodies import CALL, RESULT, USER, broken_talk, place, talk

PARSED_CALL = CALL | {"index": 0, "function": CALL["function"] | {"parsed_arguments": {"city": "Rome"}}}  # type: ignore[operator]


def test_members_that_the_official_sdk_adds_to_an_answer_change_nothing() -> None:
    answer = {"role": "assistant", "content": '{"a": 1}'}
    sent_back = answer | {"parsed": {"a": 1}, "tool_calls": [PARSED_CALL]}
    assert talk(USER, answer | {"tool_calls": [CALL]}, RESULT) == talk(USER, sent_back, RESULT)


@pytest.mark.parametrize("message", [USER | {"parsed_arguments": {}}, USER | {"tool_calls[].index": 0}])
def test_those_members_are_unknown_elsewhere(message: dict[str, Any]) -> None:
    assert "unknown_parameter" == broken_talk(message)[1]


def test_redundant_member_of_the_request_is_unknown() -> None:
    assert ("parsed", "unknown_parameter") == place(parsed=1)
