"""Encoded sounds that the tests make."""

import math
import struct
from array import array

SILENT_MP3_FRAME = bytes.fromhex("fffb90c4") + bytes(413)
"""A frame of an MP3 of 128 kbit/s and 44,100 Hz, whose 1,152 samples are 0: its side information is empty."""
MP3_SAMPLES = 1152


def tone(seconds: float = 0.5, sample_rate: int = 16_000, hertz: int = 440) -> "array[int]":
    """Return a sine wave of half the loudness as 16-bit samples."""
    step = 2 * math.pi * hertz / sample_rate
    return array("h", (round(16_000 * math.sin(step * index)) for index in range(int(seconds * sample_rate))))


def wav(
    data: bytes,
    *,
    sample_rate: int = 16_000,
    channels: int = 1,
    bits: int = 16,
    kind: int = 1,
    declared: int | None = None,
) -> bytes:
    """Return a WAV file with any header; ``declared`` is the size of the data that the header declares."""
    frame = channels * bits // 8 & 0xFFFF
    head = struct.pack("<HHIIHH", kind, channels, sample_rate, sample_rate * frame & 0xFFFFFFFF, frame, bits)
    size = struct.pack("<I", len(data) if declared is None else declared)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + size + data
    return b"RIFF" + struct.pack("<I", len(body) if declared is None else declared) + body
