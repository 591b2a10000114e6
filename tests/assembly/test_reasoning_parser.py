import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.reasoning_parser import LEADING_SPACE, ReasoningParser
from antiphon.chat_formats.chat_format import ReasoningMarkers

THINK = ReasoningMarkers("<think>", "</think>")


CHANNELS = ReasoningMarkers("<a>", "<end><final>", "<end>")


def run(
    tokens: list[bytes], *, reasoning_open: bool = False, markers: ReasoningMarkers = THINK
) -> tuple[bytes, bytes, int]:
    """Return reasoning, content and the count of reasoning tokens."""
    parser = ReasoningParser(markers, reasoning_open=reasoning_open)
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
    start = len(b"".join(tokens)) if parser.content_start is None else parser.content_start
    assert content == b"".join(tokens)[start:]
    return reasoning, content, parser.reasoning_tokens


def naive(answer: bytes, *, reasoning_open: bool) -> tuple[bytes, bytes]:
    stripped = answer.lstrip()
    if stripped.startswith(b"<think>"):
        inner = stripped.removeprefix(b"<think>")
    elif reasoning_open:
        inner = answer
    else:
        return b"", answer
    reasoning, _, content = inner.lstrip(b"\n").partition(b"</think>")
    return reasoning, content.lstrip(b"\n")


fragments = st.sampled_from([b"<think>", b"</think>", b"\n", b" ", b"<", b"</th", b"ink>", b"a", "é".encode()])


@settings(deadline=None)
@given(st.lists(fragments, max_size=10).map(b"".join), st.lists(st.integers(0, 60)), st.booleans())
def test_split_does_not_depend_on_the_chunking(
    answer: bytes,
    at: list[int],
    reasoning_open: bool,  # noqa: FBT001
) -> None:
    bounds = [0, *sorted(min(position, len(answer)) for position in at), len(answer)]
    tokens = [answer[start:end] for start, end in itertools.pairwise(bounds)]
    assert naive(answer, reasoning_open=reasoning_open) == run(tokens, reasoning_open=reasoning_open)[:2]


@pytest.mark.parametrize(
    ("tokens", "reasoning_open", "expected"),
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
def test_reasoning_content_and_token_count(
    tokens: list[bytes],
    reasoning_open: bool,  # noqa: FBT001
    expected: tuple[bytes, bytes, int],
) -> None:
    assert expected == run(tokens, reasoning_open=reasoning_open)


def test_whitespace_over_the_limit_is_content() -> None:
    parser = ReasoningParser(THINK)
    assert [(b"", b"")] * LEADING_SPACE == [parser.push(b" ") for _ in range(LEADING_SPACE)]
    assert (b"", b" " * (LEADING_SPACE + 1)) == parser.push(b" ")


@pytest.mark.parametrize("newlines", [b"", b"\n"])
@pytest.mark.parametrize("markers", [THINK, CHANNELS])
def test_content_after_the_end_marker_is_returned_at_once(newlines: bytes, markers: ReasoningMarkers) -> None:
    parser = ReasoningParser(markers)
    assert (b"so", b"") == parser.push(f"{markers.start}so{markers.end}".encode() + newlines)
    assert (b"", b"X") == parser.push(b"X")


def test_is_reasoning_is_set_by_the_start_marker() -> None:
    parser = ReasoningParser(THINK)
    parser.push(b"<think")
    assert not parser.is_reasoning
    parser.push(b">")
    assert parser.is_reasoning


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
def test_rest_of_the_end_marker_is_skipped_if_it_follows(reasoning: bytes, content: bytes, answer: bytes) -> None:
    single = [bytes((byte,)) for byte in answer]
    assert (reasoning, content) == run([answer], markers=CHANNELS)[:2] == run(single, markers=CHANNELS)[:2]
