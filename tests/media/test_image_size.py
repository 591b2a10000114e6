"""The size that an image is reduced to: properties for every size, and the reference's bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.media.image_size import (
    MAX_EDGE,
    MAX_LOW_EDGE,
    MAX_ORIGINAL_PATCHES,
    MAX_PATCHES,
    Detail,
    Size,
    patches,
    target_size,
)
from antiphon.media.media_error import MediaError

EDGES = st.integers(1, 20_000)
SIZES = st.tuples(EDGES, EDGES).filter(lambda size: max(size) <= 200 * min(size))
REDUCED: list[Detail] = ["auto", "low", "high"]


@given(SIZES)
def test_low_keeps_the_longer_edge_within_512(size: Size) -> None:
    assert MAX_LOW_EDGE >= max(target_size(size, "low"))


@given(SIZES)
def test_high_keeps_edges_and_patches_within_the_bounds(size: Size) -> None:
    reduced = target_size(size, "high")
    assert MAX_EDGE >= max(reduced)
    assert MAX_PATCHES >= patches(reduced)


@given(SIZES, st.sampled_from(REDUCED))
def test_no_image_is_enlarged_or_vanishes(size: Size, detail: Detail) -> None:
    width, height = target_size(size, detail)
    assert 1 <= width <= size[0]
    assert 1 <= height <= size[1]


@given(SIZES, st.sampled_from(REDUCED))
def test_shape_is_kept_within_a_pixel(size: Size, detail: Detail) -> None:
    width, height = target_size(size, detail)
    scale = max(width / size[0], height / size[1])
    assert abs(size[0] * scale - width) <= 1 + scale * size[0] / max(height, 1)
    assert abs(size[1] * scale - height) <= 1 + scale * size[1] / max(width, 1)


@given(SIZES, st.sampled_from(REDUCED))
def test_reduced_image_is_not_reduced_again(size: Size, detail: Detail) -> None:
    reduced = target_size(size, detail)
    assert reduced == target_size(reduced, detail)


@given(SIZES, st.sampled_from(REDUCED))
def test_turned_image_has_the_turned_size(size: Size, detail: Detail) -> None:
    assert target_size(size, detail) == target_size((size[1], size[0]), detail)[::-1]


@given(SIZES)
def test_auto_is_high(size: Size) -> None:
    assert target_size(size, "high") == target_size(size, "auto")


@given(SIZES)
def test_low_is_never_larger_than_high(size: Size) -> None:
    assert max(target_size(size, "high")) >= max(target_size(size, "low"))


@given(SIZES.filter(lambda size: patches(size) <= MAX_ORIGINAL_PATCHES))
def test_original_changes_no_size(size: Size) -> None:
    assert size == target_size(size, "original")


def test_original_is_refused_above_its_patches() -> None:
    assert (6400, 4800) == target_size((6400, 4800), "original")
    with pytest.raises(MediaError, match="30098 patches") as caught:
        target_size((6433, 4768), "original")
    assert "image_too_large" == caught.value.code


@pytest.mark.parametrize(
    ("expected", "size", "detail"),
    [
        ((512, 256), (1024, 512), "low"),
        ((512, 3), (20_000, 100), "low"),
        ((1, 1), (1, 1), "high"),
        ((1600, 1600), (2048, 2048), "high"),
        ((1600, 1600), (8000, 8000), "auto"),
        ((1024, 1024), (1024, 1024), "high"),
    ],
)
def test_sizes_by_example(expected: Size, size: Size, detail: Detail) -> None:
    assert expected == target_size(size, detail)


@pytest.mark.parametrize(("expected", "size"), [(1, (1, 1)), (1, (32, 32)), (4, (33, 33)), (2, (33, 32))])
def test_patches_cover_the_image(expected: int, size: Size) -> None:
    assert expected == patches(size)
