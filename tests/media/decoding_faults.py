"""A handler whose decoders fail as hostile inputs make them fail: the bytes of the file name the fault."""

import ctypes

import msgspec

from antiphon.isolation.fork_server import Handler, ReportStage
from antiphon.media import decoding_process
from antiphon.media.decoding_job import Job


def open_handler(argument: bytes) -> Handler:
    """Return the real handler, except for inputs that name a fault."""
    handle = decoding_process.open_handler(argument)
    faults = {b"spin": _spin, b"allocate": _allocate, b"crash": _crash, b"fail": _fail}

    def handle_or_fail(payload: bytes, report_stage: ReportStage) -> bytes:
        job = msgspec.msgpack.decode(payload, type=Job)
        faults.get(job.data, _nothing)()
        return handle(payload, report_stage)

    return handle_or_fail


def _nothing() -> None:
    pass


def _spin() -> None:
    while True:
        pass


def _allocate() -> None:
    bytearray(1 << 31)


def _crash() -> None:
    ctypes.string_at(0)


def _fail() -> None:
    raise RuntimeError
