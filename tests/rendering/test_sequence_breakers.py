"""The tokens of DRY's sequence breakers: the field dry_sequence_breakers."""

from antiphon.rendering.sequence_breakers import Breakers, find_breakers

PIECES = [b"a", b"b", b".\n", b"", b"ab", b" ##"]


class Words:
    """A vocabulary of a few pieces, of which each text's tokenization is known."""

    n_vocab = len(PIECES)

    def token_bytes(self, token_id: int) -> bytes:
        return PIECES[token_id]

    def encode(self, text: str) -> list[int]:
        return {"a#": [0, 5], "ba": [1, 0], "x": [3]}.get(text, [PIECES.index(text.encode())] if text == "a" else [])


def test_every_token_that_contains_a_breaker_breaks_repeats() -> None:
    assert Breakers(ids=[0, 4]) == find_breakers(["a"], Words())


def test_breaker_of_several_tokens_breaks_repeats_as_a_run() -> None:
    assert Breakers(sequences=[[1, 0]]) == find_breakers(["ba", "ba"], Words())


def test_run_that_has_a_breaking_token_is_left_out() -> None:
    assert Breakers(ids=[0, 4]) == find_breakers(["a", "ba"], Words())


def test_text_that_no_token_has_breaks_nothing() -> None:
    assert Breakers() == find_breakers(["x"], Words())


def test_default_breaks_at_a_newline() -> None:
    assert Breakers(ids=[2]) == find_breakers(None, Words())


def test_no_breakers_break_nothing() -> None:
    assert Breakers() == find_breakers([], Words())
