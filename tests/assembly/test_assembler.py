import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from antiphon.assembly.assembler import AssemblerOutput
from antiphon.assembly.choice import AssemblyOptions
from antiphon.engine.interface import Started, StreamEvent, TokenEvent
from antiphon.errors import InternalServerError, InvalidRequestError, ServiceUnavailableError
from antiphon.protocol.responses import ChatCompletion, ChoiceLogprobs, CompletionUsage
from tests.assembly.answers import (
    CALL,
    CONTROL,
    THINK,
    TOOLS,
    answer,
    assembler,
    collect,
    finished,
    push_all,
    shapes,
    tokens,
)


def test_first_chunk_of_a_choice_has_the_role_and_later_chunks_only_new_text() -> None:
    target = assembler([b"Hel", b"lo"])
    first = (
        '[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]'
    )
    gained = '[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]'
    assert [first, gained % "Hel"] == shapes(target.push(tokens(0)))
    assert [gained % "lo"] == shapes(target.push(tokens(1)))


def test_a_choice_ends_with_an_empty_delta_and_the_answer_with_its_usage() -> None:
    target = assembler([b"Hi"])
    target.push(Started(request_id="r", cached_tokens=4))
    target.push(tokens(0))
    step = target.push(finished("length", completion=1))
    assert '[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]' == shapes(step)[0]
    assert [] == step.chunks[-1].choices
    usage = step.chunks[-1].usage
    assert isinstance(usage, CompletionUsage)
    assert (7, 1, 8, 4) == (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.prompt_tokens_details.cached_tokens,
    )


def test_every_chunk_carries_the_header() -> None:
    chunks, _ = push_all(assembler([b"Hi"]), [tokens(0), finished()])
    assert {("chatcmpl-1", 5, "m", "default", "fp_1")} == {
        (chunk.id, chunk.created, chunk.model, chunk.service_tier, chunk.system_fingerprint) for chunk in chunks
    }


def test_plain_text_is_sent_as_soon_as_its_characters_are_complete() -> None:
    events: list[StreamEvent] = [Started(request_id="r", cached_tokens=0), tokens(0), tokens(1), tokens(2), finished()]
    chunks, _ = push_all(assembler([b"a", b"\xe2\x82", b"\xac"]), events)
    assert ["", "a", "€"] == [chunk.choices[0].delta.content for chunk in chunks[:-2]]


def test_second_finish_of_a_choice_is_an_assertion_error() -> None:
    target = assembler([], AssemblyOptions(n=2))
    target.push(finished())
    with pytest.raises(AssertionError, match="choice 0 finished twice"):
        target.push(finished())


def test_usage_reports_no_cached_tokens_unless_the_engine_does() -> None:
    details = answer([b"a"], AssemblyOptions(), tokens(0), finished()).usage.prompt_tokens_details
    assert 0 == details.cached_tokens


def test_answer_without_tokens_has_empty_content() -> None:
    completion = answer([], AssemblyOptions(), finished())
    assert "" == completion.choices[0].message.content


def test_stop_string_ends_the_choice_once_and_later_tokens_are_ignored() -> None:
    pieces: list[bytes | str] = [b"Hi", b"\nUs", b"er: more", b"lost"]
    events: list[StreamEvent] = [tokens(0), tokens(1, 2, 3), tokens(3), finished("abort", completion=9)]
    chunks, aborts = push_all(assembler(pieces, AssemblyOptions(stop=("\nUser:",))), events)
    completion = collect(chunks)
    assert [0] == aborts
    assert ("Hi", "stop", 3) == (
        completion.choices[0].message.content,
        completion.choices[0].finish_reason,
        completion.usage.completion_tokens,
    )


def test_text_held_as_a_possible_stop_string_is_sent_at_the_end() -> None:
    assert "a EN" == answer([b"a EN"], AssemblyOptions(stop=("END",)), tokens(0), finished()).choices[0].message.content


def test_stop_string_found_when_the_engine_finishes_aborts_nothing() -> None:
    options = AssemblyOptions(stop=("\n",), reasoning=THINK)
    chunks, aborts = push_all(assembler([b"\n"], options), [tokens(0), finished("length", completion=1)])
    assert ([], "stop") == (aborts, collect(chunks).choices[0].finish_reason)


def test_reasoning_is_separate_from_the_content_and_its_tokens_are_counted() -> None:
    pieces: list[bytes | str] = [b"<think>\n", b"so", b"</think>\n\nHi", b"!"]
    completion = answer(pieces, AssemblyOptions(reasoning=THINK), tokens(0, 1, 2, 3), finished(completion=5))
    message = completion.choices[0].message
    assert ("so", "Hi!") == (message.reasoning_content, message.content)
    assert 3 == completion.usage.completion_tokens_details.reasoning_tokens


def test_reasoning_markers_may_be_control_tokens() -> None:
    pieces: list[bytes | str] = ["<think>", b"so", "</think>", b"Hi", "<|end|>"]
    options = AssemblyOptions(reasoning=THINK, logprobs=True)
    completion = answer(pieces, options, tokens(0, 1, 2, 3), finished())
    message = completion.choices[0].message
    assert ("so", "Hi") == (message.reasoning_content, message.content)
    assert completion.choices[0].logprobs is not None
    assert ["Hi"] == [entry.token for entry in completion.choices[0].logprobs.content or []]


def test_stop_strings_do_not_apply_to_reasoning() -> None:
    options = AssemblyOptions(reasoning=THINK, reasoning_open=True, stop=("so",))
    message = answer([b"so</think>", b"Hi so"], options, tokens(0, 1), finished("abort")).choices[0].message
    assert ("so", "Hi ") == (message.reasoning_content, message.content)


def test_unfinished_reasoning_leaves_the_content_empty() -> None:
    options = AssemblyOptions(reasoning=THINK, reasoning_open=True)
    completion = answer([b"so</th"], options, tokens(0), finished("length", completion=1))
    message = completion.choices[0].message
    assert ("so</th", "") == (message.reasoning_content, message.content)
    assert 1 == completion.usage.completion_tokens_details.reasoning_tokens


def test_logprobs_are_in_the_chunk_with_the_last_byte_of_their_token() -> None:
    target = assembler([b"a\xe2\x82", b"\xac", b" EN", b"D"], AssemblyOptions(logprobs=True, stop=("END",)))

    def gained(step: AssemblerOutput) -> list[tuple[object, list[bytes]]]:
        found: list[tuple[object, list[bytes]]] = []
        for chunk in step.chunks:
            choice = chunk.choices[0]
            entries = choice.logprobs.content or [] if choice.logprobs else []
            found.append((choice.delta.content, [bytes(entry.bytes or ()) for entry in entries]))
        return found

    assert [("", []), ("a", [])] == gained(target.push(tokens(0)))
    assert [("€", [b"a\xe2\x82", b"\xac"])] == gained(target.push(tokens(1)))
    assert [(" ", [])] == gained(target.push(tokens(2)))
    assert [("", [b" "]), (msgspec.UNSET, [])] == gained(target.push(tokens(3)))


def test_token_across_a_stop_string_is_trimmed_and_tokens_inside_it_are_dropped() -> None:
    options = AssemblyOptions(logprobs=True, stop=("END",))
    logprobs = answer([b"abE", b"N", b"Dx"], options, tokens(0, 1, 2), finished("abort")).choices[0].logprobs
    assert logprobs is not None
    assert [("ab", list(b"ab"))] == [(entry.token, entry.bytes) for entry in logprobs.content or []]


def test_alternatives_show_control_tokens_by_name_and_replace_malformed_bytes() -> None:
    pieces: list[bytes | str] = [b"a", CONTROL, b"\xe2\x82"]
    logprobs = answer(pieces, AssemblyOptions(logprobs=True), tokens(0, top=(0, 1, 2)), finished()).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    alternatives = [(top.token, top.bytes) for top in logprobs.content[0].top_logprobs]
    assert [("a", [97]), (CONTROL, None), ("\ufffd", [0xE2, 0x82])] == alternatives


def test_sampled_control_token_has_an_entry_without_bytes() -> None:
    completion = answer([b"a", CONTROL], AssemblyOptions(logprobs=True), tokens(0, 1), finished())
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert [("a", [97]), (CONTROL, None)] == [(entry.token, entry.bytes) for entry in logprobs.content or []]


def test_engine_error_is_a_server_error_with_the_engines_message() -> None:
    with pytest.raises(InternalServerError, match="out of memory"):
        assembler([]).push(finished("error", message="out of memory"))


def test_too_costly_grammar_is_a_client_error() -> None:
    with pytest.raises(InvalidRequestError, match="seconds of processor time") as caught:
        assembler([]).push(finished("grammar", message="it took 9 seconds of processor time"))
    assert "grammar_too_costly" == caught.value.code


def test_unrequested_abort_is_a_service_unavailable_error() -> None:
    with pytest.raises(ServiceUnavailableError):
        assembler([]).push(finished("abort"))


def test_usage_sums_all_choices_and_follows_the_end_of_the_last() -> None:
    target = assembler([b"a"], AssemblyOptions(n=2))
    target.push(finished(index=1, completion=3))
    step = target.push(finished(index=0, completion=4))
    assert step.done
    usage = step.chunks[-1].usage
    assert isinstance(usage, CompletionUsage)
    assert (7, 7, 14) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)


def test_rejected_prediction_tokens_count_as_completion_tokens() -> None:
    target = assembler([b"a"], AssemblyOptions(n=2))
    target.push(finished(index=1, completion=3, accepted=2, rejected=5))
    usage = target.push(finished(index=0, completion=4, accepted=1, rejected=1)).chunks[-1].usage
    assert isinstance(usage, CompletionUsage)
    details = usage.completion_tokens_details
    assert (3, 6) == (details.accepted_prediction_tokens, details.rejected_prediction_tokens)
    assert (13, 20) == (usage.completion_tokens, usage.total_tokens)


def test_accepted_prediction_tokens_never_exceed_completion_tokens() -> None:
    target = assembler([b"a", b"b", b"c"], AssemblyOptions(stop=("b",)))
    target.push(TokenEvent(request_id="r", index=0, token_ids=[0, 1, 2]))
    usage = target.push(finished("abort", completion=3, accepted=3)).chunks[-1].usage
    assert isinstance(usage, CompletionUsage)
    assert 2 == usage.completion_tokens == usage.completion_tokens_details.accepted_prediction_tokens


PIECES: list[bytes | str] = [
    b"a", b" b", "é".encode(), b"\xf0\x9f", b"\x98\x80", b"\xe2", b"\xff", b"<think>", b"</thi", b"nk>", b"\n", b"<",
    CONTROL, CALL[:9], CALL[9:35], CALL[35:50], CALL[50:], CALL, b'<custom_tool_call name="run">\n',
]  # fmt: skip
answers = st.lists(st.integers(0, len(PIECES) - 1), max_size=12)
options = st.builds(
    AssemblyOptions,
    n=st.just(2),
    stop=st.lists(st.sampled_from(["b", "é", "a b", "\n", "é😀", "nk", "😀<"]), max_size=3).map(tuple),
    reasoning=st.sampled_from([None, THINK]),
    reasoning_open=st.booleans(),
    logprobs=st.just(value=True),
    tools=st.sampled_from([None, TOOLS, msgspec.structs.replace(TOOLS, legacy=True)]),
)


def visible(completion: ChatCompletion) -> list[bytes]:
    """Check the invariants of each choice and return the bytes of its entries."""
    found = []
    for choice in completion.choices:
        entries = (choice.logprobs.content or []) if choice.logprobs else []
        data = b"".join(bytes(entry.bytes or ()) for entry in entries)
        assert data.decode("utf-8", "replace") == (choice.message.content or "")
        found.append(data)
    return found


@settings(deadline=None)
@given(options, answers, answers, st.data())
def test_message_does_not_depend_on_grouping_and_interleaving_of_events(
    options: AssemblyOptions, one: list[int], two: list[int], data: st.DataObject
) -> None:
    ends = [finished("length", index=0, completion=len(one)), finished(index=1, completion=len(two))]
    whole, aborts = push_all(assembler(PIECES, options), [tokens(*one, index=0), tokens(*two, index=1), *ends])
    queues = [[*split(data, ids, index), ends[index]] for index, ids in enumerate((one, two))]
    order = data.draw(st.permutations([index for index, queue in enumerate(queues) for _ in queue]))
    events = [queues[index].pop(0) for index in order]
    other, other_aborts = push_all(assembler(PIECES, options), events)
    assert collect(whole) == collect(other)
    assert sorted(aborts) == sorted(other_aborts)
    visible(collect(whole))


def split(data: st.DataObject, ids: list[int], index: int) -> list[StreamEvent]:
    at = sorted(data.draw(st.lists(st.integers(0, len(ids)))))
    return [tokens(*ids[start:end], index=index) for start, end in itertools.pairwise([0, *at, len(ids)])]


@settings(deadline=None)
@given(options, answers)
def test_content_does_not_depend_on_logprobs(options: AssemblyOptions, ids: list[int]) -> None:
    events: list[StreamEvent] = [tokens(*ids), finished(completion=1), finished(index=1)]
    is_plain = msgspec.structs.replace(options, logprobs=False)
    with_logprobs = answer(PIECES, options, *events)
    assert with_logprobs.choices[0].message == answer(PIECES, is_plain, *events).choices[0].message


@settings(deadline=None)
@given(options, answers)
def test_each_choice_has_its_role_once_and_ends_once(options: AssemblyOptions, ids: list[int]) -> None:
    chunks, _ = push_all(assembler(PIECES, options), [tokens(*ids), finished(), finished(index=1)])
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [0, 1] == [choice.index for choice in choices if choice.delta.role == "assistant"]
    assert [0, 1] == [choice.index for choice in choices if choice.finish_reason]


def test_logprobs_of_a_choice_without_content_are_an_empty_list() -> None:
    options = AssemblyOptions(logprobs=True, stop=("a",))
    assert ChoiceLogprobs([]) == answer([b"a"], options, tokens(0), finished("abort")).choices[0].logprobs


@pytest.mark.parametrize("stop", [(), ("!",)])
def test_running_usage_counts_the_tokens_of_all_choices_in_every_chunk(stop: tuple[str, ...]) -> None:
    target = assembler([b"a", b"b"], AssemblyOptions(n=2, stop=stop, running_usage=7))
    events: list[StreamEvent] = [Started(request_id="r", cached_tokens=4), tokens(0), tokens(0, 1, index=1), tokens(1)]
    chunks = [chunk for event in events for chunk in target.push(event).chunks]
    usages = [chunk.usage for chunk in chunks if isinstance(chunk.usage, CompletionUsage)]
    assert [(7, 1, 8, 4)] * 2 + [(7, 3, 10, 4)] * 2 + [(7, 4, 11, 4)] == [
        (each.prompt_tokens, each.completion_tokens, each.total_tokens, each.prompt_tokens_details.cached_tokens)
        for each in usages
    ]


def test_chunks_carry_the_token_ids_of_prompt_and_answer_on_request() -> None:
    """``prompt_token_ids`` in the first chunk, ``token_ids`` in each chunk with tokens, also without text."""
    target = assembler([b"Hi", b"\xe2", CONTROL], AssemblyOptions(prompt_token_ids=[7, 8]))
    end = msgspec.structs.replace(tokens(2), is_end=True)
    chunks = [chunk for event in (tokens(0), tokens(1), end, finished()) for chunk in target.push(event).chunks]
    assert [7, 8] == chunks[0].prompt_token_ids
    assert all(chunk.prompt_token_ids is UNSET for chunk in chunks[1:])
    ids = [each.token_ids for chunk in chunks for each in chunk.choices]
    assert [UNSET, [0], [1], [2], UNSET, UNSET] == ids
    body = collect(chunks)
    assert ([7, 8], [0, 1, 2]) == (body.prompt_token_ids, body.choices[0].token_ids)


def test_token_ids_end_with_the_stop_string() -> None:
    target = assembler([b"Hi", b" END", b"x"], AssemblyOptions(prompt_token_ids=[], stop=("END",)))
    chunks = target.push(tokens(0, 1, 2)).chunks
    assert [0, 1] == next(each.token_ids for chunk in chunks for each in chunk.choices if each.token_ids is not UNSET)


def test_chunks_carry_no_token_ids_unless_the_request_asks_for_them() -> None:
    body = answer([b"Hi"], AssemblyOptions(), tokens(0), finished())
    assert (UNSET, UNSET) == (body.prompt_token_ids, body.choices[0].token_ids)
