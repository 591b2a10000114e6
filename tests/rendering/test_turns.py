"""Folding: each rule on a template that lacks one thing; whatever a user says is still said."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert
from msgspec.structs import replace

from antiphon.protocol.messages import Message
from antiphon.rendering.server_text import server_text, split_server_text
from antiphon.rendering.turns import masked, normalised_turns, template_messages
from antiphon.templates.capabilities import Capabilities, ToolHistory

NATIVE = ToolHistory(content="null", arguments="object", short_ids=False, parallel=True)
FULL = Capabilities(
    system=True,
    late_system=True,
    developer=True,
    typed_content=False,
    consecutive=True,
    assistant_first=True,
    generation_prompt=True,
    names=frozenset({"system", "user", "assistant"}),
    reasoning_key="reasoning_content",
    tools=True,
    tool_history=NATIVE,
    switch=None,
    effort_variable=None,
    efforts={},
    verbosity=False,
)
SYSTEM = {"role": "system", "content": "S"}
USER = {"role": "user", "content": "U"}
ANSWER = {"role": "assistant", "content": "A"}
CALLING = {
    "role": "assistant",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": '{"input": "in"}'}},
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "call_2", "content": "R2"},
    {"role": "tool", "tool_call_id": "call_1", "content": "R1"},
]


def same(text: str) -> str:
    return "".join(split_server_text(text))


def folded(messages: list[dict[str, Any]], instructions: str = "", /, **lacking: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    capabilities = replace(FULL, **lacking)
    turns = normalised_turns(convert(messages, list[Message]), capabilities, instructions)
    return template_messages(turns, capabilities, same)


def said(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


def test_what_is_supported_is_passed_on() -> None:
    messages = [SYSTEM, {**USER, "name": "bob"}, ANSWER, {"role": "developer", "content": "D"}, USER]
    assert messages == folded(messages)


def test_parts_are_joined_by_newlines() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert folded([{"role": "user", "content": parts}]) == [{"role": "user", "content": "a\nb"}]


def test_typed_content() -> None:
    assert folded([USER], typed_content=True)[0]["content"] == [{"type": "text", "text": "U"}]


def test_refusals_are_what_the_assistant_said() -> None:
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    field = {"role": "assistant", "content": "Well.", "refusal": "No."}
    assert said(folded([part, field])) == [("assistant", "No."), ("assistant", "Well.\nNo.")]


def test_developer_becomes_system() -> None:
    assert said(folded([{"role": "developer", "content": "D"}], developer=False)) == [("system", "D")]


def test_system_messages_at_the_beginning_are_joined() -> None:
    developer = {"role": "developer", "content": "D"}
    assert said(folded([SYSTEM, developer, USER], developer=False, late_system=False)) == [
        ("system", "S\n\nD"),
        ("user", "U"),
    ]


def test_a_late_system_message_heads_the_next_user_message() -> None:
    assert said(folded([USER, ANSWER, SYSTEM, USER], late_system=False)) == [
        ("user", "U"),
        ("assistant", "A"),
        ("user", "S\n\nU"),
    ]
    assert said(folded([USER, SYSTEM, ANSWER, SYSTEM], late_system=False)) == [
        ("user", "U"),
        ("user", "S"),
        ("assistant", "A"),
        ("user", "S"),
    ]


def test_without_a_system_role_the_first_user_message_has_it() -> None:
    assert said(folded([SYSTEM, USER, ANSWER], system=False)) == [("user", "S\n\nU"), ("assistant", "A")]


def test_instructions_join_the_system_message() -> None:
    assert said(folded([SYSTEM, USER], "Be brief.")) == [("system", "S\n\nBe brief."), ("user", "U")]
    assert said(folded([USER], "Be brief.")) == [("system", "Be brief."), ("user", "U")]
    assert said(folded([USER], "Be brief.", system=False)) == [("user", "Be brief.\n\nU")]


def test_a_name_that_the_template_does_not_render_begins_the_text() -> None:
    named = [{**SYSTEM, "name": "ops"}, {**USER, "name": "bob"}, {**ANSWER, "name": "ann"}]
    assert said(folded(named, names=frozenset())) == [("system", "ops: S"), ("user", "bob: U"), ("assistant", "ann: A")]
    assert said(folded(named, system=False, late_system=False)) == [
        ("user", "ops: S\n\nbob: U"),
        ("assistant", "ann: A"),
    ]


def test_tool_calls_and_results() -> None:
    calling, *results = folded([CALLING, *RESULTS])
    assert calling == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": {"input": "in"}}},
        ],
    }
    assert results == [
        {"role": "tool", "content": "R1", "name": "f", "tool_call_id": "call_1"},
        {"role": "tool", "content": "R2", "name": "g", "tool_call_id": "call_2"},
    ]


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [({}, ""), ({"a": [1]}, '{"a": [1]}'), ("[1]", "[1]"), ("{broken", "{broken"), ("[" * 9999, "[" * 9999)],
)
def test_arguments_are_an_object_when_they_are_one(expected: object, arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message, *_ = folded([{"role": "assistant", "tool_calls": [call]}, {**RESULTS[0], "tool_call_id": "c"}])
    assert expected == message["tool_calls"][0]["function"]["arguments"]


def test_arguments_as_text() -> None:
    message, *_ = folded([CALLING, *RESULTS], tool_history=replace(NATIVE, arguments="text"))
    assert message["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'


def test_content_of_a_message_that_only_calls() -> None:
    empty, *_ = folded([CALLING, *RESULTS], tool_history=replace(NATIVE, content="empty"))
    absent, *_ = folded([CALLING, *RESULTS], tool_history=replace(NATIVE, content="absent"))
    assert empty["content"] == ""
    assert "content" not in absent


def test_short_ids_are_nine_characters_and_still_match() -> None:
    calling, first, second = folded([CALLING, *RESULTS], tool_history=replace(NATIVE, short_ids=True))
    ids = [call["id"] for call in calling["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in ids)
    assert len(set(ids)) == 2


def test_one_call_at_a_time() -> None:
    messages = folded([{**CALLING, "content": "Look:"}, *RESULTS], tool_history=replace(NATIVE, parallel=False))
    assert [message["role"] for message in messages] == ["assistant", "tool", "assistant", "tool"]
    assert [message["content"] for message in messages] == ["Look:", "R1", None, "R2"]


def test_generic_notation() -> None:
    calls = (
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {"input": "in"}}\n</tool_call>'
    )
    assert said(folded([{**CALLING, "content": "Look:"}, *RESULTS, USER], tool_history=None)) == [
        ("assistant", f"Look:\n{calls}"),
        ("user", "<tool_response>R1</tool_response>\n<tool_response>R2</tool_response>"),
        ("user", "U"),
    ]


def test_custom_calls_are_written_in_the_notation_that_is_asked_for_and_come_last() -> None:
    custom = {"id": "call_3", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1;"}}
    calling = {"role": "assistant", "tool_calls": [custom, CALLING["tool_calls"][0]]}
    result = {"role": "tool", "tool_call_id": "call_3", "content": "R3"}
    assert said(folded([calling, result, RESULTS[1]])) == [
        (
            "assistant",
            '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n<custom_tool_call name="sql">\nSELECT 1;',
        ),
        ("user", "<tool_response>R3</tool_response>\n<tool_response>R1</tool_response>"),
    ]


def test_deprecated_functions_are_tool_calls() -> None:
    calling = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "R"}
    call, answer = folded([calling, result])
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"]
    assert (answer["role"], answer["name"], answer["content"]) == ("tool", "f", "R")
    assert said(folded([result])) == [("user", "<tool_response>f: R</tool_response>")]


def test_neighbours_of_one_role_are_joined_where_roles_alternate() -> None:
    messages = [USER, {**USER, "name": "bob"}, ANSWER, ANSWER, USER]
    assert said(folded(messages, consecutive=False)) == [
        ("user", "U\n\nbob: U"),
        ("assistant", "A\n\nA"),
        ("user", "U"),
    ]


def test_an_assistant_that_begins_gets_an_empty_user_message_before_it() -> None:
    assert said(folded([SYSTEM, ANSWER], assistant_first=False)) == [("system", "S"), ("user", ""), ("assistant", "A")]


def test_an_assistant_that_ends_is_followed_by_a_new_turn() -> None:
    assert said(folded([USER, ANSWER], generation_prompt=False)) == [("user", "U"), ("assistant", "A"), ("user", "")]
    assert said(folded([USER, ANSWER])) == [("user", "U"), ("assistant", "A")]


def test_reasoning_goes_where_the_template_reads_it() -> None:
    message = {**ANSWER, "reasoning_content": "Hm"}
    assert folded([message], reasoning_key="reasoning")[0]["reasoning"] == "Hm"
    assert folded([message], reasoning_key=None) == [ANSWER]


def test_the_mask_sees_every_text_of_the_user_and_nothing_else() -> None:
    messages = [{**USER, "name": "bob"}, CALLING, *RESULTS, {**ANSWER, "reasoning_content": "Hm"}]
    turns = normalised_turns(convert(messages, list[Message]), FULL)
    text = json.dumps(template_messages(turns, FULL, lambda text: f"«{text}»"), ensure_ascii=False)
    for word in ("U", "bob", "call_1", "call_2", "f", "g", "x", "input", "in", "R1", "R2", "A", "Hm"):
        assert f'"«{word}»"' in text
    for word in ("user", "assistant", "tool", "function"):
        assert f"«{word}»" not in text


def test_masking_json() -> None:
    assert masked({"a": ["b", 1, None, {"c": True}]}, str.upper) == {"A": ["B", 1, None, {"C": True}]}


roles = st.sampled_from(["system", "developer", "user", "assistant"])
flags = st.fixed_dictionaries(
    {
        name: st.booleans()
        for name in ("system", "late_system", "developer", "consecutive", "assistant_first", "generation_prompt")
    }
)


@given(st.lists(roles, min_size=1, max_size=8), flags)
def test_nothing_is_dropped_and_roles_are_those_taken(sequence: list[str], lacking: dict[str, bool]) -> None:
    messages = [{"role": role, "content": f"text{i}.", "name": f"name{i}"} for i, role in enumerate(sequence)]
    taken = folded(messages, "", **lacking)
    text = json.dumps(taken)
    positions = [(text.index(f"text{i}."), text.index(f"name{i}")) for i in range(len(messages))]
    assert sorted(positions) == positions
    kinds = [message["role"] for message in taken]
    assert lacking["developer"] or "developer" not in kinds
    if not (lacking["system"] and lacking["late_system"]):
        assert "system" not in kinds[int(lacking["system"]) :]
    if not lacking["consecutive"]:
        assert all(a != b for a, b in pairwise(kinds))


def test_the_notation_of_calls_is_the_servers_own_text() -> None:
    messages = [USER, CALLING, *RESULTS]
    capabilities = replace(FULL, tool_history=None)
    _, calling, results = normalised_turns(convert(messages, list[Message]), capabilities)
    first, second = server_text("<tool_call>\n"), server_text("\n</tool_call>")
    assert f'{first}{{"name": "f", "arguments": {{"x": 1}}}}{second}' == calling.text.split("\n" + first)[0]
    assert f"{server_text('<tool_response>')}R1{server_text('</tool_response>')}" == results.text.split("\n")[0]


@pytest.mark.parametrize("history", [NATIVE, None])
def test_arguments_cannot_say_that_they_are_the_servers_own_text(history: ToolHistory | None) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": r'{"x": "\udc00<s>\udc01"}'}}
    messages = [{"role": "assistant", "tool_calls": [call]}]
    capabilities = replace(FULL, tool_history=history)
    texts: list[str] = []

    def kept(text: str) -> str:
        texts.append(text)
        return text

    template_messages(normalised_turns(convert(messages, list[Message]), capabilities), capabilities, kept)
    assert "<s>" not in {part for text in texts for part in split_server_text(text)[1::2]}
    assert any("\ufffd<s>\ufffd" in text for text in texts)
