import pytest

from antiphon.chat_formats.answer_calls import AnswerCalls
from antiphon.chat_formats.chat_format import HERMES


@pytest.mark.parametrize(
    ("expected", "named", "legacy"),
    [("tool_calls", False, False), ("function_call", False, True), ("stop", True, False), ("stop", True, True)],
)
def test_finish_reason_of_calls_follows_the_request(expected: str, *, named: bool, legacy: bool) -> None:
    assert expected == AnswerCalls(notation=HERMES, tools={}, named=named, legacy=legacy).finish_reason()
