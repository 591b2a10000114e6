from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.content import ContentText
from antiphon.assembly.token_logprobs import ContentLogprobs, TokenTexts
from antiphon.engine.interface import TokenLogprobs
from tests.assembly.answers import CONTROL, Pieces

ENTRY = TokenLogprobs(logprob=-1.0, top_ids=[], top_logprobs=[])


def content(*stop: str, holds_space: bool = True) -> ContentText:
    target = ContentText(stop, None, holds_space=holds_space)
    target.begin(0)
    return target


def out(target: ContentText, *, final: bool = False) -> str:
    return target.take(final=final)[0]


def test_whitespace_is_held_until_content_follows() -> None:
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
    target.begin_call()
    target.add(50, b"b")
    target.end()
    assert "ab" == out(target, final=True)


def test_whitespace_is_not_held_without_tools() -> None:
    target = content(holds_space=False)
    target.add(0, b"a \n")
    assert "a \n" == out(target)


def test_a_stop_string_is_found_within_a_run_only() -> None:
    target = content("ab")
    target.add(0, b"a")
    target.begin_call()
    target.add(9, b"b")
    assert ("ab", False) == (out(target), target.stopped)
    target.add(10, b" abc")
    assert (" ", True) == (out(target, final=True), target.stopped)


def test_stop_string_does_not_match_across_two_runs_of_content() -> None:
    target = content("ab")
    target.add(0, b"a")
    target.add(9, b"b")
    assert ("ab", False) == (out(target), target.stopped)


def test_whitespace_held_as_a_possible_stop_string_is_dropped_before_a_call() -> None:
    target = content(" x")
    target.add(0, b"a ")
    target.begin_call()
    target.add(50, b"b")
    target.end()
    assert "ab" == out(target, final=True)


def test_incomplete_character_at_the_end_is_replaced() -> None:
    target = content()
    target.add(0, b"a\xe2")
    target.end()
    assert "a\ufffd" == out(target, final=True)


def test_start_of_a_stop_string_at_the_end_is_content() -> None:
    target = content("abc")
    target.add(0, b"xab")
    assert "x" == out(target)
    target.end()
    assert "ab" == out(target, final=True)


def test_take_returns_the_content_since_the_last_take() -> None:
    target = content()
    target.add(0, b"a")
    target.add(1, b"b")
    assert "ab" == out(target, final=True)


def test_whitespace_before_a_stop_string_is_content() -> None:
    target = content("STOP")
    target.add(0, b"a \n")
    target.add(3, b"STOP")
    assert ("a \n", True) == (out(target, final=True), target.stopped)


def test_has_text_is_set_by_the_first_text_that_is_taken() -> None:
    taken, passed = content(), content(holds_space=False)
    taken.add(0, b"a")
    said = [out(taken), out(taken), passed.push_plain(b"a"), passed.push_plain(b"")]
    assert (["a", "", "a", ""], True, True) == (said, taken.has_text, passed.has_text)


class Logged:
    """Content with the logprobs of its tokens, after ``start`` bytes of reasoning."""

    def __init__(self, *stop: str, start: int = 0) -> None:
        self.vocabulary = Pieces([b"-" * start])
        self.entries = ContentLogprobs(TokenTexts(self.vocabulary))
        if start:
            self.entries.add(0, b"-" * start, ENTRY)
        self.content = ContentText(stop, self.entries, holds_space=True)
        self.content.begin(start)

    def add(self, piece: bytes | str) -> None:
        """Add a token of content: bytes, or the text of a control token."""
        self.vocabulary.pieces.append(piece)
        token_id = len(self.vocabulary.pieces) - 1
        data = self.vocabulary.token_bytes(token_id)
        self.entries.add(token_id, data, ENTRY)
        if data:
            self.content.add(self.content.position, data)

    def take(self, *, final: bool = False) -> tuple[str, list[str]]:
        text, entries = self.content.take(final=final)
        return text, [entry.token for entry in entries]


def test_logprobs_of_whitespace_are_held_with_it() -> None:
    target = Logged()
    target.add(b"a ")
    assert ("a", []) == target.take()
    target.add(b"b")
    assert (" b", ["a ", "b"]) == target.take()


def test_entry_of_a_token_lacks_whitespace_dropped_before_a_call() -> None:
    target = Logged()
    target.add(b"a ")
    target.content.begin_call()
    assert ("a", ["a"]) == target.take(final=True)


def test_logprobs_of_a_possible_stop_string_are_held_with_it() -> None:
    target = Logged("ab", start=3)
    target.add(b"xa")
    assert ("x", []) == target.take()
    target.add(b"c")
    assert ("ac", ["xa", "c"]) == target.take()


def test_start_of_a_stop_string_at_the_end_has_its_logprobs() -> None:
    target = Logged("abc")
    target.add(b"xab")
    target.content.end()
    assert ("xab", ["xab"]) == target.take(final=True)


def test_logprobs_of_content_after_a_gap_belong_to_their_tokens() -> None:
    target = Logged()
    target.add(b"a")
    target.entries.add(0, b"--", ENTRY)
    target.vocabulary.pieces.append(b"b")
    target.entries.add(2, b"b", ENTRY)
    target.content.add(3, b"b")
    assert ("ab", ["a", "b"]) == target.take()


def test_logprobs_of_an_incomplete_character_are_held_until_its_end() -> None:
    target = Logged()
    target.add("é".encode()[:1])
    assert ("", []) == target.take()
    target.add("é".encode()[1:])
    assert ("é", ["\ufffd", "\ufffd"]) == target.take()


def test_logprobs_of_an_incomplete_character_before_whitespace_are_held() -> None:
    target = Logged()
    target.add("é".encode()[:1])
    target.add(b" ")
    assert ("", []) == target.take()
    target.add(b"a")
    assert ("\ufffd a", ["\ufffd", " ", "a"]) == target.take()


def test_control_tokens_before_the_content_have_entries_but_reasoning_has_none() -> None:
    target = Logged(start=3)
    target.add(CONTROL)
    target.add(b"a")
    assert ("a", [CONTROL, "a"]) == target.take()


@pytest.mark.parametrize("space", [True, False])
def test_split_character_is_returned_once_it_is_complete(*, space: bool) -> None:
    target = content(holds_space=space)
    target.add(0, "é".encode()[:1])
    assert ("", False) == (out(target), target.has_text)
    target.add(1, "é".encode()[1:])
    assert ("é", True) == (out(target), target.has_text)


@settings(deadline=None)
@given(st.binary(max_size=12), st.data())
def test_push_plain_returns_the_same_text_as_add_and_take(answer: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(answer))).map(sorted))
    pieces = [answer[start:end] for start, end in pairwise([0, *cuts, len(answer)])]
    one, other = content(holds_space=False), content(holds_space=False)
    for piece in pieces:
        other.add(other.position, piece)
        assert (out(other), other.has_text) == (one.push_plain(piece), one.has_text)
    assert (out(other, final=True), other.position) == (out(one, final=True), one.position)


def test_content_ends_with_the_stop_string_on_request() -> None:
    """``include_stop_str_in_output`` is true."""
    target = ContentText(("END",), None, holds_space=False, includes_stop=True)
    target.begin(0)
    target.add(0, b"a EN")
    target.add(4, b"D b")
    assert ("a END", True) == (out(target, final=True), target.stopped)


def test_stop_string_is_content_until_the_search_begins() -> None:
    target = content("END", holds_space=False)
    target.searches = False
    target.add(0, b"END ")
    target.searches = True
    target.add(4, b"a END")
    assert ("END a ", True) == (out(target, final=True), target.stopped)
