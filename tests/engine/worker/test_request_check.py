"""Requests that would fail a step."""

import msgspec
import pytest

from antiphon.engine.interface import MediaSegment, TokenSegment
from antiphon.engine.worker.request_check import assert_possible
from tests.engine.engine_trial import request, text
from tests.engine.fake_model import N_EMBD, N_VOCAB, media, model_info

INFO = model_info(64, 32)
PICTURE = media(1, 20)


def test_request_with_a_picture_is_possible() -> None:
    assert_possible(request("a", text(1, 11), pictures=[PICTURE]), INFO)


@pytest.mark.parametrize(
    "prompt",
    [
        (TokenSegment([5]), PICTURE),
        (msgspec.structs.replace(PICTURE, length=19), TokenSegment([5])),
        (msgspec.structs.replace(PICTURE, digest=b"short"), TokenSegment([5])),
        (MediaSegment(digest=bytes(32), length=0, embeddings=b""), TokenSegment([5])),
        (msgspec.structs.replace(PICTURE, embeddings=bytes(20 * N_EMBD)), TokenSegment([5])),
        (TokenSegment([N_VOCAB]),),
        (TokenSegment([-1]), TokenSegment([5])),
        (TokenSegment([]),),
        (TokenSegment(text(1, 12)), PICTURE, TokenSegment([5])),
    ],
    ids=[
        "nothing follows the picture",
        "fewer rows than numbers",
        "short digest",
        "no row",
        "too few numbers",
        "unknown token",
        "negative token",
        "no token",
        "no room for an answer",
    ],
)
def test_impossible_prompt_is_refused(prompt: tuple[TokenSegment | MediaSegment, ...]) -> None:
    with pytest.raises(AssertionError):
        assert_possible(msgspec.structs.replace(request("a", [5]), prompt=prompt), INFO)


def test_request_without_choices_is_refused() -> None:
    with pytest.raises(AssertionError):
        assert_possible(request("a", [5], n=0), INFO)
