"""Work on model files that is done in a process of its own: what is asked, what comes back, and who runs it.

Requantising and measuring run in C for seconds to minutes, and llama.cpp ends its process where it meets a file that it
does not expect: none of this belongs into the process of a command or a server. A job goes to standard input of
``python -m antiphon.engine.optimizer.optimizer_process`` as one JSON document; its messages come back as lines of JSON.
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
"""Sequences that decode together where decoding speed is measured."""
_COMMAND: Final = ("-P", "-m", "antiphon.engine.optimizer.optimizer_process")
_END_SECONDS: Final = 10.0
"""How long a killed process may take to disappear."""


class Quantize(Struct, frozen=True, kw_only=True, tag="quantize"):
    """Ask for ``target``, a requantised copy of ``source`` in one file; :class:`Planned` comes before it is begun."""

    source: str
    target: str
    file_type: str
    """Name of the type, such as ``Q8_0``."""


class Measure(Struct, frozen=True, kw_only=True, tag="measure"):
    """Ask how well and how fast a model predicts."""

    path: str


Job = Quantize | Measure


class Progress(Struct, frozen=True, tag="progress"):
    """How much of the job's work is done; the unit is the job's own."""

    done: int
    total: int


class Planned(Struct, frozen=True, kw_only=True, tag="planned"):
    """What requantising will give."""

    source_type: str
    """Name of the source's type, such as ``Q4_1``."""
    size: int
    """Bytes that the weights of the copy will take."""


class Quantized(Struct, frozen=True, kw_only=True, tag="quantized"):
    """The copy is written; ``size`` in bytes."""

    size: int


class Measured(Struct, frozen=True, kw_only=True, tag="measured"):
    """How a model predicts our own text, and how fast it is here."""

    file_type: str
    losses: list[float]
    """-ln(probability) of each scored token of the text, in nats."""
    likeliest: list[int]
    """The token id that the model gives the highest probability at each scored place."""
    prefill: float
    """Tokens a second of a prompt of 512."""
    decode: dict[int, float]
    """Tokens a second, all sequences together, by their number."""


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The job cannot be done; ``message`` is a sentence for the person who asked."""

    message: str


Result = Quantized | Measured
Message = Planned | Progress | Result | Failed

_decoder = msgspec.json.Decoder(Message)


class OptimizationError(Exception):
    """The job was refused, or its process died."""


def run(job: Job) -> Generator[Planned | Progress | Result, None, None]:
    """Do a job in a process of its own and give its messages as they come, the result last.

    Close the generator to end the process early. Raises :class:`OptimizationError`.
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
            raise OptimizationError(f"The process that did it ended with {process.returncode}{_last_line(errors)}")


def _messages(process: "subprocess.Popen[bytes]", job: Job) -> Iterator[Planned | Progress | Result]:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError), process.stdin as stdin:  # its end is told by its status
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
