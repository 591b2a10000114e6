"""Decodes a WAV or MP3 file into mono samples at the rate that a model takes.

miniaudio decodes, mixes and resamples, as in libmtmd's own helper, so that both give the same samples. Call it in a
process with limits: the decoder is C code that reads untrusted bytes.
"""

import hashlib
from array import array
from math import isfinite
from typing import Final, Literal

import miniaudio  # type: ignore[import-untyped]
from msgspec import Struct

from antiphon.media.base64_data import MAX_AUDIO_BYTES, audio_size_error
from antiphon.media.media_error import MediaError

AudioFormat = Literal["wav", "mp3"]

MIN_SECONDS: Final = 0.1
"""Seconds of a sound, at least; the reference's bound."""
MAX_SECONDS: Final = 600
"""Seconds of a sound, at most. Decoding stops there, even if the header declares less."""
MAX_SAMPLE: Final = 2.0**31
"""The largest value of a sample. Files of floating-point numbers exceed 1; squares of larger values may overflow."""
_BLOCK: Final = 16_384
"""Samples that are decoded at a time."""
_WAV_IDS: Final = (b"RIFF", b"RIFX", b"RF64")


class Sound(Struct, frozen=True, kw_only=True, tag="sound"):
    """The samples of a sound."""

    samples: bytes
    """One channel, 32-bit floating-point numbers in this machine's byte order, mostly between -1 and 1."""
    sample_rate: int
    """Samples of a second."""
    digest: bytes
    """SHA-256 of the samples and their rate: equal sounds have equal digests, in every format."""


def decode_audio(data: bytes, audio_format: AudioFormat, sample_rate: int) -> Sound:
    """Return the samples of an encoded sound. Raises :class:`MediaError`."""
    if len(data) > MAX_AUDIO_BYTES:
        raise audio_size_error()
    try:
        _check_format(data, audio_format)
        samples = _samples(data, sample_rate)
    except miniaudio.MiniaudioError as error:
        message = f"The audio could not be decoded: it is no valid {audio_format} file."
        raise MediaError(message, "invalid_value") from error
    _check_samples(samples, sample_rate)
    pcm = samples.tobytes()
    return Sound(samples=pcm, sample_rate=sample_rate, digest=sound_digest(pcm, sample_rate))


def sound_digest(samples: bytes, sample_rate: int) -> bytes:
    """Return the SHA-256 of samples and rate."""
    digest = hashlib.sha256(b"pcm %d " % sample_rate)
    digest.update(samples)
    return digest.digest()


def _check_format(data: bytes, audio_format: AudioFormat) -> None:
    """Raise ``DecodeError`` for a file of another format, which miniaudio might decode as well."""
    if audio_format == "mp3":
        miniaudio.mp3_get_info(data)
    elif data[:4] not in _WAV_IDS or data[8:12] != b"WAVE":
        raise miniaudio.DecodeError


def _samples(data: bytes, sample_rate: int) -> "array[float]":
    """Return the samples, decoded in blocks. Raises :class:`MediaError` when they are too many."""
    samples = array("f")
    float32 = miniaudio.SampleFormat.FLOAT32
    for block in miniaudio.stream_memory(data, float32, nchannels=1, sample_rate=sample_rate, frames_to_read=_BLOCK):
        samples.extend(block)
        if len(samples) > MAX_SECONDS * sample_rate:
            raise MediaError(f"The audio is too long: it may have at most {MAX_SECONDS} seconds.", "invalid_value")
    return samples


def _check_samples(samples: "array[float]", sample_rate: int) -> None:
    """Check that the sound is long enough, and that its samples are numbers in range."""
    seconds = len(samples) / sample_rate
    if seconds < MIN_SECONDS:
        message = f"The audio is too short: it has {seconds:.2f} seconds, and at least {MIN_SECONDS} are needed."
        raise MediaError(message, "invalid_value")
    if not isfinite(sum(samples)) or max(samples) > MAX_SAMPLE or min(samples) < -MAX_SAMPLE:
        raise MediaError("The audio has samples that are no numbers, or are out of range.", "invalid_value")
