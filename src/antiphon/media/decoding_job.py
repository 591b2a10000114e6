"""The values that the server and the processes that decode exchange, as MessagePack, and the limits of a job."""

from typing import Final

from msgspec import Struct

from antiphon.isolation.fork_server import ForkServerSettings, JobLimits, settings_for
from antiphon.media.audio import AudioFormat, Sound
from antiphon.media.image_size import Detail
from antiphon.media.images import Picture

FACTORY: Final = "antiphon.media.decoding_process:open_handler"
DECODING_SECONDS: Final = 20
"""Seconds of processor time that decoding an input may take; it is refused when it takes more."""
DECODING_MEMORY: Final = 3 << 29
"""Bytes of memory that decoding an input may take; it is refused when it takes more. A WEBP of 64 megapixels takes two
thirds."""


class ImageJob(Struct, frozen=True, kw_only=True, tag="image"):
    """An image to decode."""

    data: bytes
    """A file, or a data URL in UTF-8."""
    is_url: bool
    detail: Detail


class AudioJob(Struct, frozen=True, kw_only=True, tag="audio"):
    """A sound to decode."""

    data: bytes
    """A file, or its base64 in UTF-8."""
    is_base64: bool
    audio_format: AudioFormat
    sample_rate: int
    """Samples of a second of the result."""


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """The input is refused: the parts of a :class:`antiphon.media.media_error.MediaError`."""

    message: str
    code: str


Job = ImageJob | AudioJob
Outcome = Picture | Sound | Refused
"""The result of a job. Its kind is that of the job, unless hostile bytes control the process."""


def fork_server_settings() -> ForkServerSettings:
    """Return the settings of the fork server of the processes that decode."""
    return settings_for(FACTORY, None, JobLimits(cpu_seconds=DECODING_SECONDS, memory=DECODING_MEMORY))
