"""Images of every format and kind become RGB pixels; hostile ones are refused by name."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from antiphon.media import images
from antiphon.media.base64_data import MAX_IMAGE_BYTES
from antiphon.media.image_size import Detail
from antiphon.media.images import MAX_PIXELS, Picture, decode_image, picture, picture_digest
from antiphon.media.media_error import MediaError
from tests.media.encoded_images import BLUE, RED, chunk, encoded, png, two_colours

FORMATS = ["PNG", "JPEG", "WEBP", "GIF"]
WHITE = (255, 255, 255)
Colour = tuple[int, int, int]


def decoded(image: Image.Image, file_format: str = "PNG", **options: object) -> Picture:
    return decode_image(encoded(image, file_format, **options), "high")


def colour(shown: Picture, x: int, y: int) -> Colour:
    at = 3 * (y * shown.width + x)
    red, green, blue = shown.rgb[at : at + 3]
    return red, green, blue


def is_near(expected: Colour, found: Colour) -> bool:
    return max(abs(a - b) for a, b in zip(expected, found, strict=True)) <= 12


def refusal(data: bytes, detail: Detail = "high") -> str:
    with pytest.raises(MediaError) as caught:
        decode_image(data, detail)
    return caught.value.code


@pytest.mark.parametrize("file_format", FORMATS)
def test_each_format_gives_the_colours_in_their_places(file_format: str) -> None:
    shown = decoded(two_colours(), file_format)
    assert (32, 16, 32 * 16 * 3) == (shown.width, shown.height, len(shown.rgb))
    assert is_near(RED, colour(shown, 4, 8))
    assert is_near(BLUE, colour(shown, 27, 8))


@pytest.mark.parametrize("file_format", ["BMP", "TIFF", "ICO", "PPM", "TGA", "PDF", "EPS", "JPEG2000"])
def test_other_formats_are_refused(file_format: str) -> None:
    assert "invalid_image_format" == refusal(encoded(two_colours(), file_format))


@pytest.mark.parametrize(
    "data", [b"maple", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"<svg/>", b"RIFF....WEBP"]
)
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    assert "invalid_image_format" == refusal(data)


def test_empty_image_is_refused() -> None:
    assert "empty_image_file" == refusal(b"")


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_image_is_refused(file_format: str, share: float) -> None:
    data = encoded(Image.effect_noise((99, 99), 50).convert("RGB"), file_format)
    assert "invalid_image_format" == refusal(data[: int(len(data) * share)])


@pytest.mark.parametrize("file_format", FORMATS)
@given(st.data())
def test_damaged_image_is_decoded_or_refused(file_format: str, data: st.DataObject) -> None:
    damaged = bytearray(encoded(two_colours(), file_format))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        shown = decode_image(bytes(damaged), "low")
    except MediaError as error:
        assert error.code in {"invalid_image_format", "image_too_large", "invalid_image"}  # noqa: PT017 (either is right)
    else:
        assert 3 * shown.width * shown.height == len(shown.rgb)


def test_file_above_20_mib_is_refused() -> None:
    assert "image_file_too_large" == refusal(bytes(MAX_IMAGE_BYTES + 1))


@pytest.mark.parametrize(
    ("width", "height"), [(8000, 8001), (10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    assert width * height > MAX_PIXELS
    assert "image_too_large" == refusal(png(width, height))


def test_image_with_as_many_pixels_as_allowed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 32 * 16)
    assert 32 == decoded(two_colours()).width
    assert "image_too_large" == refusal(encoded(two_colours(33), "PNG"))


def test_gif_whose_frame_is_larger_than_its_screen_is_measured_with_the_frame() -> None:
    data = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    at = data.index(b"\x2c\x00\x00\x00\x00\x08\x00\x08\x00") + 5
    data[at : at + 4] = struct.pack("<HH", 65_535, 65_535)
    assert "image_too_large" == refusal(bytes(data))


def test_image_above_200_to_1_is_refused() -> None:
    assert 200 == decoded(Image.new("RGB", (200, 1))).width
    assert "invalid_image" == refusal(encoded(Image.new("RGB", (201, 1)), "PNG"))
    assert "invalid_image" == refusal(encoded(Image.new("RGB", (1, 20_000)), "PNG"))


def test_image_without_an_edge_is_refused() -> None:
    assert "invalid_image_format" == refusal(png(0, 8))


def test_single_pixel_is_an_image() -> None:
    shown = decoded(Image.new("RGB", (1, 1), RED))
    assert (1, 1, bytes(RED)) == (shown.width, shown.height, shown.rgb)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "GIF"])
def test_animation_is_refused(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "blue")]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match="Animated") as caught:
        decode_image(data, "high")
    assert "invalid_image_format" == caught.value.code


def test_jpeg_with_several_pictures_shows_its_first() -> None:
    data = encoded(two_colours(), "MPO", save_all=True, append_images=[Image.new("RGB", (32, 16))])
    assert is_near(RED, colour(decode_image(data, "high"), 4, 8))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert WHITE == colour(decoded(clear.convert(mode)), 1, 1)


def test_half_transparent_red_is_pink() -> None:
    assert (255, 127, 127) == colour(decoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), 1, 1)


def test_transparent_colour_of_a_palette_is_white() -> None:
    image = two_colours().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    index = image.getpixel((0, 0))
    for file_format in ("PNG", "GIF"):
        shown = decoded(image, file_format, transparency=index)
        assert WHITE == colour(shown, 4, 8)
        assert is_near(BLUE, colour(shown, 27, 8))


def test_transparent_colour_of_rgb_is_white() -> None:
    shown = decoded(two_colours(), transparency=RED)
    assert [WHITE, BLUE] == [colour(shown, x, 8) for x in (4, 27)]


def test_palette_gives_its_colours() -> None:
    shown = decoded(two_colours().convert("P", palette=Image.Palette.ADAPTIVE, colors=2))
    assert is_near(RED, colour(shown, 4, 8))


def test_black_and_white_image_gives_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 255)
    assert bytes([0, 0, 0, 255, 255, 255]) == decoded(image).rgb


def test_cmyk_gives_its_colours() -> None:
    shown = decoded(two_colours().convert("CMYK"), "JPEG")
    assert is_near(RED, colour(shown, 4, 8))


def test_grey_of_16_bits_keeps_its_first_byte() -> None:
    rows = b"\0" + struct.pack(">4H", 0, 0x8000, 0xFEFF, 0xFFFF)
    shown = decode_image(png(4, 1, rows, depth=16, colour_type=0), "high")
    assert [0, 0x80, 0xFE, 0xFF] == [*shown.rgb[::3]]


def test_grey_of_16_bits_with_a_transparent_value_is_decoded() -> None:
    rows = b"\0" + struct.pack(">2H", 0x8000, 0xFFFF)
    clear = chunk(b"tRNS", struct.pack(">H", 0x8000))
    assert [0x80, 0xFF] == [*decode_image(png(2, 1, rows, depth=16, colour_type=0, extra=clear), "high").rgb[::3]]


def test_colours_of_16_bits_keep_their_first_bytes() -> None:
    rows = b"\0" + struct.pack(">3H", 0x10FF, 0x8000, 0xFF00)
    assert bytes([0x10, 0x80, 0xFF]) == decode_image(png(1, 1, rows, depth=16), "high").rgb


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_exif_turns_the_image_upright(file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right edge
    shown = decoded(two_colours(), file_format, exif=exif)
    assert (16, 32) == (shown.width, shown.height)
    assert is_near(RED, colour(shown, 8, 4))
    assert is_near(BLUE, colour(shown, 8, 27))


def test_unreadable_exif_data_turn_nothing() -> None:
    shown = decoded(two_colours(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff maple")
    assert (32, 16) == (shown.width, shown.height)


@pytest.mark.parametrize(("expected", "detail"), [(512, "low"), (2048, "high"), (2048, "auto"), (3000, "original")])
def test_detail_sets_the_size(expected: int, detail: Detail) -> None:
    shown = decode_image(encoded(Image.new("RGB", (3000, 300)), "PNG"), detail)
    assert (expected, 3 * expected * shown.height) == (shown.width, len(shown.rgb))


def test_reduced_image_keeps_its_colours_in_their_places() -> None:
    shown = decode_image(encoded(two_colours(1200, 600), "PNG"), "low")
    assert [RED, BLUE] == [colour(shown, x, 128) for x in (100, 400)]


def test_original_above_its_patches_is_refused() -> None:
    assert "image_too_large" == refusal(encoded(Image.new("L", (5600, 5600)), "PNG"), "original")


def test_equal_pixels_have_equal_digests_in_every_file() -> None:
    image = two_colours()
    assert decoded(image).digest == decoded(image, "WEBP", lossless=True).digest == decoded(image, "GIF").digest


def test_one_changed_pixel_changes_the_digest() -> None:
    image = two_colours()
    before = decoded(image).digest
    image.putpixel((3, 3), (255, 0, 0))
    assert before != decoded(image).digest


def test_shape_changes_the_digest() -> None:
    assert picture_digest(bytes(48), (4, 4)) != picture_digest(bytes(48), (2, 8))


def test_digest_is_of_the_pixels_in_the_picture() -> None:
    shown = picture(two_colours())
    assert shown.digest == picture_digest(shown.rgb, (32, 16))
    assert 32 == len(shown.digest)


def test_file_is_read_from_its_bytes_only() -> None:
    data = encoded(two_colours(), "PNG")
    assert Image.open(BytesIO(data)).tobytes() == decode_image(data, "high").rgb
