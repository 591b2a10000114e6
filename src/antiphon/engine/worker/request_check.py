"""Checks that a request cannot fail a step, which would end every other request."""

from itertools import chain
from typing import Final

from antiphon.engine.interface import GenerateRequest, MediaSegment, ModelInfo, TokenSegment

DIGEST_SIZE: Final = 32
"""Bytes of a SHA-256 digest."""
FLOAT_SIZE: Final = 4
"""Bytes of a float32."""


def assert_possible(request: GenerateRequest, info: ModelInfo) -> None:
    """Assert that a request has choices, known tokens, whole media, and room for one token after its prompt."""
    prompt_ids = request.prompt_ids
    assert 0 < len(prompt_ids) < info.max_model_len, f"0 < {len(prompt_ids)} < {info.max_model_len}"
    assert prompt_ids[-1] >= 0, "a prompt ends with a token, whose logits give the answer's first token"
    assert request.n > 0, f"{request.n} > 0"
    texts = [segment.ids for segment in request.prompt if isinstance(segment, TokenSegment)]
    ids = [*chain.from_iterable(texts), *request.prediction_ids, *request.sampling.logit_bias]
    assert min(ids) >= 0, f"{min(ids)} >= 0"
    assert max(ids) < info.n_vocab, f"{max(ids)} < {info.n_vocab}"
    for segment in request.prompt:
        if isinstance(segment, MediaSegment):
            _assert_whole(segment, info.n_embd)


def _assert_whole(segment: MediaSegment, n_embd: int) -> None:
    """Assert that a segment has a digest, rows, and ``n_embd`` numbers for each row."""
    assert len(segment.digest) == DIGEST_SIZE, f"{len(segment.digest)} == {DIGEST_SIZE}"
    assert segment.length > 0, f"{segment.length} > 0"
    size = segment.length * n_embd * FLOAT_SIZE
    assert len(segment.embeddings) == size, f"{len(segment.embeddings)} == {size}"
