"""Base64 of images and sounds: strict, and measured before it is decoded."""

from base64 import b64encode, urlsafe_b64encode
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.media import base64_data
from antiphon.media.base64_data import (
    MAX_AUDIO_BYTES,
    MAX_IMAGE_BYTES,
    audio_bytes,
    image_bytes,
    is_data_url,
    is_within,
)
from antiphon.media.media_error import MediaError


def refusal(url: str) -> str:
    with pytest.raises(MediaError) as caught:
        image_bytes(url)
    return caught.value.code


@given(st.binary())
def test_data_url_gives_its_bytes(data: bytes) -> None:
    assert data == image_bytes(f"data:image/png;base64,{b64encode(data).decode()}")


@given(st.binary())
def test_plain_base64_gives_its_bytes(data: bytes) -> None:
    assert data == audio_bytes(b64encode(data).decode())


@pytest.mark.parametrize("prefix", ["DATA:IMAGE/PNG;BASE64,", "data:image/svg+xml;charset=utf-8;base64,"])
def test_prefix_may_have_capital_letters_and_parameters(prefix: str) -> None:
    assert b"maple" == image_bytes(prefix + "bWFwbGU=")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:",
        "data:,maple",
        "data:;base64,bWFwbGU=",
        "data:image/png,maple",
        "data:image/png;base64",
        "data:image/png;base64;charset=utf-8,bWFwbGU=",
        " data:image/png;base64,bWFwbGU=",
        f"data:image/png;name={'x' * 300};base64,bWFwbGU=",
        "https://pictures.example.com/maple.png",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    assert "invalid_image_url" == refusal(url)


def test_data_of_another_type_is_refused() -> None:
    assert "invalid_image_format" == refusal("data:text/html;base64,bWFwbGU=")


@pytest.mark.parametrize(
    "text", ["bWFwbGU", "bWFw\nbGU=", "bWFwbGU=bWFwbGU=", "b W F w", "====", "bWFwbGU==", "bWF%", "bWFwbGé=", "b"]
)
def test_malformed_base64_is_refused(text: str) -> None:
    assert "invalid_base64_image" == refusal(f"data:image/png;base64,{text}")
    with pytest.raises(MediaError, match="Invalid base64") as caught:
        audio_bytes(text)
    assert "invalid_value" == caught.value.code


def test_base64_for_urls_is_refused() -> None:
    assert "invalid_base64_image" == refusal(f"data:image/png;base64,{urlsafe_b64encode(b'???>>>').decode()}")


def test_too_large_data_are_refused_before_they_are_decoded() -> None:
    with patch.object(base64_data, "_decode", side_effect=AssertionError("decoded")):
        assert "image_file_too_large" == refusal("data:image/png;base64," + "A" * (MAX_IMAGE_BYTES // 3 * 4 + 5))
        with pytest.raises(MediaError, match="20 MiB"):
            audio_bytes("A" * (MAX_AUDIO_BYTES // 3 * 4 + 5))


@given(st.binary(max_size=20), st.integers(0, 20))
def test_bytes_within_the_bound_pass_and_more_than_padding_beyond_it_do_not(data: bytes, bound: int) -> None:
    passes = is_within(len(b64encode(data)), bound)
    assert passes or len(data) > bound
    assert not passes or len(data) <= bound + 2


@pytest.mark.parametrize(
    ("expected", "url"), [(True, "data:x"), (True, "DATA:x"), (False, "https://a.test"), (False, "")]
)
def test_data_urls_are_recognised_by_their_scheme(expected: bool, url: str) -> None:  # noqa: FBT001 (the expected value)
    assert expected is is_data_url(url)
