"""Answers that call tools, from tokens to the message."""

import msgspec
import pytest

from antiphon.assembly.assembler import AssemblerOutput
from antiphon.assembly.choice import AssemblyOptions, new_call_id
from antiphon.chat_formats.answer_calls import AnswerCalls
from antiphon.chat_formats.builtin import recognise
from antiphon.chat_formats.chat_format import HERMES, ReasoningMarkers
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.engine.interface import FinishReason, StreamEvent
from antiphon.protocol.responses import (
    Choice,
    CompletionUsage,
    CustomCall,
    CustomToolCall,
    FunctionCall,
    FunctionToolCall,
)
from tests.assembly.answers import CALL, CONTROL, THINK, TOOLS, answer, assembler, finished, tokens


def test_a_call_opens_with_its_name_and_its_arguments_follow_in_pieces() -> None:
    target = assembler([b" \n", b'<tool_call>\n{"name": "find", ', b'"arguments": {"a"', b": 1}}\n</tool_call>"],
                       AssemblyOptions(tools=TOOLS))  # fmt: skip
    opening = '{"role":"assistant","content":null,"refusal":null}'
    named = '{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"find","arguments":""}}]}'
    piece = '{"tool_calls":[{"index":0,"function":{"arguments":"%s"}}]}'
    assert [[opening], [named], [piece % '{\\"a\\"'], [piece % ": 1}"]] == [
        deltas(target.push(tokens(token))) for token in range(4)
    ]
    step = target.push(finished())
    assert ["{}"] == deltas(step)
    assert "tool_calls" == step.chunks[0].choices[0].finish_reason


def deltas(step: AssemblerOutput) -> list[str]:
    return [msgspec.json.encode(chunk.choices[0].delta).decode() for chunk in step.chunks if chunk.choices]


def test_call_of_a_custom_tool_opens_with_its_name_and_its_input_follows() -> None:
    pieces: list[bytes | str] = [b'So: <custom_tool_call name="run">\nx', b" = 1\n"]
    target = assembler(pieces, AssemblyOptions(tools=TOOLS))
    named = '{"tool_calls":[{"index":0,"id":"call_1","type":"custom","custom":{"name":"run","input":""}}]}'
    piece = '{"tool_calls":[{"index":0,"custom":{"input":"%s"}}]}'
    assert ['{"content":"So:"}', named, piece % "x"] == deltas(target.push(tokens(0)))[1:]
    assert [piece % r" = 1\n"] == deltas(target.push(tokens(1)))
    message = answer(pieces, AssemblyOptions(tools=TOOLS), tokens(0, 1), finished()).choices[0].message
    assert [CustomToolCall("call_1", CustomCall("run", "x = 1\n"))] == message.tool_calls
    assert "So:" == message.content


def called(tools: AnswerCalls, pieces: list[bytes | str], *events: StreamEvent, **options: object) -> Choice:
    made = msgspec.structs.replace(AssemblyOptions(tools=tools), **options)
    return answer(pieces, made, *(events or (tokens(*range(len(pieces))), finished()))).choices[0]


def test_each_of_several_calls_has_its_own_index_and_id() -> None:
    ids = iter(["call_a", "call_b"])
    message = called(TOOLS, [CALL, b"\n", CALL.replace(b"1", b"2")], new_call_id=lambda: next(ids)).message
    functions = [FunctionCall("find", f'{{"a": {number}}}') for number in (1, 2)]
    assert [FunctionToolCall("call_a", functions[0]), FunctionToolCall("call_b", functions[1])] == message.tool_calls
    assert message.content is None


def test_call_that_equals_an_earlier_one_ends_the_choice_and_its_tokens_count() -> None:
    target = assembler([CALL, b"\n", CALL[:30], CALL[30:], b" more"], AssemblyOptions(tools=TOOLS))
    target.push(tokens(0, 1))
    assert ([], []) == (deltas(target.push(tokens(2))), target.push(tokens(1)).aborts)
    target = assembler([CALL, b"\n", CALL[:30], CALL[30:], b" more"], AssemblyOptions(tools=TOOLS))
    target.push(tokens(0, 1))
    step = target.push(tokens(2, 3, 4))
    assert (["{}"], [0], "tool_calls") == (deltas(step), step.aborts, step.chunks[0].choices[0].finish_reason)
    usage = target.push(finished("abort", completion=9)).chunks[-1].usage
    assert isinstance(usage, CompletionUsage)
    assert 4 == usage.completion_tokens


def test_call_ids_are_random() -> None:
    assert new_call_id() != new_call_id()
    assert "call_" + "A" * 24 == new_call_id(lambda size: b"\x0a" * size)


@pytest.mark.parametrize(
    ("expected", "changes", "reason"),
    [
        ("tool_calls", {}, "stop"),
        ("stop", {"named": True}, "stop"),
        ("function_call", {"legacy": True}, "stop"),
        ("stop", {"legacy": True, "named": True}, "stop"),
        ("length", {}, "length"),
    ],
)
def test_finish_reason_of_an_answer_with_calls(expected: str, changes: dict[str, bool], reason: FinishReason) -> None:
    tools = msgspec.structs.replace(TOOLS, **changes)
    assert expected == called(tools, [CALL], tokens(0), finished(reason)).finish_reason


def test_deprecated_functions_are_answered_with_one_function_call() -> None:
    second = CALL.replace(b"1", b"2")
    message = called(msgspec.structs.replace(TOOLS, legacy=True), [b"So: ", CALL, second]).message
    assert FunctionCall("find", '{"a": 1}') == message.function_call
    assert (msgspec.UNSET, "So:") == (message.tool_calls, message.content)


def test_answer_without_calls_keeps_the_engines_finish_reason() -> None:
    choice = called(TOOLS, [b"Hi \n"])
    assert ("Hi \n", "stop", msgspec.UNSET) == (
        choice.message.content,
        choice.finish_reason,
        choice.message.tool_calls,
    )
    assert "" == called(TOOLS, [], finished()).message.content


def test_truncated_call_keeps_the_arguments_so_far() -> None:
    choice = called(TOOLS, [CALL[:-16]], tokens(0), finished("length"))
    assert [FunctionToolCall("call_1", FunctionCall("find", '{"a": '))] == choice.message.tool_calls
    assert "length" == choice.finish_reason


def test_stop_strings_apply_to_content_only() -> None:
    choice = called(TOOLS, [b"no ", CALL, b"a stop"], tokens(0, 1, 2), finished("abort"), stop=('"a"', "stop"))
    assert ("noa ", "tool_calls") == (choice.message.content, choice.finish_reason)


def test_whitespace_before_a_call_may_be_a_stop_string_but_is_no_content() -> None:
    assert "a" == called(TOOLS, [b"a", b"\n", CALL], tokens(0, 1), finished("abort"), stop=("\n",)).message.content
    assert "a" == called(TOOLS, [b"a \n", CALL]).message.content


def test_reasoning_comes_before_calls() -> None:
    message = called(TOOLS, [b"<think>", CALL, b"</think>\n\n", CALL], reasoning=THINK).message
    assert CALL.decode() == message.reasoning_content
    assert [FunctionToolCall("call_1", FunctionCall("find", '{"a": 1}'))] == message.tool_calls


def reasoned(pieces: list[bytes | str], reason: FinishReason = "stop", **options: object) -> Choice:
    """The choice that reasons, each token in an event of its own."""
    made = msgspec.structs.replace(AssemblyOptions(reasoning=THINK), **options)
    return answer(pieces, made, *map(tokens, range(len(pieces))), finished(reason)).choices[0]


def test_reasoning_may_come_in_several_events() -> None:
    message = reasoned([b"<think>", b"so", b" on", b"</think>", b"Hi"]).message
    assert ("so on", "Hi") == (message.reasoning_content, message.content)


def test_incomplete_character_at_the_end_of_reasoning_is_replaced() -> None:
    message = reasoned([b"<think>a\xe2", b"</think>", b"Hi"]).message
    assert ("a\ufffd", "Hi") == (message.reasoning_content, message.content)
    assert "a\ufffd" == reasoned([b"<think>", b"a\xe2"], "length").message.reasoning_content


def test_answer_with_only_the_start_of_a_reasoning_marker_has_all_logprobs() -> None:
    choice = reasoned([b" ", b"<thi", b"s"], logprobs=True)
    assert choice.logprobs is not None
    assert [" ", "<thi", "s"] == [entry.token for entry in choice.logprobs.content or []]
    assert " <this" == choice.message.content


def test_incomplete_reasoning_marker_at_the_end_is_content() -> None:
    choice = reasoned([b"<thi"], logprobs=True)
    assert choice.logprobs is not None
    assert ("<thi", ["<thi"]) == (choice.message.content, [entry.token for entry in choice.logprobs.content or []])


def test_text_held_as_a_stop_string_after_reasoning_has_its_logprobs() -> None:
    choice = reasoned([b"<think>", b"so", b"</think>", b"Hi", b" ST"], logprobs=True, stop=("STOP",))
    assert choice.logprobs is not None
    assert ("Hi ST", ["Hi", " ST"]) == (
        choice.message.content,
        [entry.token for entry in choice.logprobs.content or []],
    )


def test_stop_string_in_text_held_at_the_end_is_found() -> None:
    choice = reasoned([b"\n<t"], "length", stop=("\n",), tools=TOOLS)
    assert (None, "stop") == (choice.message.content or None, choice.finish_reason)


def test_incomplete_start_of_a_call_is_content() -> None:
    assert "Hi <tool" == called(TOOLS, [b"Hi <tool"]).message.content


def test_incomplete_character_at_the_end_of_content_is_replaced() -> None:
    assert (
        "a\ufffd" == answer([b"a\xe2"], AssemblyOptions(stop=("x",)), tokens(0), finished()).choices[0].message.content
    )


def test_an_answer_without_reasoning_has_no_reasoning_tokens() -> None:
    usage = answer([b"Hi"], AssemblyOptions(), tokens(0), finished()).usage
    assert 0 == usage.completion_tokens_details.reasoning_tokens


def test_arguments_of_one_event_are_one_delta() -> None:
    call = b"<tool_call>\n<function=find>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
    schema = {"properties": {"a": {"type": "integer"}}}
    tools = AnswerCalls(notation=TOOL_NOTATIONS["qwen3-coder"], tools={"find": schema})
    target = assembler([call], AssemblyOptions(tools=tools))
    piece = '{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\": 1}"}}]}'
    assert [piece] == deltas(target.push(tokens(0)))[2:]


def test_control_tokens_that_are_no_markers_are_not_part_of_the_reasoning() -> None:
    message = reasoned(["<think>", b"so", CONTROL, "</think>", b"Hi"]).message
    assert ("so", "Hi") == (message.reasoning_content, message.content)


@pytest.mark.parametrize("stop", [(), ("x",)])
def test_reasoning_marker_token_after_the_reasoning_is_no_content(stop: tuple[str, ...]) -> None:
    message = reasoned(["<think>", b"so", "</think>", b"Hi", "<think>", b"!"], stop=stop).message
    assert ("so", "Hi!") == (message.reasoning_content, message.content)


def test_last_delta_is_empty_unless_a_choice_with_tools_has_no_output() -> None:
    assert ["{}"] == deltas(assembler([]).push(finished()))[1:]
    target = assembler([b"Hi"], AssemblyOptions(tools=TOOLS))
    target.push(tokens(0))
    assert ["{}"] == deltas(target.push(finished()))
    assert ['{"content":""}'] == deltas(assembler([], AssemblyOptions(tools=TOOLS)).push(finished()))[1:]


def test_call_after_a_stop_string_is_ignored() -> None:
    choice = called(TOOLS, [b"So STOP" + CALL, b"more"], stop=("STOP",))
    assert ("So ", msgspec.UNSET, "stop") == (choice.message.content, choice.message.tool_calls, choice.finish_reason)


def test_only_content_tokens_have_logprobs() -> None:
    choice = called(TOOLS, [b"a", b"b <tool", CALL[5:], b"\n", b"c"], logprobs=True)
    assert choice.logprobs is not None
    assert ["a", "b", "c"] == [entry.token for entry in choice.logprobs.content or []]
    choice = called(TOOLS, [b"a", b" ", CALL, b"\n", b"b"], logprobs=True)
    assert choice.logprobs is not None
    assert ["a", "b"] == [entry.token for entry in choice.logprobs.content or []]


def test_call_markers_may_be_control_tokens() -> None:
    pieces: list[bytes | str] = [b"Hi", "[TOOL_CALLS]", b"find", "[ARGS]", b"{}", CONTROL]
    tools = AnswerCalls(notation=TOOL_NOTATIONS["mistral-args"], tools={"find": {}})
    choice = called(tools, pieces, logprobs=True)
    assert ("Hi", "tool_calls") == (choice.message.content, choice.finish_reason)
    assert choice.logprobs is not None
    assert ["Hi"] == [entry.token for entry in choice.logprobs.content or []]


def test_harmony_channels_become_reasoning_content_and_calls() -> None:
    harmony = recognise("<|channel|>analysis<|message|>")
    tools = AnswerCalls(notation=harmony.tools, tools={"find": {}})
    thought: list[bytes | str] = [
        "<|channel|>",
        b"analysis",
        "<|message|>",
        b"so",
        "<|end|>",
        "<|start|>",
        b"assistant",
    ]
    said: list[bytes | str] = ["<|channel|>", b"final", "<|message|>", b"Hi"]
    call: list[bytes | str] = ["<|channel|>", b"commentary to=functions.find ", "<|constrain|>", b"json", "<|message|>",
                               b"{}"]  # fmt: skip
    for end, expected in ((said, ("so", "Hi", 0)), (call, ("so", None, 1))):
        message = called(tools, [*thought, *end], reasoning=harmony.reasoning).message
        calls = [] if isinstance(message.tool_calls, msgspec.UnsetType) else message.tool_calls
        assert expected == (message.reasoning_content, message.content, len(calls))
    assert "Hi" == called(tools, said, reasoning=harmony.reasoning).message.content


FORCED = [
    pytest.param(AnswerCalls(notation=HERMES, tools={"find": {}}), id="one tool"),
    pytest.param(AnswerCalls(notation=HERMES, tools={"find": {}}, named=True), id="named"),
    pytest.param(AnswerCalls(notation=HERMES, tools={"find": {}}, legacy=True, named=True), id="function_call"),
    pytest.param(AnswerCalls(notation=HERMES, tools={"run": None}), id="custom"),
]


@pytest.mark.parametrize("tools", FORCED)
@pytest.mark.parametrize("reasoning", [None, THINK])
def test_forced_call_that_is_cut_in_its_opening_has_no_content(
    tools: AnswerCalls, reasoning: ReasoningMarkers | None
) -> None:
    opening = "\n<tool_call>" if tools.tools.get("run", ()) is not None else '\n<custom_tool_call name="'
    for start in (opening, "<think>"):
        for end in range(len(start)):
            pieces: list[bytes | str] = [bytes((byte,)) for byte in start[:end].encode()]
            choice = called(
                tools, pieces, tokens(*range(end)), finished("length"),
                logprobs=True, content="none", reasoning=reasoning,
            )  # fmt: skip
            assert choice.logprobs is not None
            assert ("", [], "length") == (choice.message.content, choice.logprobs.content, choice.finish_reason)


def test_call_that_is_cut_after_a_complete_one_has_no_content_and_no_logprobs() -> None:
    for content in ("text", "json", "none"):
        choice = called(
            TOOLS, [CALL, b"\n<tool", b"_"], tokens(0, 1, 2), finished("length"), logprobs=True, content=content
        )
        assert choice.logprobs is not None
        assert (None, []) == (choice.message.content, choice.logprobs.content)


@pytest.mark.parametrize("tools", [None, TOOLS])
def test_json_answer_that_is_cut_in_the_mark_of_its_reasoning_has_no_content(tools: AnswerCalls | None) -> None:
    options = AssemblyOptions(tools=tools, content="json", reasoning=THINK, logprobs=True)
    choice = answer([b"\n", b"<th"], options, tokens(0, 1), finished("length")).choices[0]
    assert choice.logprobs is not None
    assert ("", []) == (choice.message.content, choice.logprobs.content)
    assert '{"a' == answer([b'{"a'], options, tokens(0), finished("length")).choices[0].message.content


def test_free_text_that_is_cut_where_a_mark_may_begin_is_content() -> None:
    for text in (b"<th", b"a <tool_"):
        choice = called(TOOLS, [text], tokens(0), finished("length"), reasoning=THINK)
        assert text.decode() == choice.message.content


@pytest.mark.parametrize("size", range(1, 7))
def test_marks_of_control_tokens_that_are_cut_are_neither_reasoning_nor_content(size: int) -> None:
    harmony = recognise("<|channel|>analysis<|message|>")
    tools = AnswerCalls(notation=harmony.tools, tools={})
    pieces: list[bytes | str] = ["<|channel|>", b"ana", b"lysis", "<|message|>", "<|end|>", "<|start|>"]
    message = called(tools, pieces[:size], reasoning=harmony.reasoning).message
    assert "" == message.content
    assert message.reasoning_content in ("", msgspec.UNSET)


WORDS: list[bytes | str] = [b"Hi", b" END", CONTROL, b" you"]


def said(*events: StreamEvent, **options: object) -> str | None:
    made = msgspec.structs.replace(AssemblyOptions(), **options)
    return answer(WORDS, made, *events, finished()).choices[0].message.content


def test_texts_of_control_tokens_are_shown_on_request() -> None:
    """``skip_special_tokens`` is false."""
    assert "Hi you" == said(tokens(0, 2, 3))
    assert f"Hi{CONTROL} you" == said(tokens(0, 2, 3), shows_special_tokens=True)


@pytest.mark.parametrize(("expected", "includes_stop"), [("Hi", False), ("Hi you", True)])
@pytest.mark.parametrize("logprobs", [False, True])
def test_token_that_ends_the_answer_is_shown_only_if_it_is_included(
    expected: str,
    includes_stop: bool,  # noqa: FBT001 (a table's column)
    logprobs: bool,  # noqa: FBT001
) -> None:
    end = msgspec.structs.replace(tokens(3), is_end=True)
    assert expected == said(tokens(0), end, includes_stop=includes_stop, logprobs=logprobs)


def test_control_token_that_ends_the_answer_is_shown_only_with_special_tokens() -> None:
    end = msgspec.structs.replace(tokens(2), is_end=True)
    assert "Hi" == said(tokens(0), end, includes_stop=True)
    assert f"Hi{CONTROL}" == said(tokens(0), end, includes_stop=True, shows_special_tokens=True)


@pytest.mark.parametrize(("expected", "min_tokens"), [("Hi", 0), ("Hi", 1), ("Hi END you", 2), ("Hi END you", 3)])
def test_stop_string_within_min_tokens_is_content(expected: str, min_tokens: int) -> None:
    assert expected == said(tokens(0, 1, 3), stop=(" END",), min_tokens=min_tokens)


def test_logprobs_of_a_shown_control_token_have_its_text() -> None:
    made = AssemblyOptions(logprobs=True, shows_special_tokens=True)
    logprobs = answer(WORDS, made, tokens(0, 2), finished()).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert ["Hi", CONTROL] == [entry.token for entry in logprobs.content]


def test_call_in_a_foreign_notation_becomes_a_call_without_logprobs() -> None:
    pieces: list[bytes | str] = [b"```json\n{", b'"name": "find", "arguments"', b': {"a": 1}}', b"\n```"]
    foreign = msgspec.structs.replace(TOOLS, foreign=True)
    choice = called(foreign, pieces, logprobs=True)
    assert [FunctionToolCall("call_1", FunctionCall("find", '{"a": 1}'))] == choice.message.tool_calls
    assert choice.logprobs is not None
    assert (None, [], "tool_calls") == (choice.message.content, choice.logprobs.content, choice.finish_reason)
    assert "```json\n{" == called(foreign, pieces[:1]).message.content
    assert called(TOOLS, pieces).message.tool_calls is msgspec.UNSET
