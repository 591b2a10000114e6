"""Decodes images and sounds in processes with limits of time and memory.

A decoder is C code that reads untrusted bytes. In a separate process a bomb or a crash is an error of its own input.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import msgspec

from antiphon.errors import InternalServerError, RateLimitError, ServiceUnavailableError
from antiphon.isolation.process_pool import JobLostError, PoolFullError, PoolUnavailableError, ProcessPool
from antiphon.media.audio import MAX_SECONDS, AudioFormat, Sound, sound_digest
from antiphon.media.base64_data import (
    MAX_AUDIO_BYTES,
    MAX_IMAGE_BYTES,
    MAX_PREFIX,
    audio_size_error,
    image_size_error,
    is_within,
)
from antiphon.media.decoding_job import (
    DECODING_MEMORY,
    DECODING_SECONDS,
    AudioJob,
    ImageJob,
    Job,
    Outcome,
    Refused,
    fork_server_settings,
)
from antiphon.media.image_size import MAX_ORIGINAL_PATCHES, Detail, patches
from antiphon.media.images import CHANNELS, Picture, picture_digest
from antiphon.media.media_error import MediaError

DECODING_PROCESSES: Final = 2
MAX_WAITING_INPUTS: Final = 256
"""Images and sounds that may wait for a process; one more is refused with 429."""
MAX_WAITING_BYTES: Final = 256 << 20
"""Bytes of the images and sounds that are decoded or wait; an input beyond them is refused with 429."""

_JOBS: Final = msgspec.msgpack.Encoder()
_OUTCOMES: Final = msgspec.msgpack.Decoder[Outcome](Outcome)
_LOST: Final = {
    "time": f"needs more than the {DECODING_SECONDS} s of processor time",
    "memory": f"needs more than the {DECODING_MEMORY >> 20} MiB of memory",
    "crash": "crashes the decoder within the limits of time and memory",
}
_SAMPLE_BYTES: Final = 4


class Pool(Protocol):
    """Does jobs in other processes; see :class:`antiphon.isolation.process_pool.ProcessPool`."""

    async def run(self, payload: bytes) -> bytes:
        """Return the result of a job."""


def open_pool() -> ProcessPool:
    """Return the pool of the processes that decode; its owner closes it."""
    return ProcessPool(fork_server_settings(), size=DECODING_PROCESSES, max_waiting=MAX_WAITING_INPUTS)


class IsolatedDecoder:
    """Decodes in other processes.

    Both methods raise :class:`MediaError` for an input that cannot be used or takes more than the limits,
    ``RateLimitError`` when too many inputs wait, ``ServiceUnavailableError`` when no process can be started, and
    ``InternalServerError`` for a defect. When the caller is cancelled, the process is killed.
    """

    def __init__(self, pool: Pool) -> None:
        """Hold the pool of :func:`open_pool`."""
        self._pool = pool
        self._held = 0
        """Bytes of the inputs that are decoded or wait."""

    async def image(self, source: str | bytes, detail: Detail) -> Picture:
        """Return the pixels of a data URL or of a file's bytes."""
        if not _fits(source, MAX_IMAGE_BYTES, MAX_PREFIX):
            raise image_size_error()
        outcome = await self._outcome(ImageJob(data=_bytes(source), is_url=isinstance(source, str), detail=detail))
        if not isinstance(outcome, Picture) or not await asyncio.to_thread(_is_whole_picture, outcome):
            raise _defect()
        return outcome

    async def audio(self, source: str | bytes, audio_format: AudioFormat, sample_rate: int) -> Sound:
        """Return the samples of base64 or of a file's bytes, at a rate in samples of a second."""
        if not _fits(source, MAX_AUDIO_BYTES, 0):
            raise audio_size_error()
        outcome = await self._outcome(
            AudioJob(
                data=_bytes(source),
                is_base64=isinstance(source, str),
                audio_format=audio_format,
                sample_rate=sample_rate,
            )
        )
        if not isinstance(outcome, Sound) or not await asyncio.to_thread(_is_whole_sound, outcome, sample_rate):
            raise _defect()
        return outcome

    async def _outcome(self, job: Job) -> Picture | Sound:
        with self._counted(len(job.data)):
            try:
                outcome: Outcome = _OUTCOMES.decode(await self._pool.run(_JOBS.encode(job)))
            except JobLostError as error:
                raise _lost_error(error, job) from error
            except PoolFullError as error:
                raise _full_error() from error
            except PoolUnavailableError as error:
                raise ServiceUnavailableError("Images and audio cannot be decoded now.") from error
            except msgspec.MsgspecError as error:
                raise _defect() from error
        if isinstance(outcome, Refused):
            raise MediaError(outcome.message, outcome.code)
        return outcome

    @contextmanager
    def _counted(self, size: int) -> Iterator[None]:
        """Count the bytes of an input for the block. Raises ``RateLimitError``."""
        if self._held + size > MAX_WAITING_BYTES:
            raise _full_error()
        self._held += size
        try:
            yield
        finally:
            self._held -= size


def _bytes(source: str | bytes) -> bytes:
    """Return the source in UTF-8; a lone surrogate becomes a character that no base64 has."""
    return source if isinstance(source, bytes) else source.encode(errors="replace")


def _fits(source: str | bytes, max_bytes: int, prefix: int) -> bool:
    """Return whether an input may have at most ``max_bytes``, so that it is worth a process."""
    return len(source) <= max_bytes if isinstance(source, bytes) else is_within(len(source) - prefix, max_bytes)


def _is_whole_picture(picture: Picture) -> bool:
    """Return whether the pixels fill the shape and have the digest. A process under hostile control may send anything.

    Another picture's digest would give the pixels of this one to the requests of others.
    """
    size = picture.width, picture.height
    fills = min(size) > 0 and len(picture.rgb) == CHANNELS * picture.width * picture.height
    return fills and patches(size) <= MAX_ORIGINAL_PATCHES and picture.digest == picture_digest(picture.rgb, size)


def _is_whole_sound(sound: Sound, sample_rate: int) -> bool:
    """Return whether the samples are within the limits and have the rate and the digest."""
    count, rest = divmod(len(sound.samples), _SAMPLE_BYTES)
    fits = sound.sample_rate == sample_rate and not rest and 0 < count <= MAX_SECONDS * sample_rate
    return fits and sound.digest == sound_digest(sound.samples, sample_rate)


def _lost_error(error: JobLostError, job: Job) -> Exception:
    if error.cause == "fault":
        return _defect()
    kind, code = ("image", "invalid_image_format") if isinstance(job, ImageJob) else ("audio", "invalid_value")
    return MediaError(f"The {kind} cannot be decoded: it {_LOST[error.cause]} that one input may take.", code)


def _full_error() -> RateLimitError:
    return RateLimitError("Too many images and sounds are waiting to be decoded.")


def _defect() -> InternalServerError:
    return InternalServerError("The server failed to decode the image or the audio.")
