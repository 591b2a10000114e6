"""Inputs are decoded in processes; a bomb or a crash is an error of its own input."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from antiphon.errors import APIError, InternalServerError, RateLimitError, ServiceUnavailableError
from antiphon.isolation.fork_server import JobLimits
from antiphon.isolation.process_pool import PoolFullError, PoolUnavailableError, ProcessPool
from antiphon.media.audio import AudioFormat, Sound, decode_audio, sound_digest
from antiphon.media.base64_data import MAX_AUDIO_BYTES, MAX_IMAGE_BYTES
from antiphon.media.decoding_job import Outcome, Refused, fork_server_settings
from antiphon.media.images import Picture, decode_image, picture_digest
from antiphon.media.isolated_decoder import MAX_WAITING_BYTES, IsolatedDecoder, open_pool
from antiphon.media.media_error import MediaError
from tests.media.encoded_images import encoded, png, two_colours
from tests.media.encoded_sounds import tone, wav

pytestmark = pytest.mark.anyio

PNG = encoded(two_colours(), "PNG")
WAV = wav(tone().tobytes())
RGB = bytes(range(12))
PICTURE = Picture(rgb=RGB, width=2, height=2, digest=picture_digest(RGB, (2, 2)))
SAMPLES = bytes(64)
SOUND = Sound(samples=SAMPLES, sample_rate=16_000, digest=sound_digest(SAMPLES, 16_000))


class Pool:
    """Answers every job with one result or error."""

    def __init__(self, result: Outcome | bytes | Exception) -> None:
        self.jobs = 0
        self._result = result

    async def run(self, payload: bytes) -> bytes:
        assert payload
        self.jobs += 1
        if isinstance(self._result, Exception):
            raise self._result
        return self._result if isinstance(self._result, bytes) else msgspec.msgpack.encode(self._result)


@asynccontextmanager
async def faulty() -> AsyncIterator[IsolatedDecoder]:
    """Open a decoder that fails where an input says so, with small limits."""
    limits = JobLimits(cpu_seconds=1, memory=1 << 29)
    settings = replace(fork_server_settings(), factory="tests.media.decoding_faults:open_handler", limits=limits)
    pool = ProcessPool(settings, size=1, max_waiting=8)
    try:
        yield IsolatedDecoder(pool)
    finally:
        await pool.close()


async def failure(result: Outcome | bytes | Exception) -> type[Exception]:
    with pytest.raises((APIError, MediaError)) as caught:
        await IsolatedDecoder(Pool(result)).image(b"maple", "auto")
    return caught.type


async def test_images_and_sounds_are_decoded_in_processes() -> None:
    pool = open_pool()
    try:
        decoder = IsolatedDecoder(pool)
        url = f"data:image/png;base64,{b64encode(PNG).decode()}"
        assert decode_image(PNG, "low") == await decoder.image(url, "low")
        assert decode_image(PNG, "auto") == await decoder.image(PNG, "auto")
        assert decode_audio(WAV, "wav", 24_000) == await decoder.audio(b64encode(WAV).decode(), "wav", 24_000)
        with pytest.raises(MediaError) as caught:
            await decoder.image(png(10_000, 10_000), "auto")
        assert "image_too_large" == caught.value.code
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("expected", "fault"), [("processor time", b"spin"), ("MiB of memory", b"allocate"), ("crashes", b"crash")]
)
async def test_input_that_kills_its_process_is_refused_alone(expected: str, fault: bytes) -> None:
    async with faulty() as decoder:
        with pytest.raises(MediaError, match=expected) as caught:
            await decoder.image(fault, "auto")
        assert "invalid_image_format" == caught.value.code
        assert decode_image(PNG, "auto") == await decoder.image(PNG, "auto")


async def test_sound_that_kills_its_process_is_refused_as_audio() -> None:
    async with faulty() as decoder:
        with pytest.raises(MediaError, match="The audio cannot be decoded") as caught:
            await decoder.audio(b"crash", "wav", 16_000)
        assert "invalid_value" == caught.value.code


async def test_image_above_the_memory_of_its_process_is_refused_alone() -> None:
    large = png(8000, 8000, bytes(8000 * 32_001), colour_type=6)
    async with faulty() as decoder:
        with pytest.raises(MediaError, match="MiB of memory"):
            await decoder.image(large, "auto")
        assert decode_image(PNG, "auto") == await decoder.image(PNG, "auto")


async def test_defect_of_a_decoder_is_an_error_of_the_server() -> None:
    async with faulty() as decoder:
        with pytest.raises(InternalServerError):
            await decoder.image(b"fail", "auto")


async def test_inputs_run_side_by_side() -> None:
    pool = open_pool()
    try:
        decoder = IsolatedDecoder(pool)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(decoder.image, PNG, "auto")
    finally:
        await pool.close()


async def test_text_that_cannot_be_encoded_is_no_base64() -> None:
    pool = open_pool()
    try:
        with pytest.raises(MediaError, match="Invalid base64"):
            await IsolatedDecoder(pool).image("data:image/png;base64,\ud800", "auto")
    finally:
        await pool.close()


async def test_full_queue_is_a_rate_limit() -> None:
    assert RateLimitError is await failure(PoolFullError())


async def test_pool_without_processes_is_unavailable() -> None:
    assert ServiceUnavailableError is await failure(PoolUnavailableError())


async def test_refusal_has_the_message_and_the_code_of_the_process() -> None:
    pool = Pool(Refused(message="Animated images are not supported.", code="invalid_image_format"))
    with pytest.raises(MediaError, match="Animated images are not supported") as caught:
        await IsolatedDecoder(pool).image(b"maple", "auto")
    assert "invalid_image_format" == caught.value.code


@pytest.mark.parametrize(
    "result",
    [
        SOUND,
        b"maple",
        replace(PICTURE, rgb=RGB[:-1]),
        replace(PICTURE, width=3),
        replace(PICTURE, digest=bytes(32)),
        replace(PICTURE, rgb=RGB[::-1]),
        Picture(rgb=b"", width=0, height=2, digest=picture_digest(b"", (0, 2))),
        Picture(rgb=b"", width=-1, height=-1, digest=picture_digest(b"", (-1, -1))),
        Picture(rgb=bytes(2_910_000), width=1, height=970_000, digest=picture_digest(bytes(2_910_000), (1, 970_000))),
    ],
)
async def test_picture_that_contradicts_itself_is_dropped(result: Outcome | bytes) -> None:
    assert InternalServerError is await failure(result)


async def test_whole_picture_and_sound_pass() -> None:
    assert PICTURE == await IsolatedDecoder(Pool(PICTURE)).image(b"maple", "auto")
    assert SOUND == await IsolatedDecoder(Pool(SOUND)).audio(b"maple", "wav", 16_000)


@pytest.mark.parametrize(
    "result",
    [
        PICTURE,
        replace(SOUND, samples=SAMPLES[:-1]),
        replace(SOUND, samples=b""),
        replace(SOUND, sample_rate=8000),
        replace(SOUND, digest=bytes(32)),
    ],
)
async def test_sound_that_contradicts_itself_is_dropped(result: Outcome) -> None:
    with pytest.raises(InternalServerError):
        await IsolatedDecoder(Pool(result)).audio(b"maple", "wav", 16_000)


async def test_too_large_input_starts_no_job() -> None:
    pool = Pool(PICTURE)
    decoder = IsolatedDecoder(pool)
    for source in (bytes(MAX_IMAGE_BYTES + 1), "A" * (MAX_IMAGE_BYTES // 3 * 4 + 300)):
        with pytest.raises(MediaError, match="20 MiB"):
            await decoder.image(source, "auto")
    audio_format: AudioFormat = "wav"
    for source in (bytes(MAX_AUDIO_BYTES + 1), "A" * (MAX_AUDIO_BYTES // 3 * 4 + 5)):
        with pytest.raises(MediaError, match="20 MiB"):
            await decoder.audio(source, audio_format, 16_000)
    assert 0 == pool.jobs


async def test_bytes_of_all_inputs_are_bounded_until_they_are_decoded() -> None:
    entered, leave = anyio.Semaphore(0), anyio.Event()

    class SlowPool(Pool):
        async def run(self, payload: bytes) -> bytes:
            entered.release()
            await leave.wait()
            return await super().run(payload)

    decoder = IsolatedDecoder(SlowPool(PICTURE))
    source = bytes(16 << 20)
    async with anyio.create_task_group() as tasks:
        for _ in range(MAX_WAITING_BYTES // len(source)):
            tasks.start_soon(decoder.image, source, "auto")
            await entered.acquire()
        with pytest.raises(RateLimitError):
            await decoder.image(b"maple", "auto")
        leave.set()
    assert PICTURE == await decoder.image(source, "auto")
