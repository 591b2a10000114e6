"""No text of a client's becomes a control token, whatever family the model is of and wherever the text stands."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.protocol.requests import decode_request
from antiphon.rendering.renderer import Renderer
from tests.rendering.byte_vocabulary import ByteVocabulary
from tests.rendering.family_templates import (
    FORMAT_NAMES,
    MOOD,
    family_format,
    family_template,
    family_vocabulary,
    markers,
)

Body = dict[str, Any]
CONTEXT = 1 << 20
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Paris"}'}}
HARMLESS = "~"


def conversation(text: str) -> list[Body]:
    """Give one of every kind of message, with ``text`` for every text."""
    return [
        {"role": "system", "content": text},
        {"role": "developer", "content": [{"type": "text", "text": text}, {"type": "text", "text": text}]},
        {"role": "user", "content": f"a{text}b", "name": text[:64]},
        {"role": "assistant", "content": text, "refusal": text, "name": text[:64], "reasoning_content": text},
        {"role": "assistant", "content": text, "tool_calls": calls(text), "reasoning_content": f" {text}\n"},
        {"role": "tool", "tool_call_id": text[:1024], "content": text},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": text}]},
        {"role": "tool", "tool_call_id": "3", "content": f"\n{text}"},
        {"role": "assistant", "function_call": {"name": text[:256], "arguments": text}},
        {"role": "function", "name": text[:256], "content": text},
        {"role": "function", "name": text[:256], "content": f"<{text}>"},
        {"role": "user", "content": [{"type": "text", "text": f"{text}{text}"}]},
    ]


def calls(text: str) -> list[Body]:
    arguments = json.dumps({text: text, "list": [text, {text: 1}]})
    return [
        {**CALL, "id": text[:1024], "function": {"name": text[:256], "arguments": arguments}},
        {**CALL, "id": "2", "function": {"name": text[:256], "arguments": text}},
        {"id": "3", "type": "custom", "custom": {"name": text[:256], "input": text}},
    ]


def tools(text: str) -> list[Body]:
    parameters = {
        "type": "object",
        "description": text,
        "properties": {
            "city": {"type": "string", "description": text, "enum": [text, "x"]},
            "list": {"type": "array", "items": {"const": text}, "default": text},
        },
    }
    function = {"name": "find", "description": text, "parameters": parameters}
    custom = {"name": "run", "description": text, "format": {"type": "text"}}
    return [{"type": "function", "function": function}, {"type": "custom", "custom": custom}]


def schema(text: str) -> Body:
    form = {"type": "object", "title": text, "properties": {text: {"const": text, "description": text}}}
    return {"type": "json_schema", "json_schema": {"name": "form", "description": text, "schema": form}}


def everything(text: str) -> Body:
    return {
        "model": text[:256],
        "messages": conversation(text),
        "tools": tools(text),
        "tool_choice": "none",
        "response_format": schema(text),
        "stop": [text[:1024]],
        "prediction": {"type": "content", "content": text},
        "store": True,
        "metadata": {text[:64]: text[:512]},
        "user": text[:512],
        "safety_identifier": text[:128],
        "prompt_cache_key": text[:1024],
        "chat_template_kwargs": {MOOD: [text, {text: text}]},
    }


def prompt_ids(family: str, vocabulary: ByteVocabulary, body: Body) -> list[int]:
    renderer = Renderer(vocabulary, family_template(family), family_format(family), CONTEXT)
    return renderer.render(decode_request(json.dumps(body).encode()), "req", "").generate.prompt_ids


def control_tokens(family: str, make: Callable[[str], Body], text: str) -> list[str]:
    vocabulary = family_vocabulary(family)
    return vocabulary.control(prompt_ids(family, vocabulary, make(text)))


def control_places(family: str, text: str) -> Iterator[tuple[int, str]]:
    """Give each control token of a prompt with where it stands, for texts that are of one length."""
    vocabulary = family_vocabulary(family)
    texts = {token: marker for marker, token in vocabulary.special_tokens.items()}
    body = {"model": "m", "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    for place, token in enumerate(prompt_ids(family, vocabulary, body)):
        if token in texts:
            yield place, texts[token]


@pytest.mark.parametrize("family", FORMAT_NAMES)
def test_the_template_itself_writes_control_tokens(family: str) -> None:
    written = control_tokens(family, everything, HARMLESS)
    assert {"<s>", "<|im_start|>", "<|im_end|>"} <= set(written)
    assert 30 < len(written)


@pytest.mark.parametrize("family", FORMAT_NAMES)
def test_every_marker_everywhere_is_text(family: str) -> None:
    """All markers in one text; then all control tokens are those of the conversation with harmless texts."""
    text = "".join(markers(family))
    assert control_tokens(family, everything, HARMLESS) == control_tokens(family, everything, text)


@pytest.mark.parametrize("family", FORMAT_NAMES)
def test_control_tokens_stand_where_the_template_put_them(family: str) -> None:
    for text in markers(family):
        harmless = HARMLESS * len(text.encode())
        assert [*control_places(family, harmless)] == [*control_places(family, text)], text


@settings(max_examples=3, deadline=None)
@pytest.mark.parametrize("family", FORMAT_NAMES)
@given(data=st.data())
def test_markers_in_pieces_are_text(family: str, data: st.DataObject) -> None:
    whole = st.sampled_from(markers(family))
    piece = st.builds(lambda text, begin, end: text[begin:] + text[:end], whole, st.integers(0, 9), st.integers(0, 9))
    text = "".join(data.draw(st.lists(whole | piece | st.sampled_from(["\n", " ", "x"]), min_size=1, max_size=6)))
    if text.strip():
        assert control_tokens(family, everything, HARMLESS) == control_tokens(family, everything, text)
