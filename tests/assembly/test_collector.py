import tracemalloc

import msgspec
import pytest
from msgspec import UNSET

from antiphon.assembly.collector import Collector
from antiphon.protocol.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    CustomCall,
    CustomCallDelta,
    CustomToolCall,
    Delta,
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    FunctionToolCall,
    PromptLogprob,
    PromptLogprobsEntry,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)

USAGE = CompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)


def chunk(*choices: ChunkChoice, usage: CompletionUsage | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id="c", created=1, model="m", service_tier="flex", system_fingerprint="fp", choices=[*choices], usage=usage
    )


def gained(delta: Delta, index: int = 0, logprobs: ChoiceLogprobs | None = None) -> ChatCompletionChunk:
    return chunk(ChunkChoice(index=index, delta=delta, logprobs=logprobs))


def end(reason: FinishReason, index: int = 0) -> ChatCompletionChunk:
    return chunk(ChunkChoice(index=index, delta=Delta(), finish_reason=reason))


def collect(*chunks: ChatCompletionChunk) -> ChatCompletion:
    collector = Collector()
    for each in (*chunks, chunk(usage=USAGE)):
        collector.add(each)
    return collector.completion()


def message(*chunks: ChatCompletionChunk) -> ChatCompletionMessage:
    return collect(*chunks, end("stop")).choices[0].message


def test_texts_of_deltas_are_concatenated() -> None:
    said = message(
        gained(Delta(role="assistant", content="", refusal=None)),
        gained(Delta(content="Hel")),
        gained(Delta(content="lo")),
    )
    assert ChatCompletionMessage(content="Hello") == said


def test_completion_has_the_header_and_the_usage_of_the_chunks() -> None:
    completion = collect(gained(Delta(content="")), end("length"))
    assert ("c", 1, "m", "flex", "fp", USAGE) == (
        completion.id,
        completion.created,
        completion.model,
        completion.service_tier,
        completion.system_fingerprint,
        completion.usage,
    )
    assert "length" == completion.choices[0].finish_reason


def test_interleaved_choices_are_sorted_by_index() -> None:
    completion = collect(gained(Delta(content="b"), 1), gained(Delta(content="a"), 0), end("stop", 1), end("stop", 0))
    assert [(0, "a"), (1, "b")] == [(choice.index, choice.message.content) for choice in completion.choices]


def test_reasoning_is_absent_without_reasoning_deltas() -> None:
    assert message(gained(Delta(content="a"))).reasoning_content is UNSET
    assert "so" == message(gained(Delta(reasoning_content="s")), gained(Delta(reasoning_content="o"))).reasoning_content


def test_refusal_replaces_content() -> None:
    said = message(gained(Delta(refusal="no")))
    assert (None, "no") == (said.content, said.refusal)


def test_logprobs_are_null_without_entries() -> None:
    entry = TokenLogprob("a", -1.0, [97], [])
    first = gained(Delta(content="a"), logprobs=ChoiceLogprobs([entry]))
    assert ChoiceLogprobs([entry, entry]) == collect(first, first, end("stop")).choices[0].logprobs
    assert collect(gained(Delta(content="a")), end("stop")).choices[0].logprobs is None


def alternatives(number: int) -> ChatCompletionChunk:
    """A chunk of one token with so many alternatives."""
    top = [TopLogprob(f" {rank}", -rank - number / 7, [32, *str(rank).encode()]) for rank in range(20)]
    entry = TokenLogprob(" a", -number / 7, [32, 97], top)
    return gained(Delta(content=" a"), logprobs=ChoiceLogprobs([entry], [entry]))


def test_completion_has_the_logprobs_of_the_chunks() -> None:
    chunks = [alternatives(number) for number in range(3)]
    entries = [chunk.choices[0].logprobs.content[0] for chunk in chunks]  # type: ignore[union-attr, index]
    assert ChoiceLogprobs(entries, entries) == collect(*chunks, end("stop")).choices[0].logprobs
    empty = gained(Delta(content=""), logprobs=ChoiceLogprobs([]))
    assert ChoiceLogprobs([]) == collect(empty, end("stop")).choices[0].logprobs


def test_chunks_can_be_added_after_a_partial_answer_was_stored() -> None:
    collector = Collector()
    collector.add(alternatives(0))
    first = msgspec.json.encode(collector.stored_choices())
    collector.add(alternatives(1))
    found = msgspec.json.decode(msgspec.json.encode(collector.stored_choices()))[0]
    assert (2, msgspec.json.decode(first)[0]["logprobs"]["content"]) == (
        len(found["logprobs"]["content"]),
        found["logprobs"]["content"][:1],
    )


def test_logprobs_of_the_prompt_are_joined_and_counted() -> None:
    entry = {"5": PromptLogprob(-0.5, 1, "é")}
    pieces: list[list[PromptLogprobsEntry]] = [[None, entry], [], [entry]]
    chunks = [msgspec.structs.replace(chunk(), prompt_logprobs=piece) for piece in pieces]
    body = collect(*chunks, gained(Delta(content="a")), end("stop"))
    assert [None, entry, entry] == body.prompt_logprobs
    size = len(msgspec.json.encode(body.prompt_logprobs))
    assert size - 1 == sum(map(Collector().add, chunks)), "without the bracket"


def test_sizes_of_the_chunks_add_up_to_the_size_of_the_body() -> None:
    function = FunctionCallDelta(name="f", arguments="é" * 500)
    call = ToolCallDelta(index=0, id="call_1", type="function", function=function)
    chunks = [*map(alternatives, range(50)), gained(Delta(content="é" * 1000)), gained(Delta(tool_calls=[call]))]
    collector = Collector()
    size = sum(map(collector.add, [*chunks, end("stop"), chunk(usage=USAGE)]))
    assert 0 < len(collector.body()) - size < 1000


def tool(function: FunctionCallDelta | None = None, custom: CustomCallDelta | None = None, index: int = 0) -> Delta:
    """A piece of one call."""
    return Delta(tool_calls=[ToolCallDelta(index, function=function or UNSET, custom=custom or UNSET)])


ENTRY = TokenLogprob("a", -1.0, [97], [])
TWO_CALLS = [ToolCallDelta(index, function=FunctionCallDelta(arguments="abc")) for index in range(2)]


@pytest.mark.parametrize(
    ("expected", "delta", "logprobs"),
    [
        (0, Delta(), None),
        (0, Delta(role="assistant", content=None, refusal=None), None),
        (6, Delta(content="é", refusal="x", reasoning_content="abc"), None),
        (0, tool(FunctionCallDelta(name="f")), None),
        (3, tool(FunctionCallDelta(name="f", arguments="é1")), None),
        (3, tool(custom=CustomCallDelta(name="run", input="é1")), None),
        (6, Delta(tool_calls=TWO_CALLS), None),
        (3, Delta(function_call=FunctionCallDelta(arguments="é1")), None),
        (7, Delta(content="é", tool_calls=[TWO_CALLS[0]], function_call=FunctionCallDelta(arguments="é")), None),
        (0, Delta(), ChoiceLogprobs([])),
        (2 * len(msgspec.json.encode(ENTRY)) + 2, Delta(), ChoiceLogprobs([ENTRY], [ENTRY])),
    ],
)
def test_add_returns_the_bytes_of_texts_and_logprobs(
    expected: int, delta: Delta, logprobs: ChoiceLogprobs | None
) -> None:
    assert expected == Collector().add(gained(delta, logprobs=logprobs))


def test_add_sums_the_sizes_of_all_choices_of_a_chunk() -> None:
    both = chunk(*(ChunkChoice(index=index, delta=Delta(content="ab")) for index in range(2)))
    assert 4 == Collector().add(both)


def test_function_name_may_come_without_arguments() -> None:
    head = gained(Delta(tool_calls=[ToolCallDelta(0, "call_1", "function", function=FunctionCallDelta(name="f"))]))
    said = message(head, gained(tool(FunctionCallDelta(arguments="{}"))))
    assert [FunctionToolCall("call_1", FunctionCall("f", "{}"))] == said.tool_calls


def test_collector_needs_little_more_memory_than_the_body() -> None:
    tracemalloc.start()
    try:
        collector = Collector()
        for number in range(500):
            collector.add(alternatives(number))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    size = sum(map(collector.add, (end("stop"), chunk(usage=USAGE)))) + len(collector.body())
    assert held < 1.5 * size


def test_deltas_of_tool_calls_are_joined_by_index() -> None:
    opening = gained(Delta(role="assistant", content=""))
    head = ToolCallDelta(index=0, id="call_1", type="function", function=FunctionCallDelta(name="f", arguments=""))
    tail = ToolCallDelta(index=0, function=FunctionCallDelta(arguments='{"a":1}'))
    said = message(opening, gained(Delta(tool_calls=[head])), gained(Delta(tool_calls=[tail])))
    assert (
        ChatCompletionMessage(content=None, tool_calls=[FunctionToolCall("call_1", FunctionCall("f", '{"a":1}'))])
        == said
    )


def test_deltas_of_a_function_call_are_concatenated() -> None:
    first = gained(Delta(function_call=FunctionCallDelta(name="f", arguments="{")))
    said = message(first, gained(Delta(function_call=FunctionCallDelta(arguments="}"))))
    assert FunctionCall("f", "{}") == said.function_call


def test_content_of_a_message_of_calls_alone_is_null() -> None:
    call = gained(Delta(function_call=FunctionCallDelta(name="f", arguments="{}")))
    assert message(gained(Delta(content="")), call).content is None
    assert "a" == message(gained(Delta(content="a")), call).content


def test_unfinished_stream_has_no_completion() -> None:
    with pytest.raises(AssertionError, match="choice 0 has not ended"):
        collect(gained(Delta(content="a")))


def test_input_of_a_custom_tool_is_concatenated() -> None:
    said = message(
        gained(Delta(role="assistant", content=None)),
        gained(Delta(tool_calls=[ToolCallDelta(0, "call_1", "custom", custom=CustomCallDelta("run", ""))])),
        gained(Delta(tool_calls=[ToolCallDelta(0, custom=CustomCallDelta(input="x"))])),
        gained(Delta(tool_calls=[ToolCallDelta(0, custom=CustomCallDelta(input="y"))])),
    )
    assert ChatCompletionMessage(content=None, tool_calls=[CustomToolCall("call_1", CustomCall("run", "xy"))]) == said


def test_running_usage_is_not_the_usage_of_the_answer() -> None:
    running = CompletionUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    collector = Collector()
    collector.add(chunk(ChunkChoice(index=0, delta=Delta(content="a")), usage=running))
    assert collector.usage is None
