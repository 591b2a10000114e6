from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.assembly.byte_source import SPACE, ByteSource, Match, Reading

T = TypeVar("T")


def run(source: ByteSource, reading: Reading[T], *chunks: bytes) -> T:
    """Start the parser, feed it the chunks one by one and return its result."""
    queue = list(chunks)
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if queue:
            source.feed(queue.pop(0))
        else:
            source.end()


def fed(data: bytes) -> ByteSource:
    source = ByteSource()
    source.feed(data)
    return source


@pytest.mark.parametrize(
    ("expected", "position", "chunks"),
    [
        (Match.YES, 3, [b"ab", b"cd"]),
        (Match.YES, 3, [b"ab", b"", b"c"]),
        (Match.NO, 0, [b"ab", b"x"]),
        (Match.CUT, 0, [b"a", b"b"]),
        (Match.CUT, 0, []),
    ],
)
def test_exactly_returns_match_mismatch_or_truncation(expected: Match, position: int, chunks: list[bytes]) -> None:
    source = ByteSource()
    assert expected is run(source, source.exactly(b"abc"), *chunks)
    assert position == source.position


@pytest.mark.parametrize("text", ["<a>{", "<a>  \n{", " <a>\n\n{"])
def test_literal_reads_a_marker_with_or_without_whitespace_between_its_words(text: str) -> None:
    source = ByteSource()
    assert Match.YES is run(source, source.literal("<a>\n{\n"), *(bytes((byte,)) for byte in text.encode()))
    assert len(text) == source.position


def test_literal_reads_nothing_unless_the_marker_comes_next() -> None:
    source = ByteSource()
    assert Match.NO is run(source, source.literal("<a> <b>"), b" <a> ", b"<", b"c>")
    assert 0 == source.position
    assert b" <a> <c>" == source.unread()


def test_peek_literal_reads_nothing() -> None:
    source = ByteSource()
    assert Match.YES is run(source, source.peek_literal("ab"), b" ab")
    assert 0 == source.position


def test_skip_reads_members_up_to_the_limit() -> None:
    source = fed(b"\n \tab")
    assert b"\n \t" == run(source, source.skip(SPACE))
    assert b"a" == run(source, source.skip(b"abc", 1))
    assert b"b" == run(source, source.peek())


def test_skip_reads_members_up_to_the_end_of_the_source() -> None:
    source = ByteSource()
    assert b"  " == run(source, source.skip(SPACE), b" ", b" ")
    assert 2 == source.position


def test_bytes_are_freed_once_they_are_read_unless_marked() -> None:
    source = fed(b"abc")
    source.position = 1
    assert 1 == source.mark()
    source.position = 3
    source.feed(b"d")
    assert b"bcd" == source.bytes_between(1, 4)
    assert 1 == source.unmark()
    source.feed(b"e")
    assert (b"de", 5) == (source.unread(), source.size)


def test_until_stops_at_the_first_complete_end_and_the_longest_of_several() -> None:
    found = bytearray()
    source = ByteSource()
    assert b"\nend" == run(source, source.until((b"end", b"\nend", b"ends"), found.extend), b"a\n", b"en", b"ds")
    assert (b"a", 1) == (bytes(found), source.position)


def test_partial_end_is_passed_to_a_function_of_its_own() -> None:
    found, cut = bytearray(), bytearray()
    source = ByteSource()
    assert run(source, source.until((b"<end>",), found.extend, cut.extend), b"a<", b"e") is None
    assert (b"a", b"<e", 3) == (bytes(found), bytes(cut), source.position)


def test_bytes_that_start_no_end_are_passed_on_at_once() -> None:
    found = bytearray()
    source = fed(b"ab<e")
    next(source.until((b"<end>",), found.extend))
    assert (b"ab", 2) == (bytes(found), source.position)
    source = fed(b"ab")
    next(source.until((b"<end>",), found.extend))
    assert (b"abab", 2) == (bytes(found), source.position)


def test_peek_at_the_end_returns_no_byte_and_sets_wanted_more() -> None:
    source = fed(b"a")
    assert b"a" == run(source, source.skip(b"a", 1))
    assert not source.wanted_more
    assert b"" == run(source, source.peek())
    assert source.wanted_more


@given(st.lists(st.sampled_from([b"a", b"ab", b"b", b"ba", b"aab", b"c"]), max_size=12), st.data())
def test_until_finds_the_same_end_in_any_split_of_the_bytes(fragments: list[bytes], data: st.DataObject) -> None:
    ends = tuple(data.draw(st.lists(st.sampled_from([b"ab", b"aba", b"bb", b"caab", b"aabc"]), min_size=1)))
    found = []
    for chunks in (fragments, [b"".join(fragments)]):
        source, before = ByteSource(), bytearray()
        end = run(source, source.until(ends, before.extend, before.extend), *chunks)
        found.append((end, bytes(before)))
    assert found[0] == found[1]
