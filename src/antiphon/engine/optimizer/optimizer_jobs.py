"""Jobs on model files, their messages, and the function that runs a job in its own process.

Requantising and measuring run in C for seconds to minutes, and llama.cpp ends its process on an unexpected file. So
neither belongs in the process of a command or a server. A job goes to the standard input of ``python -m
antiphon.engine.optimizer.optimizer_process`` as one JSON document; its messages come back as lines of JSON.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import IO, Final

import msgspec
from msgspec import Struct

BATCHES: Final = (1, 4, 16)
"""Numbers of sequences whose decoding speed is measured."""
_COMMAND: Final = ("-P", "-m", "antiphon.engine.optimizer.optimizer_process")
_END_SECONDS: Final = 10.0
"""Seconds that a killed process may take to end."""


class Quantize(Struct, frozen=True, kw_only=True, tag="quantize"):
    """A job: write ``target``, a requantised copy of ``source`` in one file. :class:`Planned` is its first message."""

    source: str
    target: str
    file_type: str
    """The name of the type, such as ``Q8_0``."""


class Measure(Struct, frozen=True, kw_only=True, tag="measure"):
    """A job: measure the losses and the speed of a model."""

    path: str


Job = Quantize | Measure


class Progress(Struct, frozen=True, tag="progress"):
    """The progress of a job, in units of the job."""

    done: int
    total: int


class Planned(Struct, frozen=True, kw_only=True, tag="planned"):
    """The expected result of requantising."""

    source_type: str
    """The name of the source's type, such as ``Q4_1``."""
    size: int
    """Bytes of the copy's weights."""


class Quantized(Struct, frozen=True, kw_only=True, tag="quantized"):
    """The result of a written copy; ``size`` in bytes."""

    size: int


class Measured(Struct, frozen=True, kw_only=True, tag="measured"):
    """The losses of a model over a text, and its speed on this machine."""

    file_type: str
    losses: list[float]
    """-ln(probability) of each scored token of the text, in nats."""
    likeliest: list[int]
    """The likeliest token id at each scored place."""
    prefill: float
    """Tokens a second of a prompt of 512 tokens."""
    decode: dict[int, float]
    """Tokens a second of all sequences together, by the number of sequences."""


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The failure of a job; ``message`` is a sentence for the user."""

    message: str


Result = Quantized | Measured
Message = Planned | Progress | Result | Failed

_decoder = msgspec.json.Decoder(Message)


class OptimizationError(Exception):
    """A job that failed, or whose process died."""


def run(job: Job) -> Generator[Planned | Progress | Result, None, None]:
    """Run a job in its own process and yield its messages, the result last.

    Closing the generator ends the process early. Raises :class:`OptimizationError`.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, *_COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,
        )
        try:
            yield from _messages(process, job)
        finally:
            process.kill()
            process.wait(_END_SECONDS)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        if process.returncode:
            raise OptimizationError(f"The optimizer's process ended with {process.returncode}{_last_line(errors)}")


def _messages(process: "subprocess.Popen[bytes]", job: Job) -> Iterator[Planned | Progress | Result]:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError), process.stdin as stdin:  # a process that ended early is reported by its status
        stdin.write(msgspec.json.encode(job))
    for line in process.stdout:
        message = _decoder.decode(line)
        if isinstance(message, Failed):
            raise OptimizationError(message.message)
        yield message
    process.wait(_END_SECONDS)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else "."
