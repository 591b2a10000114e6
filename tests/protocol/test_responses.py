"""Every answer validates as the SDK's type, without fields beyond it except the documented extensions."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion as SDKCompletion
from openai.types.chat import ChatCompletionChunk as SDKChunk
from pydantic import BaseModel

from antiphon.protocol.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    CustomCall,
    CustomToolCall,
    Delta,
    ErrorBody,
    ErrorResponse,
    FunctionCall,
    FunctionCallDelta,
    FunctionToolCall,
    Model,
    ModelList,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)

USAGE = CompletionUsage(prompt_tokens=3, completion_tokens=4, total_tokens=7)
LOGPROBS = ChoiceLogprobs(
    content=[TokenLogprob("a", -0.5, [97], [TopLogprob("a", -0.5, [97]), TopLogprob("<|im_end|>", -1.0, None)])]
)


def completion(message: ChatCompletionMessage, logprobs: ChoiceLogprobs | None = None) -> ChatCompletion:
    return ChatCompletion(
        id="chatcmpl-1",
        created=1,
        model="tiny",
        choices=[Choice(0, message, logprobs, "stop")],
        usage=USAGE,
        service_tier="default",
        system_fingerprint="fp_1",
    )


def chunk(*choices: ChunkChoice, **fields: Any) -> ChatCompletionChunk:  # noqa: ANN401 (fields of a Struct)
    return ChatCompletionChunk(
        id="chatcmpl-1",
        created=1,
        model="tiny",
        service_tier="default",
        system_fingerprint="fp_1",
        choices=list(choices),
        **fields,
    )


def wire(value: msgspec.Struct) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(value))
    return decoded


def extra(model: BaseModel, path: str = "") -> list[str]:
    """Return the fields that the SDK's types lack."""
    found = [f"{path}{name}" for name in model.model_extra or {}]
    for name in type(model).model_fields:
        member = getattr(model, name)
        for item in member if isinstance(member, list) else [member]:
            if isinstance(item, BaseModel):
                found += extra(item, f"{path}{name}.")
    return found


MESSAGES = [
    ChatCompletionMessage(content="Hi"),
    ChatCompletionMessage(content=None, refusal="No."),
    ChatCompletionMessage(
        content=None,
        tool_calls=[
            FunctionToolCall("call_1", FunctionCall("weather", "{}")),
            CustomToolCall("call_2", CustomCall("shell", "ls")),
        ],
    ),
    ChatCompletionMessage(content=None, function_call=FunctionCall("weather", "{}")),
]


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("logprobs", [None, LOGPROBS])
def test_completion_validates_as_the_sdk_type(message: ChatCompletionMessage, logprobs: ChoiceLogprobs | None) -> None:
    sent = wire(completion(message, logprobs))
    assert [] == extra(SDKCompletion.model_validate(sent, strict=True))


DELTAS = [
    Delta(role="assistant", content="", refusal=None),
    Delta(content="Hi"),
    Delta(),
    Delta(tool_calls=[ToolCallDelta(0, id="call_1", type="function", function=FunctionCallDelta(name="weather"))]),
    Delta(tool_calls=[ToolCallDelta(0, function=FunctionCallDelta(arguments="{"))]),
    Delta(function_call=FunctionCallDelta(name="weather", arguments="")),
]


@pytest.mark.parametrize("delta", DELTAS)
def test_chunk_validates_as_the_sdk_type(delta: Delta) -> None:
    sent = wire(chunk(ChunkChoice(index=0, delta=delta, logprobs=LOGPROBS), obfuscation="x"))
    assert {"obfuscation"} >= set(extra(SDKChunk.model_validate(sent, strict=True)))


def test_reasoning_content_is_the_only_extension_of_a_message() -> None:
    sent = wire(completion(ChatCompletionMessage(content="Hi", reasoning_content="Hm.")))
    assert ["choices.message.reasoning_content"] == extra(SDKCompletion.model_validate(sent))


def test_message_has_required_nulls_and_lacks_unset_fields() -> None:
    (choice,) = wire(completion(ChatCompletionMessage(content="Hi")))["choices"]
    assert {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": "stop",
    } == choice


def test_usage_has_prompt_and_completion_details() -> None:
    assert {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    } == wire(USAGE)


@pytest.mark.parametrize(
    ("fields", "expected"), [({}, {}), ({"usage": None}, {"usage": None}), ({"usage": USAGE}, {"usage": wire(USAGE)})]
)
def test_usage_of_a_chunk_is_absent_null_or_set(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    sent = wire(chunk(**fields))
    assert expected == {name: value for name, value in sent.items() if name == "usage"}
    assert [] == sent["choices"]


def test_delta_holds_only_set_fields() -> None:
    (choice,) = wire(chunk(ChunkChoice(index=1, delta=Delta(content="Hi"))))["choices"]
    assert {"index": 1, "delta": {"content": "Hi"}, "logprobs": None, "finish_reason": None} == choice


def test_model_list_has_the_fields_of_the_reference() -> None:
    model = {
        "id": "tiny",
        "object": "model",
        "created": 1,
        "owned_by": "antiphon",
        "context_length": 8192,
        "input_modalities": ["text"],
    }
    models = ModelList(data=[Model(id="tiny", created=1, context_length=8192)])
    assert {"object": "list", "data": [model]} == wire(models)


def test_error_has_all_four_members() -> None:
    body = ErrorBody(message="No.", type="invalid_request_error", param=None, code=None)
    expected = {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}
    assert {"error": expected} == wire(ErrorResponse(body))
