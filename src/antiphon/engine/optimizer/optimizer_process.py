"""The process that runs one job of :mod:`antiphon.engine.optimizer.optimizer_jobs`, and its entry point.

Linux kills it when the thread that started it ends. On other systems it ends when it cannot write a message.
"""

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from antiphon.engine.optimizer.optimizer_jobs import (
    Failed,
    Job,
    Measure,
    Measured,
    Message,
    OptimizationError,
    Progress,
    Quantized,
    Result,
)
from antiphon.engine.worker.loop import THREAD_ENVIRONMENT

_PR_SET_PDEATHSIG: Final = 1

Send = Callable[[Message], None]


def work(job: Job, send: Send) -> Result | Failed:
    """Run a job, send its progress, and return its result. llama.cpp is loaded here: it reads the environment once."""
    quantization = importlib.import_module("antiphon.engine.optimizer.quantization")
    measurement = importlib.import_module("antiphon.engine.optimizer.model_measurement")
    llama = importlib.import_module("antiphon.engine.models.llama")

    def report(done: int, total: int) -> None:
        send(Progress(done, total))

    try:
        if isinstance(job, Measure):
            measured: Measured = measurement.measure(job.path, report)
            return measured
        send(quantization.plan(job.source, job.file_type))
        quantization.quantize(job.source, job.target, job.file_type, report)
        return Quantized(size=Path(job.target).stat().st_size)
    except (OptimizationError, llama.EngineLoadError, llama.DecodeError) as error:
        return Failed(message=str(error))


def main() -> None:
    """Run the job on standard input, and write its messages to standard output."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for name, value in THREAD_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    job: Job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    send = partial(_send, sys.stdout.buffer)
    send(work(job, send))


def _send(out: BinaryIO, message: Message) -> None:
    out.write(msgspec.json.encode(message) + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
