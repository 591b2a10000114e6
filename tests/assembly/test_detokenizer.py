from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.assembly.detokenizer import Detokenizer

pieces = st.lists(st.binary(max_size=5) | st.text(max_size=3).map(str.encode))


@settings(deadline=None)
@given(pieces)
def test_any_split_of_any_bytes_gives_the_same_text(tokens: list[bytes]) -> None:
    detokenizer = Detokenizer()
    text = "".join(map(detokenizer.push, tokens)) + detokenizer.flush()
    assert b"".join(tokens).decode("utf-8", "replace") == text


def test_character_is_returned_with_its_last_byte() -> None:
    detokenizer = Detokenizer()
    assert ["", "", "", "😀"] == [detokenizer.push(bytes((byte,))) for byte in "😀".encode()]


def test_pending_counts_the_bytes_of_an_incomplete_character() -> None:
    detokenizer = Detokenizer()
    assert "a" == detokenizer.push("a€".encode()[:-1])
    assert 2 == detokenizer.pending


def test_an_incomplete_character_at_the_end_is_replaced() -> None:
    detokenizer = Detokenizer()
    detokenizer.push("€".encode()[:2])
    assert "\ufffd" == detokenizer.flush()


def test_a_flush_starts_a_new_run() -> None:
    detokenizer = Detokenizer()
    detokenizer.push(b"\xe2\x82")
    detokenizer.flush()
    assert 0 == detokenizer.pending
    assert "a" == detokenizer.push(b"a")
