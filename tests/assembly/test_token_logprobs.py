from antiphon.assembly.token_logprobs import ContentLogprobs, TokenTexts
from antiphon.engine.interface import TokenLogprobs
from tests.assembly.answers import CONTROL, Pieces

PIECES: list[bytes | str] = [b"ab", b"cd", CONTROL, b"\xff", b"abcdefgh", "é".encode()]
ENTRY = TokenLogprobs(logprob=-1.0, top_ids=[], top_logprobs=[])


def waiting(*token_ids: int) -> ContentLogprobs:
    vocabulary = Pieces(PIECES)
    target = ContentLogprobs(TokenTexts(vocabulary))
    for token_id in token_ids:
        target.add(token_id, vocabulary.token_bytes(token_id), ENTRY)
    return target


def shown(target: ContentLogprobs, decided: int, *, final: bool = False) -> list[str]:
    return [entry.token for entry in target.take(decided, final=final)]


def test_token_has_an_entry_once_its_last_byte_is_decided() -> None:
    target = waiting(0, 1)
    target.add_content(0, 4)
    assert [] == shown(target, 1)
    assert ["ab"] == shown(target, 3)
    assert ["cd"] == shown(target, 4)


def test_entry_holds_only_the_tokens_bytes_of_content() -> None:
    target = waiting(0, 1, 0)
    target.add_content(1, 2)
    target.add_content(5, 6)
    assert ["b", "b"] == shown(target, 6)


def test_token_across_two_runs_of_content_has_one_entry() -> None:
    target = waiting(0, 1)
    target.add_content(0, 1)
    target.add_content(3, 4)
    assert ["a", "d"] == shown(target, 4)
    target = waiting(0)
    target.add_content(0, 1)
    target.add_content(1, 2)
    assert ["ab"] == shown(target, 2)


def test_token_without_content_has_no_entry_at_the_end() -> None:
    target = waiting(0, 1)
    target.add_content(0, 1)
    assert ["a"] == shown(target, 0, final=True)
    assert [] == shown(target, 4, final=True)


def test_token_without_bytes_has_an_entry_within_content() -> None:
    target = waiting(2, 0, 2, 1, 2)
    target.add_content(0, 2)
    assert [CONTROL, "ab", CONTROL] == shown(target, 4, final=True)


def test_token_without_bytes_after_all_content_has_no_entry() -> None:
    target = waiting(4, 2)
    target.add_content(0, 1)
    target.add_content(2, 3)
    assert ["ac"] == shown(target, 8, final=True)


def test_token_without_bytes_before_all_content_has_no_entry() -> None:
    target = waiting(2, 0)
    target.add_content(1, 2)
    assert ["b"] == shown(target, 2)
    assert [] == shown(waiting(2), 0, final=True)


def test_clear_drops_the_pending_tokens() -> None:
    target = waiting(0)
    target.add_content(0, 2)
    target.clear()
    assert [] == shown(target, 2, final=True)


def test_entry_of_a_partial_token_has_its_shown_bytes() -> None:
    texts = TokenTexts(Pieces(PIECES))
    assert ("ab", [97, 98]) == (texts.entry(0, b"ab", ENTRY).token, texts.entry(0, b"ab", ENTRY).bytes)
    assert ("b", [98]) == (texts.entry(0, b"b", ENTRY).token, texts.entry(0, b"b", ENTRY).bytes)
    assert ("\ufffd", [0xC3]) == (texts.entry(5, b"\xc3", ENTRY).token, texts.entry(5, b"\xc3", ENTRY).bytes)
    assert ("\ufffd", [255]) == (texts.entry(3, b"\xff", ENTRY).token, texts.entry(3, b"\xff", ENTRY).bytes)


def test_entry_lists_the_alternatives_with_their_texts() -> None:
    texts = TokenTexts(Pieces(PIECES))
    entry = texts.entry(0, b"ab", TokenLogprobs(logprob=-1.0, top_ids=[2, 3], top_logprobs=[-1.0, -2.0]))
    assert [(CONTROL, None), ("\ufffd", [255])] == [(top.token, top.bytes) for top in entry.top_logprobs]
