"""Jobs and outcomes keep their values as MessagePack; the settings name the handler and the limits."""

import msgspec
import pytest

from antiphon.isolation.fork_server import prepare
from antiphon.isolation.frames import LARGEST, RESULT
from antiphon.media.audio import MAX_SECONDS, Sound
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
from antiphon.media.decoding_process import handle
from antiphon.media.image_size import MAX_ORIGINAL_PATCHES, PATCH
from antiphon.media.images import CHANNELS, Picture

JOBS = [
    ImageJob(data=b"data:image/png;base64,", is_url=True, detail="low"),
    ImageJob(data=b"\x89PNG", is_url=False, detail="original"),
    AudioJob(data=b"UklGRg==", is_base64=True, audio_format="wav", sample_rate=16_000),
    AudioJob(data=b"RIFF", is_base64=False, audio_format="mp3", sample_rate=24_000),
]
OUTCOMES = [
    Picture(rgb=b"\0\xff\0", width=1, height=1, digest=bytes(32)),
    Sound(samples=bytes(4), sample_rate=16_000, digest=bytes(32)),
    Refused(message="The image is empty.", code="empty_image_file"),
]


@pytest.mark.parametrize("job", JOBS)
def test_job_is_the_same_in_the_process(job: Job) -> None:
    assert job == msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=Job)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_outcome_is_the_same_in_the_server(outcome: Outcome) -> None:
    assert outcome == msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome)


def test_settings_name_the_handler_and_its_limits() -> None:
    settings = fork_server_settings()
    assert handle is prepare(settings)
    assert (DECODING_SECONDS, DECODING_MEMORY) == (settings.limits.cpu_seconds, settings.limits.memory)


def test_largest_picture_and_longest_sound_are_less_than_half_of_a_message() -> None:
    assert LARGEST[RESULT] > 2 * MAX_ORIGINAL_PATCHES * PATCH * PATCH * CHANNELS
    assert LARGEST[RESULT] > 2 * MAX_SECONDS * 48_000 * 4
