import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.stop_strings import StopStrings

letters = st.text("abé€", min_size=1, max_size=4)
stops = st.lists(letters, min_size=1, max_size=4)


overlaps = st.lists(st.text("ab", min_size=3, max_size=7), min_size=1, max_size=3)
"""Stop strings that overlap themselves and each other."""


def cut(stop: list[str], text: str) -> tuple[str, bool]:
    """Search naively: the match with the earliest end wins, the longest of several."""
    for end in range(len(text) + 1):
        matches = [len(pattern) for pattern in stop if text[:end].endswith(pattern)]
        if matches:
            return text[: end - max(matches)], True
    return text, False


def split(data: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(position, len(data)) for position in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def run(stop: list[str], pieces: list[bytes]) -> tuple[bytes, bool]:
    strings = StopStrings(stop)
    released = b""
    for piece in pieces:
        decided, rest = strings.push(piece)
        released += decided
        if rest is not None:
            return released, True
    return released + strings.flush(), False


@settings(deadline=None)
@given(stops, st.text("abé€", max_size=20), st.lists(st.integers(0, 50)))
def test_any_chunking_finds_the_same_match_as_a_naive_search(stop: list[str], text: str, at: list[int]) -> None:
    expected, matched = cut(stop, text)
    assert (expected.encode(), matched) == run(stop, split(text.encode(), at))


@settings(deadline=None)
@given(overlaps, st.text("ab", max_size=40), st.lists(st.integers(0, 40)))
def test_self_overlapping_stop_strings_match_as_in_a_naive_search(stop: list[str], text: str, at: list[int]) -> None:
    expected, matched = cut(stop, text)
    assert (expected.encode(), matched) == run(stop, split(text.encode(), at))


def test_every_pattern_of_two_letters_matches_as_in_a_naive_search() -> None:
    text = "".join(random.Random(1).choices("ab", k=1500))  # noqa: S311 (a text)
    for pattern in map("".join, itertools.chain.from_iterable(itertools.product("ab", repeat=n) for n in range(1, 9))):
        strings, rest = StopStrings([pattern]), text.encode()
        expected = text.encode().replace(pattern.encode(), b"")
        assert expected == b"".join(through(strings, rest)), pattern


def through(strings: StopStrings, data: bytes) -> Iterator[bytes]:
    """Yield the returned bytes; a new run begins after each match."""
    rest: bytes | None = data
    while rest is not None:
        decided, rest = strings.push(rest)
        yield decided
    yield strings.flush()


def test_failed_prefix_falls_back_to_its_longest_border() -> None:
    assert (b"aaabaaabaabb", False) == run(["aaabb"], [b"aaabaaabaabb"])


@settings(deadline=None)
@given(stops, st.text("abé€", max_size=20))
def test_returned_text_never_holds_a_stop_string(stop: list[str], text: str) -> None:
    released, _ = run(stop, [text.encode()])
    assert not [pattern for pattern in stop if pattern in released.decode()]


@settings(deadline=None)
@given(stops, st.text("abé€", max_size=12), st.lists(st.integers(0, 30)))
def test_held_bytes_are_always_the_start_of_a_stop_string(stop: list[str], text: str, at: list[int]) -> None:
    strings = StopStrings(stop)
    seen = released = b""
    for piece in split(text.encode(), at):
        decided, rest = strings.push(piece)
        if rest is not None:
            return
        seen += piece
        released += decided
        prefixes = [pattern.encode()[:size] for pattern in stop for size in range(len(pattern.encode()))]
        longest = max(len(prefix) for prefix in prefixes if seen.endswith(prefix))
        assert len(seen) - longest == len(released)


@settings(deadline=None)
@given(st.binary(max_size=30), st.lists(st.integers(0, 30)))
def test_malformed_bytes_pass_unchanged(data: bytes, at: list[int]) -> None:
    pieces = split(data, at)
    expected = data[: data.find("é".encode())] if "é".encode() in data else data
    assert expected == run(["é"], pieces)[0]


def test_bytes_after_a_match_are_returned() -> None:
    assert (b"a", b"bc") == StopStrings(["--"]).push(b"a--bc")


def test_match_with_the_earliest_end_wins() -> None:
    assert (b"ab", b"d") == StopStrings(["bcd", "c"]).push(b"abcd")


def test_longest_of_two_matches_with_the_same_end_wins() -> None:
    assert (b"a", b"") == StopStrings(["c", "bc"]).push(b"abc")


def test_held_bytes_are_returned_once_they_cannot_match() -> None:
    strings = StopStrings(["\n\nUser:"])
    assert [b"Hi", b"", b"", b"\n\nUs!"] == [strings.push(piece)[0] for piece in (b"Hi", b"\n", b"\nUs", b"!")]


def test_held_bytes_are_text_at_the_end() -> None:
    strings = StopStrings(["END"])
    assert (b"a", None) == strings.push(b"aEN")
    assert b"EN" == strings.flush()


def test_a_new_run_begins_after_a_flush() -> None:
    strings = StopStrings(["ab"])
    strings.push(b"xa")
    assert b"a" == strings.flush()
    assert (b"b", None) == strings.push(b"ba")
    assert b"a" == strings.flush()


def test_a_new_run_begins_after_a_match_for_every_stop_string() -> None:
    strings = StopStrings(["--", "ab"])
    assert (b"", b"a") == strings.push(b"--a")
    assert (b"b", None) == strings.push(b"ba")
    assert 1 == strings.held


@pytest.mark.parametrize("stop", [[], [""]])
def test_without_stop_strings_all_bytes_are_returned(stop: list[str]) -> None:
    assert (b"abc", None) == StopStrings(stop).push(b"abc")


def test_a_lone_surrogate_matches_nothing() -> None:
    assert (b"a?", None) == StopStrings(["\ud800"]).push(b"a?")


@given(stops, st.text("abé€", max_size=20))
def test_included_stop_string_is_part_of_the_bytes_before_the_rest(stop: list[str], text: str) -> None:
    data = text.encode()
    decided, rest = StopStrings(stop, included=True).push(data)
    _, expected = StopStrings(stop).push(data)
    assert expected == rest
    assert rest is None or data == decided + rest
