import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.reasoning_parser import LEADING_SPACE, ReasoningParser
from antiphon.chat_formats.chat_format import ReasoningMarkers

THINK = ReasoningMarkers("<think>", "</think>")


CHANNELS = ReasoningMarkers("<a>", "<end><final>", "<end>")


def run(tokens: list[bytes], *, opened: bool = False, markers: ReasoningMarkers = THINK) -> tuple[bytes, bytes, int]:
    """Return reasoning, content and the count of reasoning tokens."""
    parser = ReasoningParser(markers, opened=opened)
    reasoning = content = b""
    for token in tokens:
        if parser.content_start is not None:
            content += token
            continue
        thought, text = parser.push(token)
        reasoning += thought
        content += text
    if parser.content_start is None:
        thought, text = parser.flush()
        reasoning += thought
        content += text
    if parser.content_start is not None:
        assert content == b"".join(tokens)[parser.content_start :]
    else:
        assert content == b""
    return reasoning, content, parser.reasoning_tokens


def naive(answer: bytes, *, opened: bool) -> tuple[bytes, bytes]:
    stripped = answer.lstrip()
    if stripped.startswith(b"<think>"):
        inner = stripped.removeprefix(b"<think>")
    elif opened:
        inner = answer
    else:
        return b"", answer
    reasoning, _, content = inner.lstrip(b"\n").partition(b"</think>")
    return reasoning, content.lstrip(b"\n")


fragments = st.sampled_from([b"<think>", b"</think>", b"\n", b" ", b"<", b"</th", b"ink>", b"a", "é".encode()])


@settings(deadline=None)
@given(st.lists(fragments, max_size=10).map(b"".join), st.lists(st.integers(0, 60)), st.booleans())
def test_any_chunking_splits_as_the_whole_text_does(answer: bytes, at: list[int], opened: bool) -> None:  # noqa: FBT001
    bounds = [0, *sorted(min(position, len(answer)) for position in at), len(answer)]
    tokens = [answer[start:end] for start, end in itertools.pairwise(bounds)]
    assert naive(answer, opened=opened) == run(tokens, opened=opened)[:2]


@pytest.mark.parametrize(
    ("tokens", "opened", "expected"),
    [
        ([b"<think>", b"\n", b"so", b"</think>", b"\n\n", b"Hi"], False, (b"so", b"Hi", 4)),
        ([b"<thi", b"nk>so</th", b"ink>\nHi"], False, (b"so", b"Hi", 3)),
        ([b"so", b"</think>", b"Hi"], True, (b"so", b"Hi", 2)),
        ([b"<think>", b"so", b"</think>", b"Hi"], True, (b"so", b"Hi", 3)),
        ([b"<think>", b"a", b"\nb", b"</think>", b"Hi"], False, (b"a\nb", b"Hi", 4)),
        ([b"<think>", b"<think", b">", b"</think>", b"Hi"], False, (b"<think>", b"Hi", 4)),
        ([b"<think>so</think>", b"X", b"Y"], False, (b"so", b"XY", 1)),
        ([b"<think>so</think>", b"\n", b"X", b"Y"], False, (b"so", b"XY", 1)),
        ([b"<think>", b"\n\n", b"</think>", b"\n\n", b"Hi"], False, (b"", b"Hi", 3)),
        ([b"\n", b"<think>", b"so"], False, (b"so", b"", 3)),
        ([b"\n", b"Hi"], False, (b"", b"\nHi", 0)),
        ([b"Use ", b"<think>", b"x", b"</think>"], False, (b"", b"Use <think>x</think>", 0)),
        ([b"<think>", b"a", b"</think>", b"b", b"<think>", b"c"], False, (b"a", b"b<think>c", 3)),
        ([b"<thin"], False, (b"", b"<thin", 0)),
        ([b"\n<thin"], True, (b"<thin", b"", 1)),
        ([b"so</thi"], True, (b"so</thi", b"", 1)),
        ([], True, (b"", b"", 0)),
    ],
)
def test_reasoning_content_and_count(tokens: list[bytes], opened: bool, expected: tuple[bytes, bytes, int]) -> None:  # noqa: FBT001
    assert expected == run(tokens, opened=opened)


def test_endless_whitespace_is_content_after_a_bound() -> None:
    parser = ReasoningParser(THINK)
    assert [(b"", b"")] * LEADING_SPACE == [parser.push(b" ") for _ in range(LEADING_SPACE)]
    assert (b"", b" " * (LEADING_SPACE + 1)) == parser.push(b" ")


@pytest.mark.parametrize("behind", [b"", b"\n"])
@pytest.mark.parametrize("markers", [THINK, CHANNELS])
def test_content_behind_the_end_marker_is_out_at_once(behind: bytes, markers: ReasoningMarkers) -> None:
    parser = ReasoningParser(markers)
    assert (b"so", b"") == parser.push(f"{markers.start}so{markers.end}".encode() + behind)
    assert (b"", b"X") == parser.push(b"X")


def test_it_says_once_the_answer_is_known_to_reason() -> None:
    parser = ReasoningParser(THINK)
    parser.push(b"<think")
    assert not parser.reasoning
    parser.push(b">")
    assert parser.reasoning


@pytest.mark.parametrize(
    ("reasoning", "content", "answer"),
    [
        (b"so", b"Hi", b"<a>so<end><final>Hi"),
        (b"so", b"Hi", b"<a>so<end><final>\n\nHi"),
        (b"so", b"XY", b"<a>so<end><final>\nXY"),
        (b"so", b"<fin>Hi", b"<a>so<end><fin>Hi"),
        (b"so", b"<call>", b"<a>so<end>\n<call>"),
        (b"so", b"", b"<a>so<end><fi"),
        (b"so", b"", b"<a>so<end>"),
    ],
)
def test_the_rest_of_an_end_marker_is_skipped_when_it_follows(reasoning: bytes, content: bytes, answer: bytes) -> None:
    single = [bytes((byte,)) for byte in answer]
    assert (reasoning, content) == run([answer], markers=CHANNELS)[:2] == run(single, markers=CHANNELS)[:2]
