"""The loop of a process that does jobs, and the limits that it sets itself."""

import signal
import socket
import subprocess
import sys
import threading

import pytest

from antiphon.isolation import frames
from antiphon.isolation.fork_server import EXIT_JOB_FAILED, EXIT_OUT_OF_MEMORY, do_jobs, prepare
from tests.isolation.jobs import settings

SPIN = """
import resource, sys
from antiphon.isolation.fork_server import limit_processor_time
limit_processor_time(1)
print(resource.getrlimit(resource.RLIMIT_CPU)[0], flush=True)
while True:
    pass
"""


def done(*jobs: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Run the loop over these jobs; return its status and the messages that it sends."""
    ours, theirs = socket.socketpair()
    statuses: list[int] = []
    with ours, theirs:
        handler = prepare(settings())
        thread = threading.Thread(target=lambda: statuses.append(do_jobs(theirs, handler, 0)))
        thread.start()
        for job in jobs:
            ours.sendall(frames.pack(frames.JOB, job))
        ours.shutdown(socket.SHUT_WR)
        thread.join(30)
        theirs.shutdown(socket.SHUT_WR)
        with ours.makefile("rb") as stream:
            messages = [*iter(lambda: frames.read(stream), None)]
    return statuses[0], messages


def test_each_job_tells_its_stage_and_its_result() -> None:
    expected = [(frames.STAGE, b"echo"), (frames.RESULT, b"a"), (frames.STAGE, b"word"), (frames.RESULT, b"maple")]
    assert (0, expected) == done(b"echo a", b"word")


def test_the_end_of_the_stream_ends_the_loop() -> None:
    assert (0, []) == done()


def test_an_exception_ends_the_loop_and_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert (EXIT_JOB_FAILED, [(frames.STAGE, b"fail")]) == done(b"fail maple", b"echo a")
    assert "ValueError" in capfd.readouterr().err


def test_a_job_without_memory_ends_the_loop() -> None:
    assert (EXIT_OUT_OF_MEMORY, [(frames.STAGE, b"allocate")]) == done(b"allocate %d" % 2**62)


def test_the_kernel_ends_a_process_that_needs_more_processor_time() -> None:
    command = [sys.executable, "-c", SPIN]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 (our own)
    assert (-signal.SIGXCPU, True) == (ended.returncode, 1 <= int(ended.stdout))
