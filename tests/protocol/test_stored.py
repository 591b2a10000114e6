"""Stored objects have the fields of the reference and the SDK, and keep all of a request's messages."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionDeleted, ChatCompletionStoreMessage

from antiphon.errors import InvalidRequestError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import (
    ChatCompletionMessage,
    Choice,
    CompletionUsage,
    CustomCall,
    CustomToolCall,
    FunctionCall,
    FunctionToolCall,
)
from antiphon.protocol.stored import (
    CompletionDeleted,
    CompletionList,
    MessageList,
    StoredCompletion,
    StoredMessage,
    decode_update,
    plain_json,
    stored_choice,
    stored_messages,
)
from antiphon.protocol.tools import ResponseFormatJSONSchema, Tool

USAGE = CompletionUsage(prompt_tokens=13, completion_tokens=18, total_tokens=31)


def wire(value: msgspec.Struct) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(value))
    return decoded


def stored(choice: Choice) -> StoredCompletion:
    return StoredCompletion(
        id="chatcmpl-1",
        model="tiny",
        created=1738960610,
        request_id="req_1",
        usage=USAGE,
        seed=4944116822809979520,
        system_fingerprint="fp_1",
        service_tier="default",
        choices=[stored_choice(choice.index, choice.message, choice.finish_reason, choice.logprobs)],
    )


def of_request(*messages: dict[str, Any], **fields: Any) -> Any:  # noqa: ANN401 (a request and its messages)
    request = decode_request(json.dumps({"model": "tiny", "messages": messages, **fields}).encode())
    return wire(MessageList(data=stored_messages("c", request.messages), first_id=None, last_id=None, has_more=False))[
        "data"
    ]


def test_stored_completion_has_the_fields_of_the_reference() -> None:
    sent = wire(stored(Choice(0, ChatCompletionMessage(content="Future's quiet spark."), None, "stop")))
    usage, (choice,) = sent.pop("usage"), sent.pop("choices")
    assert {
        "object": "chat.completion",
        "id": "chatcmpl-1",
        "model": "tiny",
        "created": 1738960610,
        "request_id": "req_1",
        "tool_choice": None,
        "seed": 4944116822809979520,
        "top_p": 1.0,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "system_fingerprint": "fp_1",
        "input_user": None,
        "service_tier": "default",
        "tools": None,
        "metadata": {},
        "response_format": None,
    } == sent
    assert {"prompt_tokens": 13, "completion_tokens": 18, "total_tokens": 31}.items() <= usage.items()
    assert {
        "index": 0,
        "message": {
            "content": "Future's quiet spark.",
            "role": "assistant",
            "refusal": None,
            "annotations": [],
            "tool_calls": None,
            "function_call": None,
        },
        "finish_reason": "stop",
        "logprobs": None,
    } == choice


ANSWERS = [
    ChatCompletionMessage(content="Hi"),
    ChatCompletionMessage(content=None, refusal="No."),
    ChatCompletionMessage(content="Hi", reasoning_content="Hm."),
    ChatCompletionMessage(
        content=None,
        tool_calls=[
            FunctionToolCall("call_1", FunctionCall("weather", "{}")),
            CustomToolCall("call_2", CustomCall("shell", "ls")),
        ],
    ),
    ChatCompletionMessage(content=None, function_call=FunctionCall("weather", "{}")),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_stored_answer_keeps_all_fields(answer: ChatCompletionMessage) -> None:
    completion = stored(Choice(0, answer, None, "stop"))
    assert completion == msgspec.json.decode(msgspec.json.encode(completion), type=StoredCompletion)
    message = wire(completion)["choices"][0]["message"]
    assert wire(answer).items() <= message.items()
    ChatCompletion.model_validate(wire(completion), strict=True)


def test_object_of_a_later_version_decodes() -> None:
    sent = wire(stored(Choice(0, ANSWERS[0], None, "stop"))) | {"new": 1}
    assert "chatcmpl-1" == msgspec.json.decode(json.dumps(sent), type=StoredCompletion).id


def test_list_has_first_and_last_id() -> None:
    assert {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False} == wire(
        CompletionList(data=[], first_id=None, last_id=None, has_more=False)
    )


def test_deletion_validates_as_the_sdk_type() -> None:
    sent = wire(CompletionDeleted(id="c"))
    assert {"object": "chat.completion.deleted", "id": "c", "deleted": True} == sent
    ChatCompletionDeleted.model_validate(sent, strict=True)


def test_stored_message_has_the_fields_of_the_reference() -> None:
    (message,) = of_request({"role": "user", "content": "Write a haiku"})
    assert {"id": "c-0", "role": "user", "content": "Write a haiku", "name": None, "content_parts": None} == message


def test_text_parts_are_stored_unchanged() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "text", "text": "And this?"},
    ]
    (message,) = of_request({"role": "user", "content": parts, "name": "Ann"})
    assert (None, parts, "Ann") == (message["content"], message["content_parts"], message["name"])
    instructions = of_request({"role": "system", "content": parts[:1]}, {"role": "user", "content": "x"})[0]
    assert parts[:1] == instructions["content_parts"]


def test_image_audio_and_file_parts_are_stored_unchanged() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    (message,) = stored_messages("c", [msgspec.convert({"role": "user", "content": parts}, type=UserMessage)])
    assert parts == wire(message)["content_parts"]


def test_calls_and_their_results_are_stored() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "weather"}}
    _, asks, tells = messages = of_request(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain", "name": "weather"},
        tools=[tool],
    )
    assert ["c-0", "c-1", "c-2"] == [message["id"] for message in messages]
    assert ([call], None) == (asks["tool_calls"], asks["content"])
    assert ("call_1", "Rain", "weather") == (tells["tool_call_id"], tells["content"], tells["name"])
    assert "tool_calls" not in tells
    parsed = ChatCompletionStoreMessage.model_validate(asks)
    assert parsed.tool_calls is not None
    assert "call_1" == parsed.tool_calls[0].id


def test_refusal_reasoning_and_name_of_an_assistant_are_stored() -> None:
    said = {"role": "assistant", "content": "Hi", "refusal": "No.", "reasoning_content": "Hm.", "name": "Bob"}
    message = of_request(said, {"role": "user", "content": "x"})[0]
    assert {"id": "c-0", "content_parts": None, **said} == message


def test_stored_message_decodes_to_itself() -> None:
    (message,) = of_request({"role": "user", "content": [{"type": "text", "text": "x"}]})
    assert message == wire(msgspec.json.decode(json.dumps(message), type=StoredMessage))


def test_plain_json_equals_the_json_of_the_client() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [None, "b"]}}, "default": None}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema, "strict": False}}]
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    assert tools == plain_json(msgspec.convert(tools, type=list[Tool]))
    assert form == plain_json(msgspec.convert(form, type=ResponseFormatJSONSchema))
    assert [None, "auto", 1] == [plain_json(value) for value in (None, "auto", 1)]


@pytest.mark.parametrize("metadata", [{"a": "b"}, {}, None])
def test_update_holds_all_new_metadata(metadata: dict[str, str] | None) -> None:
    assert metadata == decode_update(json.dumps({"metadata": metadata}).encode()).metadata


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": None, "model": "x"}, "model"),
    ],
)
def test_update_with_other_fields_or_bad_metadata_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_update(json.dumps(body).encode())
    assert param == caught.value.param
