import pytest

from antiphon.errors import InvalidRequestError
from antiphon.rendering.render_job import TokenJob, Tokens
from antiphon.rendering.token_texts import convert_tokens

END = 256


class Vocabulary:
    """A tokenizer of bytes with one control token."""

    n_vocab = 257

    def encode(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[int]:
        begun = [END] if add_special else []
        if not parse_special:
            return [*begun, *text.encode()]
        first, *rest = text.split("<end>")
        return [*begun, *first.encode(), *(i for piece in rest for i in [END, *piece.encode()])]

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == END else bytes([token_id])

    def token_text(self, token_id: int) -> str:
        return "<end>" if token_id == END else chr(token_id)


VOCABULARY = Vocabulary()


@pytest.mark.parametrize(
    ("expected", "job"),
    [
        ([97, END], TokenJob(text="a<end>")),
        ([*b"<end>"], TokenJob(text="<end>", parse_special=False)),
        ([END, 97], TokenJob(text="a", add_special=True)),
        ([], TokenJob(text="")),
    ],
)
def test_text_becomes_token_ids(expected: list[int], job: TokenJob) -> None:
    assert Tokens(ids=expected, text="", texts=[]) == convert_tokens(VOCABULARY, job)


def test_each_token_gets_its_text_if_that_is_asked_for() -> None:
    assert ["a", "<end>", "\ufffd"] == convert_tokens(VOCABULARY, TokenJob(ids=[97, END, 0xC3], texts=True)).texts


def test_token_ids_become_one_text() -> None:
    assert "é<end>" == convert_tokens(VOCABULARY, TokenJob(ids=[0xC3, 0xA9, END])).text


def test_id_that_is_no_token_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        convert_tokens(VOCABULARY, TokenJob(ids=[1, 257]))
    assert ("tokens", "invalid_value") == (caught.value.param, caught.value.code)
