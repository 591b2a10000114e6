"""Converts between texts and token ids for a client that asks for them; no model reads the result."""

from typing import Protocol

from antiphon.errors import InvalidRequestError
from antiphon.rendering.render_job import TokenJob, Tokens


class TextVocabulary(Protocol):
    """The part of a tokenizer that converts both ways."""

    n_vocab: int

    def encode(self, text: str, *, parse_special: bool = False, add_special: bool = False) -> list[int]:
        """Return token ids."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token adds to the text; none for control tokens."""

    def token_text(self, token_id: int) -> str:
        """Return a printable name."""


def convert_tokens(vocabulary: TextVocabulary, job: TokenJob) -> Tokens:
    """Return the ids of the job's text, or the text of its ids, control tokens as their texts.

    Raises ``InvalidRequestError`` for an id that is no token.
    """
    ids = job.ids
    if ids is None:
        ids = vocabulary.encode(job.text, parse_special=job.parse_special, add_special=job.add_special)
    unknown = next((i for i in ids if i >= vocabulary.n_vocab), None)
    if unknown is not None:
        message = f"Invalid value for 'tokens': {unknown}. This model's token ids are less than {vocabulary.n_vocab}."
        raise InvalidRequestError(message, param="tokens", code="invalid_value")
    pieces = [vocabulary.token_bytes(i) or vocabulary.token_text(i).encode() for i in ids]
    return Tokens(
        ids=ids,
        text=b"".join(pieces).decode(errors="replace") if job.ids is not None else "",
        texts=[piece.decode(errors="replace") for piece in pieces] if job.texts else [],
    )
