"""Messages between a pool and its processes."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.isolation import frames

KINDS = st.sampled_from([frames.JOB, frames.STAGE, frames.RESULT, frames.LAST_RESULT])


@given(st.lists(st.tuples(KINDS, st.binary(max_size=300))))
def test_messages_are_read_as_they_were_written(messages: list[tuple[bytes, bytes]]) -> None:
    stream = io.BytesIO(b"".join(frames.pack(kind, payload) for kind, payload in messages))
    assert messages == [frames.read(stream) for _ in messages]
    assert frames.read(stream) is None


@given(st.lists(st.tuples(KINDS.filter(lambda kind: kind != frames.JOB), st.binary(max_size=200))), st.integers(1, 9))
def test_messages_of_a_process_are_taken_whole_however_they_are_cut(
    messages: list[tuple[bytes, bytes]], size: int
) -> None:
    sent = b"".join(frames.pack(kind, payload) for kind, payload in messages)
    received, taken = bytearray(), []
    for begin in range(0, len(sent), size):
        received += sent[begin : begin + size]
        while (message := frames.take_answer(received)) is not None:
            taken.append(message)
    assert (messages, bytearray()) == (taken, received)


def test_an_invalid_message_of_a_process_is_refused_before_it_is_whole() -> None:
    with pytest.raises(frames.FrameError):
        frames.take_answer(bytearray(b"x\0\0\0\1"))


@pytest.mark.parametrize("length", range(8))
def test_a_message_that_is_cut_off_is_the_end_of_the_stream(length: int) -> None:
    assert frames.read(io.BytesIO(frames.pack(frames.JOB, b"abc")[:length])) is None


@pytest.mark.parametrize(
    ("kind", "size"), [(frames.JOB, 0), (b"x", 1), (frames.STAGE, 257), (frames.RESULT, 2**28 + 1)]
)
def test_invalid_header_from_a_process_is_an_error(kind: bytes, size: int) -> None:
    with pytest.raises(frames.FrameError):
        frames.unpack_answer(struct.pack("!cI", kind, size))


@pytest.mark.parametrize(("kind", "size"), [(b"s", 256), (b"r", 2**28), (b"l", 2**28)])
def test_longest_message_of_each_kind_is_accepted(kind: bytes, size: int) -> None:
    assert (kind, size) == frames.unpack_answer(struct.pack("!cI", kind, size))
