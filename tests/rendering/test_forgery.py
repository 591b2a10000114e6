"""No text of a client becomes structure, in any model family and any field.

Each family has its markers as control tokens in one vocabulary and as USER_DEFINED tokens in another; then real
vocabularies of every kind have them as USER_DEFINED tokens, which llama.cpp parses in every text.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.protocol.requests import decode_request
from antiphon.rendering.renderer import Renderer, RendererVocabulary
from tests.rendering.family_templates import (
    FORMAT_NAMES,
    MOOD,
    Kind,
    family_format,
    family_template,
    family_vocabulary,
    markers,
)
from tests.vocabularies import CONTROL, MODELS, write_vocabulary

Body = dict[str, Any]
CONTEXT = 1 << 20
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Paris"}'}}
HARMLESS = "~"
PLAIN = {"```", "\\n<arg_value>", "List of tools: [", '{"name": function name'}
"""Marks of a family that are common text, or parts of a template's source."""
families = pytest.mark.parametrize("family", FORMAT_NAMES)
kinds = pytest.mark.parametrize("kind", ["control", "user-defined"])


def pieces(family: str) -> st.SearchStrategy[str]:
    """Return a strategy of texts of whole and partial markers with text between them."""
    whole = st.sampled_from(markers(family))
    piece = st.builds(lambda text, begin, end: text[begin:] + text[:end], whole, st.integers(0, 9), st.integers(0, 9))
    return st.lists(whole | piece | st.sampled_from(["\n", " ", "x", "\u2581"]), min_size=1, max_size=6).map("".join)


def conversation(text: str) -> list[Body]:
    """Return a message of every kind, with ``text`` in every field of text."""
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


def prompt_ids(family: str, vocabulary: RendererVocabulary, body: Body) -> list[int]:
    renderer = Renderer(vocabulary, family_template(family), family_format(family), CONTEXT)
    return renderer.render(decode_request(json.dumps(body).encode()), "req", "").generate.prompt_ids


def structure(family: str, kind: Kind, text: str) -> list[str]:
    """Return the structure tokens of a prompt with ``text`` in every field, without plain tokens."""
    vocabulary = family_vocabulary(family, kind)
    return [
        token for token in vocabulary.control(prompt_ids(family, vocabulary, everything(text))) if token not in PLAIN
    ]


def structure_places(family: str, kind: Kind, text: str) -> Iterator[tuple[int, str]]:
    """Yield each structure token with its byte offset, to compare texts of equal length."""
    vocabulary = family_vocabulary(family, kind)
    texts = {token: marker for marker, token in vocabulary.tokens.items()}
    body = {"model": "m", "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    place = 0
    for token in prompt_ids(family, vocabulary, body):
        written = texts.get(token, "~")
        if token in texts and written not in PLAIN:
            yield place, written
        place += len(written.encode())


@cache
def tokenizer(family: str, model: str) -> Tokenizer:
    with TemporaryDirectory() as folder:
        path = write_vocabulary(Path(folder) / "model.gguf", model, "qwen2", markers=markers(family))
        return Tokenizer.open(str(path))


def real_structure(family: str, model: str, text: str) -> list[str]:
    vocabulary = tokenizer(family, model)
    marked = {token: marker for marker, token in vocabulary.user_defined_tokens.items() if marker in markers(family)}
    control = {token: marker for marker, token in vocabulary.special_tokens.items() if marker in CONTROL}
    texts = {**marked, **control}
    return [texts[i] for i in prompt_ids(family, vocabulary, everything(text)) if i in texts and texts[i] not in PLAIN]


@kinds
@families
def test_texts_of_the_template_become_structure(family: str, kind: Kind) -> None:
    written = structure(family, kind, HARMLESS)
    assert {"<s>", "<|im_start|>", "<|im_end|>"} <= set(written)
    assert 30 < len(written)


@kinds
@families
def test_markers_in_every_field_are_text(family: str, kind: Kind) -> None:
    """With all markers in one text the structure is that of the same conversation with harmless texts."""
    text = "".join(markers(family))
    assert structure(family, kind, HARMLESS) == structure(family, kind, text)


@kinds
@families
def test_structure_has_the_same_offsets_as_with_harmless_text(family: str, kind: Kind) -> None:
    for text in {*markers(family)} - PLAIN:
        harmless = HARMLESS * len(text.encode())
        assert [*structure_places(family, kind, harmless)] == [*structure_places(family, kind, text)], text


@settings(max_examples=3, deadline=None)
@kinds
@families
@given(data=st.data())
def test_partial_markers_are_text(family: str, kind: Kind, data: st.DataObject) -> None:
    text = data.draw(pieces(family))
    if text.strip():
        assert structure(family, kind, HARMLESS) == structure(family, kind, text)


@pytest.mark.parametrize("model", ["llama", "gpt2"])
@families
def test_markers_in_every_field_are_text_in_real_vocabularies(family: str, model: str) -> None:
    harmless = real_structure(family, model, HARMLESS)
    assert 30 < len(harmless)
    assert harmless == real_structure(family, model, "".join(markers(family)))


@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("model", MODELS)
@given(data=st.data())
def test_partial_markers_are_text_in_real_vocabularies(model: str, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(FORMAT_NAMES))
    text = data.draw(pieces(family))
    if text.strip():
        assert real_structure(family, model, HARMLESS) == real_structure(family, model, text)
