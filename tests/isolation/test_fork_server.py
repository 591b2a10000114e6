"""The loop of a process that does jobs, and the limits that it sets itself."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from antiphon.isolation import frames
from antiphon.isolation.fork_server import (
    EXIT_JOB_FAILED,
    EXIT_NOT_FORKED,
    EXIT_OUT_OF_MEMORY,
    MAX_COMMAND,
    PREPARED,
    do_jobs,
    prepare,
    serve,
)
from tests.isolation.jobs import LIMITS, settings

LIMITED = """
import resource, sys
from antiphon.isolation.fork_server import limit_processor_time
resource.setrlimit(resource.RLIMIT_CPU, (50, 100))
limit_processor_time(20)
print(resource.getrlimit(resource.RLIMIT_CPU)[0] < 50)
limit_processor_time(1000)
print(resource.getrlimit(resource.RLIMIT_CPU)[0])
"""
SPIN = """
import resource, sys
from antiphon.isolation.fork_server import limit_processor_time
limit_processor_time(1)
print(resource.getrlimit(resource.RLIMIT_CPU)[0], flush=True)
while True:
    pass
"""


class Restraint:
    """Limits nothing; reports excess memory after the given number of jobs."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs

    def begin_job(self) -> None:
        self._left -= 1

    def has_excess_memory(self) -> bool:
        return self._left <= 0


def done(*jobs: bytes, lifetime: int = 100) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Run the loop over these jobs; return its status and the messages that it sends."""
    parent, process = socket.socketpair()
    statuses: list[int] = []
    with parent, process:
        handler = prepare(settings())
        thread = threading.Thread(target=lambda: statuses.append(do_jobs(process, handler, Restraint(lifetime))))
        thread.start()
        for job in jobs:
            parent.sendall(frames.pack(frames.JOB, job))
        parent.shutdown(socket.SHUT_WR)
        thread.join(30)
        process.shutdown(socket.SHUT_WR)
        with parent.makefile("rb") as stream:
            messages = [*iter(lambda: frames.read(stream), None)]
    return statuses[0], messages


def test_each_job_sends_its_stage_and_its_result() -> None:
    expected = [(frames.STAGE, b"echo"), (frames.RESULT, b"a"), (frames.STAGE, b"word"), (frames.RESULT, b"maple")]
    assert (0, expected) == done(b"echo a", b"word")


def test_last_job_sends_a_last_result() -> None:
    expected = [(frames.STAGE, b"word"), (frames.LAST_RESULT, b"maple")]
    assert (0, expected) == done(b"word", b"echo a", lifetime=1)


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


def test_hard_limit_of_the_server_bounds_the_limit_of_a_job() -> None:
    command = [sys.executable, "-c", LIMITED]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 (our own)
    assert "True\n100\n" == ended.stdout


def test_refused_fork_is_reported_and_the_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        server = threading.Thread(target=serve, args=(theirs, prepare(settings()), LIMITS))
        server.start()
        assert PREPARED == ours.recv(MAX_COMMAND)
        for number in range(2):
            job, end = socket.socketpair()
            with job:
                with end:
                    socket.send_fds(ours, [b"fork %d" % number], [end.fileno()])
                assert b"" == job.recv(1)
            ours.send(b"end %d" % number)
            assert b"%d %d" % (number, EXIT_NOT_FORKED) == ours.recv(MAX_COMMAND)
        ours.shutdown(socket.SHUT_WR)
        server.join(30)
        assert not server.is_alive()
