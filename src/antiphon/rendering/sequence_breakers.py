"""Turns the sequence breakers of DRY into tokens: no repeat continues across one of these texts."""

from typing import Final, Protocol

from msgspec import Struct

DEFAULT_BREAKERS: Final = ("\n", ":", '"', "*")
"""llama.cpp's default of ``dry_sequence_breakers``."""


class BreakerVocabulary(Protocol):
    """The part of a vocabulary that finds texts in tokens."""

    n_vocab: int

    def token_bytes(self, token_id: int, /) -> bytes:
        """Return the token's bytes, empty for a control token."""

    def encode(self, text: str) -> list[int]:
        """Return token ids."""


class Breakers(Struct, frozen=True):
    """The tokens that contain a breaker, and the tokenizations of the breakers that have several tokens."""

    ids: list[int] = []
    sequences: list[list[int]] = []


def find_breakers(texts: list[str] | None, vocabulary: BreakerVocabulary) -> Breakers:
    """Return the breakers among the tokens of a vocabulary. None stands for the default. It reads every token once."""
    wanted = DEFAULT_BREAKERS if texts is None else texts
    patterns = [text.encode("utf-8", "surrogatepass") for text in wanted]
    pieces = [*map(vocabulary.token_bytes, range(vocabulary.n_vocab))]
    known = {token for pattern in patterns for token, piece in enumerate(pieces) if pattern in piece}
    sequences = [vocabulary.encode(text) for text in dict.fromkeys(wanted)]
    return Breakers(sorted(known), [each for each in sequences if len(each) > 1 and not known.intersection(each)])
