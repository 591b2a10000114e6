"""Sounds of both formats become mono samples; hostile ones are refused by name."""

import math
import struct
from array import array
from itertools import pairwise

import miniaudio  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.media.audio import MAX_SECONDS, AudioFormat, Sound, decode_audio, sound_digest
from antiphon.media.base64_data import MAX_AUDIO_BYTES
from antiphon.media.media_error import MediaError
from tests.conftest import ROOT
from tests.media.encoded_sounds import MP3_SAMPLES, SILENT_MP3_FRAME, tone, wav

RATE = 16_000
MP3 = (ROOT / "fuzz" / "corpus" / "audio" / "mp3").read_bytes()[1:]
"""A tone of 440 Hz and half the loudness, 0.5 s at 16,000 Hz."""


def samples(sound: Sound) -> "array[float]":
    return array("f", sound.samples)


def decoded(data: bytes, audio_format: AudioFormat = "wav", sample_rate: int = RATE) -> "array[float]":
    return samples(decode_audio(data, audio_format, sample_rate))


def hertz(sound: "array[float]", sample_rate: int = RATE) -> float:
    """Return the frequency of a tone from the times that it rises above zero."""
    middle = sound[len(sound) // 4 : -len(sound) // 4]
    rises = sum(a < 0 <= b for a, b in pairwise(middle))
    return rises * sample_rate / len(middle)


def refusal(data: bytes, audio_format: AudioFormat = "wav") -> str:
    with pytest.raises(MediaError) as caught:
        decode_audio(data, audio_format, RATE)
    assert "invalid_value" == caught.value.code
    return caught.value.message


def test_wav_at_its_own_rate_gives_its_samples() -> None:
    wave = tone()
    assert [value / 32_768 for value in wave] == [*decoded(wav(wave.tobytes()))]


def test_mp3_gives_its_tone() -> None:
    wave = decoded(MP3, "mp3")
    assert 0.45 < max(wave) < 0.55
    assert abs(440 - hertz(wave)) < 8


@pytest.mark.parametrize("source", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("target", [16_000, 24_000])
def test_sound_is_resampled_to_the_rate(source: int, target: int) -> None:
    wave = decoded(wav(tone(1, source).tobytes(), sample_rate=source), sample_rate=target)
    assert abs(target - len(wave)) <= 2
    assert abs(440 - hertz(wave, target)) < 5


def test_channels_are_mixed_to_one() -> None:
    left, right = [8192] * RATE, [-4096] * RATE
    stereo = array("h", [value for pair in zip(left, right, strict=True) for value in pair])
    wave = decoded(wav(stereo.tobytes(), channels=2))
    assert (RATE, 0.0625) == (len(wave), wave[100])


def test_mono_of_8_bits_at_8000_hz_is_decoded() -> None:
    data = bytes(128 + (value >> 8) for value in tone(1, 8000))
    wave = decoded(wav(data, sample_rate=8000, bits=8))
    assert abs(RATE - len(wave)) <= 2
    assert abs(440 - hertz(wave)) < 5


@pytest.mark.parametrize("bits", [24, 32])
def test_other_widths_of_integers_are_decoded(bits: int) -> None:
    data = b"".join(bytes(bits // 8 - 2) + struct.pack("<h", value) for value in tone())
    assert [value / 32_768 for value in tone()] == pytest.approx([*decoded(wav(data, bits=bits))])


@pytest.mark.parametrize(("bits", "code"), [(32, "f"), (64, "d")])
def test_floating_point_numbers_are_decoded(bits: int, code: str) -> None:
    wave = [value / 32_768 for value in tone()]
    assert wave == pytest.approx([*decoded(wav(array(code, wave).tobytes(), bits=bits, kind=3))])


def test_silent_mp3_is_a_sound() -> None:
    wave = decoded(SILENT_MP3_FRAME * 10, "mp3", 44_100)
    assert (10 * MP3_SAMPLES, {0.0}) == (len(wave), {*wave})


@pytest.mark.parametrize("declared", [0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFF0])
def test_header_that_declares_too_much_gives_the_samples_there_are(declared: int) -> None:
    assert 8000 == len(decoded(wav(tone().tobytes(), declared=declared)))


def test_header_that_declares_too_little_gives_the_declared_samples() -> None:
    assert 2000 == len(decoded(wav(tone().tobytes(), declared=4000)))


def test_sound_of_no_samples_is_refused() -> None:
    assert "0.00 seconds" in refusal(wav(b""))


def test_sound_under_a_tenth_of_a_second_is_refused() -> None:
    assert "too short" in refusal(wav(tone(0.099).tobytes()))
    assert 1600 == len(decoded(wav(tone(0.1).tobytes())))


def test_hour_of_wav_is_refused() -> None:
    assert "at most 600 seconds" in refusal(wav(bytes(3600 * 4000), sample_rate=4000, bits=8))


def test_hour_of_mp3_is_refused() -> None:
    frame = bytes.fromhex("fff318c4") + bytes(32)  # 8 kbit/s and 16,000 Hz: 576 samples in 36 bytes
    assert "at most 600 seconds" in refusal(frame * (3600 * RATE // 576), "mp3")


def test_header_of_one_sample_a_second_makes_no_endless_sound() -> None:
    assert "at most 600 seconds" in refusal(wav(tone().tobytes(), sample_rate=1))


def test_sound_of_the_longest_duration_is_decoded() -> None:
    assert MAX_SECONDS * 8000 == len(decoded(wav(bytes(MAX_SECONDS * 8000), sample_rate=8000, bits=8), "wav", 8000))


def test_decoding_stops_once_the_sound_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def endless(*_: object, frames_to_read: int, **__: object) -> object:
        while True:
            read.append(frames_to_read)
            yield array("f", bytes(4 * frames_to_read))

    monkeypatch.setattr(miniaudio, "stream_memory", endless)
    assert "too long" in refusal(wav(tone().tobytes()))
    assert sum(read) <= MAX_SECONDS * RATE + read[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e10, -1e10])
def test_samples_that_are_no_numbers_or_out_of_range_are_refused(value: float) -> None:
    data = array("f", [0.5] * 8000 + [value] + [0.5] * 8000).tobytes()
    assert "out of range" in refusal(wav(data, bits=32, kind=3))


def test_samples_louder_than_one_are_kept() -> None:
    assert 1.5 == decoded(wav(array("f", [1.5] * RATE).tobytes(), bits=32, kind=3))[10]


@pytest.mark.parametrize(
    "header",
    [{"sample_rate": 0}, {"sample_rate": 0xFFFF_FFFF}, {"channels": 0}, {"channels": 65_535}, {"bits": 0}, {"bits": 7}],
)
def test_impossible_header_is_refused(header: dict[str, int]) -> None:
    assert "no valid wav file" in refusal(wav(tone().tobytes(), **header))


@pytest.mark.parametrize("audio_format", ["wav", "mp3"])
@pytest.mark.parametrize("data", [b"", b"maple", bytes(5000), b"\xff" * 5000, b"fLaC" + bytes(99), b"OggS"])
def test_bytes_that_are_no_sound_are_refused(audio_format: AudioFormat, data: bytes) -> None:
    assert f"no valid {audio_format} file" in refusal(data, audio_format)


def test_file_of_the_other_format_is_refused() -> None:
    assert "no valid mp3 file" in refusal(wav(tone().tobytes()), "mp3")
    assert "no valid wav file" in refusal(MP3, "wav")


def test_file_above_20_mib_is_refused() -> None:
    assert "20 MiB" in refusal(bytes(MAX_AUDIO_BYTES + 1))


@pytest.mark.parametrize("audio_format", ["wav", "mp3"])
@given(st.data())
def test_damaged_sound_is_decoded_or_refused(audio_format: AudioFormat, data: st.DataObject) -> None:
    damaged = bytearray(wav(tone(0.1).tobytes()) if audio_format == "wav" else MP3)
    for at in data.draw(st.lists(st.integers(0, 60), max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        wave = decoded(bytes(damaged), audio_format)
    except MediaError as error:
        assert "invalid_value" == error.code  # noqa: PT017 (either is right)
    else:
        assert RATE // 10 <= len(wave) <= MAX_SECONDS * RATE


def test_equal_samples_have_equal_digests_in_every_file() -> None:
    wide = b"".join(b"\0" + struct.pack("<h", value) for value in tone())
    narrow = decode_audio(wav(tone().tobytes()), "wav", RATE)
    assert narrow.digest == decode_audio(wav(wide, bits=24), "wav", RATE).digest
    assert narrow.digest == sound_digest(narrow.samples, RATE)


def test_rate_changes_the_digest() -> None:
    assert sound_digest(bytes(8), 16_000) != sound_digest(bytes(8), 24_000)
