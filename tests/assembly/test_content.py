from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.content import ContentText


def content(*stop: str, holds_space: bool = True) -> ContentText:
    target = ContentText(stop, None, holds_space=holds_space)
    target.begin(0)
    return target


def out(target: ContentText, *, final: bool = False) -> str:
    return target.take(final=final)[0]


def test_whitespace_waits_for_what_follows() -> None:
    target = content()
    target.add(0, b"a \n")
    assert "a" == out(target)
    target.add(3, b"b ")
    assert " \nb" == out(target)
    target.end()
    assert " " == out(target, final=True)


def test_whitespace_before_a_call_is_dropped() -> None:
    target = content()
    target.add(0, b"a \n")
    target.call()
    target.add(50, b"b")
    target.end()
    assert "ab" == out(target, final=True)


def test_where_no_call_can_come_whitespace_does_not_wait() -> None:
    target = content(holds_space=False)
    target.add(0, b"a \n")
    assert "a \n" == out(target)


def test_a_stop_string_is_found_within_a_run_only() -> None:
    target = content("ab")
    target.add(0, b"a")
    target.call()
    target.add(9, b"b")
    assert ("ab", False) == (out(target), target.stopped)
    target.add(10, b" abc")
    assert (" ", True) == (out(target, final=True), target.stopped)


def test_what_could_become_a_stop_string_is_out_at_the_end() -> None:
    target = content("abc")
    target.add(0, b"xab")
    assert "x" == out(target)
    target.end()
    assert "ab" == out(target, final=True)


@pytest.mark.parametrize("space", [True, False])
def test_a_character_that_is_split_comes_out_whole(*, space: bool) -> None:
    target = content(holds_space=space)
    target.add(0, "é".encode()[:1])
    assert ("", False) == (out(target), target.spoken)
    target.add(1, "é".encode()[1:])
    assert ("é", True) == (out(target), target.spoken)


@settings(deadline=None)
@given(st.binary(max_size=12), st.data())
def test_what_is_passed_on_is_what_is_added_and_taken(answer: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(answer))).map(sorted))
    pieces = [answer[start:end] for start, end in pairwise([0, *cuts, len(answer)])]
    one, other = content(holds_space=False), content(holds_space=False)
    for piece in pieces:
        other.add(other.position, piece)
        assert (out(other), other.spoken) == (one.pass_on(piece), one.spoken)
    assert (out(other, final=True), other.position) == (out(one, final=True), one.position)
