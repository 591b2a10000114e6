"""Decodes images and sounds inside a process that may be killed: the factory and the handler of its jobs."""

from typing import Final

import msgspec
from PIL import Image

from antiphon.isolation.fork_server import Handler, ReportStage
from antiphon.media.audio import Sound, decode_audio
from antiphon.media.base64_data import audio_bytes, image_bytes
from antiphon.media.decoding_job import AudioJob, ImageJob, Job, Outcome, Refused
from antiphon.media.images import Picture, decode_image
from antiphon.media.media_error import MediaError

_JOBS: Final = msgspec.msgpack.Decoder[Job](Job)
_ENCODER: Final = msgspec.msgpack.Encoder()


def open_handler(_: bytes) -> Handler:
    """Load the decoders and return the handler of a job: a :data:`Job` in, an :data:`Outcome` out.

    The argument of the factory is not used.
    """
    Image.init()
    return handle


def handle(payload: bytes, _: ReportStage) -> bytes:
    """Do one job."""
    return _ENCODER.encode(_outcome(_JOBS.decode(payload)))


def _outcome(job: Job) -> Outcome:
    try:
        return _picture(job) if isinstance(job, ImageJob) else _sound(job)
    except MediaError as error:
        return Refused(message=error.message, code=error.code)


def _picture(job: ImageJob) -> Picture:
    data = image_bytes(job.data.decode()) if job.is_url else job.data
    return decode_image(data, job.detail)


def _sound(job: AudioJob) -> Sound:
    data = audio_bytes(job.data.decode()) if job.is_base64 else job.data
    return decode_audio(data, job.audio_format, job.sample_rate)
