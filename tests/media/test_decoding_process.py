"""The handler decodes every kind of source, and refuses by message and code."""

from base64 import b64encode

import msgspec
import pytest
from PIL import Image

from antiphon.media.audio import decode_audio
from antiphon.media.decoding_job import AudioJob, ImageJob, Job, Outcome, Refused
from antiphon.media.decoding_process import open_handler
from antiphon.media.images import FORMATS, decode_image
from tests.media.encoded_images import encoded, two_colours
from tests.media.encoded_sounds import tone, wav

PNG = encoded(two_colours(), "PNG")
WAV = wav(tone().tobytes())


def done(job: Job) -> Outcome:
    answer = open_handler(b"null")(msgspec.msgpack.encode(job), lambda _: None)
    outcome: Outcome = msgspec.msgpack.decode(answer, type=Outcome)
    return outcome


def image(data: bytes, *, is_url: bool = False) -> ImageJob:
    return ImageJob(data=data, is_url=is_url, detail="low")


def audio(data: bytes, *, is_base64: bool = False) -> AudioJob:
    return AudioJob(data=data, is_base64=is_base64, audio_format="wav", sample_rate=24_000)


@pytest.mark.parametrize("job", [image(PNG), image(b"data:image/png;base64," + b64encode(PNG), is_url=True)])
def test_image_of_a_file_and_of_a_data_url_is_decoded(job: Job) -> None:
    assert decode_image(PNG, "low") == done(job)


@pytest.mark.parametrize("job", [audio(WAV), audio(b64encode(WAV), is_base64=True)])
def test_sound_of_a_file_and_of_base64_is_decoded(job: Job) -> None:
    assert decode_audio(WAV, "wav", 24_000) == done(job)


@pytest.mark.parametrize(
    ("code", "job"),
    [
        ("invalid_image_format", image(b"maple")),
        ("invalid_base64_image", image(b"data:image/png;base64,?", is_url=True)),
        ("invalid_value", audio(b"maple")),
        ("invalid_value", audio("\N{REPLACEMENT CHARACTER}".encode(), is_base64=True)),
    ],
)
def test_unusable_input_is_refused_with_its_code(code: str, job: Job) -> None:
    outcome = done(job)
    assert isinstance(outcome, Refused)
    assert code == outcome.code


def test_decoders_of_all_formats_are_loaded_before_the_first_job() -> None:
    open_handler(b"null")
    assert set() == {*FORMATS} - {*Image.OPEN}
