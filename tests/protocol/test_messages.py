from typing import Any

import pytest

from antiphon.protocol.messages import (
    AssistantMessage,
    CalledCustomTool,
    CalledFunction,
    DeveloperMessage,
    FunctionMessage,
    MessageCustomToolCall,
    MessageFunctionToolCall,
    RefusalPart,
    SystemMessage,
    TextOnlyPart,
    TextPart,
    ToolMessage,
    UserMessage,
)
from antiphon.protocol.responses import Annotation, URLCitation
from tests.protocol.bodies import CALLER, RESULT, USER, broken_talk, error, talk

TEXT = {"type": "text", "text": "Hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_each_role_has_its_own_struct() -> None:
    function = {"role": "function", "name": "weather", "content": None}
    developer = {"role": "developer", "content": "Be brief.", "name": "boss"}
    system = {"role": "system", "content": "Be kind."}
    request = talk(developer, system, USER, CALLER, RESULT, function)
    assert [
        DeveloperMessage(content="Be brief.", name="boss"),
        SystemMessage(content="Be kind."),
        UserMessage(content="Hello"),
        AssistantMessage(
            tool_calls=[MessageFunctionToolCall(id="call_1", function=CalledFunction(name="weather", arguments="{}"))]
        ),
        ToolMessage(content="rain", tool_call_id="call_1"),
        FunctionMessage(content=None, name="weather"),
    ] == request.messages


def test_message_has_its_role() -> None:
    request = talk({"role": "developer", "content": "x"}, USER, CALLER, RESULT)
    assert ["developer", "user", "assistant", "tool"] == [message.role for message in request.messages]


def test_content_may_be_a_list_of_parts() -> None:
    assert [UserMessage(content=[TextPart(text="Hello")])] == talk({"role": "user", "content": [TEXT]}).messages


def test_text_only_parts_are_text_parts() -> None:
    (message,) = talk({"role": "system", "content": [TEXT]}).messages
    assert SystemMessage(content=[TextOnlyPart(type="text", text="Hello")]) == message
    assert isinstance(message.content, list)
    assert isinstance(message.content[0], TextPart)


def test_assistant_content_may_be_a_refusal() -> None:
    request = talk(USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]})
    assert AssistantMessage(content=[RefusalPart(refusal="No.")]) == request.messages[1]


def test_history_may_hold_a_custom_tool_call() -> None:
    call = {"id": "call_1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    assistant = talk(USER, {"role": "assistant", "tool_calls": [call]}, RESULT).messages[1]
    assert isinstance(assistant, AssistantMessage)
    custom = MessageCustomToolCall(id="call_1", custom=CalledCustomTool(name="shell", input="ls"))
    assert [custom] == assistant.tool_calls


def test_tool_message_may_name_its_tool() -> None:
    named = talk(USER, CALLER, RESULT | {"name": "n" * 256}).messages[2]
    assert ToolMessage(content="rain", tool_call_id="call_1", name="n" * 256) == named
    too_long = RESULT | {"name": "n" * 257}
    assert ("messages[2].name", "string_above_max_length") == broken_talk(USER, CALLER, too_long)


def test_empty_list_of_calls_counts_as_absent() -> None:
    request = talk(USER, {"role": "assistant", "content": "Hi", "tool_calls": []}, USER)
    assert AssistantMessage(content="Hi") == request.messages[1]


def test_answer_of_this_server_is_accepted_in_the_history() -> None:
    answer: dict[str, Any] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "reasoning_content": "They greet me.",
    }
    request = talk(USER, answer, USER)
    expected = AssistantMessage(content="Hi", annotations=[], reasoning_content="They greet me.")
    assert expected == request.messages[1]


CITATION = {"start_index": 0, "end_index": 2, "url": "http://a.test", "title": "A"}


def test_the_citations_of_an_answer_can_be_sent_back() -> None:
    annotations = [{"type": "url_citation", "url_citation": CITATION}]
    request = talk(USER, {"role": "assistant", "content": "Hi", "annotations": annotations}, USER)
    cited = Annotation(url_citation=URLCitation(start_index=0, end_index=2, url="http://a.test", title="A"))
    assert AssistantMessage(content="Hi", annotations=[cited]) == request.messages[1]


@pytest.mark.parametrize(
    ("param", "annotation"),
    [
        ("type", {"type": "file_citation", "url_citation": CITATION}),
        ("url_citation", {"type": "url_citation"}),
        *(
            (f"url_citation.{name}", {"type": "url_citation", "url_citation": CITATION | {name: None}})
            for name in CITATION
        ),
    ],
)
def test_a_citation_that_no_answer_carries_is_refused(param: str, annotation: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "Hi", "annotations": [annotation]}
    assert f"messages[0].annotations[0].{param}" == broken_talk(message)[0]


@pytest.mark.parametrize("role", ["developer", "system", "tool", "assistant"])
def test_only_user_messages_may_hold_images(role: str) -> None:
    answers = {"tool_call_id": "call_1"} if role == "tool" else {}
    message = {"role": role, "content": [IMAGE]} | answers
    assert ("messages[0].content[0].type", "invalid_value") == broken_talk(message)


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({}, "messages[0].role", "missing_required_parameter"),
        ({"role": 3}, "messages[0].role", "invalid_type"),
        ({"role": "judge", "content": "x"}, "messages[0].role", "invalid_value"),
        ({"role": "user"}, "messages[0].content", "missing_required_parameter"),
        ({"role": "user", "content": None}, "messages[0].content", "invalid_type"),
        ({"role": "user", "content": []}, "messages[0].content", "empty_array"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0]", "invalid_type"),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[0].content[0].type", "missing_required_parameter"),
        ({"role": "system", "content": [{"text": "x"}]}, "messages[0].content[0].type", "missing_required_parameter"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text", "missing_required_parameter"),
        ({"role": "user", "content": "x", "tool_call_id": "y"}, "messages[0].tool_call_id", "unknown_parameter"),
        ({"role": "user", "content": "x", "name": ""}, "messages[0].name", "empty_string"),
        ({"role": "user", "content": "x", "name": "x" * 65}, "messages[0].name", "string_above_max_length"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id", "missing_required_parameter"),
        ({"role": "function", "content": "x"}, "messages[0].name", "missing_required_parameter"),
        ({"role": "function", "name": "x"}, "messages[0].content", "missing_required_parameter"),
        ({"role": "assistant", "tool_calls": []}, "messages[0].content", "missing_required_parameter"),
        (
            {"role": "assistant", "tool_calls": [{"type": "function", "id": "x"}]},
            "messages[0].tool_calls[0].function",
            "missing_required_parameter",
        ),
    ],
)
def test_malformed_message_is_refused(message: dict[str, Any], param: str, code: str) -> None:
    assert (param, code) == broken_talk(message)


def test_error_of_an_unknown_role_lists_the_roles() -> None:
    expected = (
        "Invalid value: 'judge'. Supported values are: "
        "'developer', 'system', 'user', 'assistant', 'tool', and 'function'."
    )
    assert expected == error(messages=[{"role": "judge"}])[0]
