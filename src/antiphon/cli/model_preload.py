"""What is begun before the server itself is imported: the first model's process, and the reading of its vocabulary."""

import signal
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.worker.worker_process import PreloadedWorker, WorkerSettings, settings_for, start_process


class ModelPreload:
    """Gives processes and vocabularies: those of one model were begun before, all others are begun when asked for.

    Use it as a context manager: what nobody has asked for is ended with it. A vocabulary that is being read is waited
    for, but after Ctrl-C only until the next one.
    """

    def __init__(self, options: EngineOptions | None = None) -> None:
        """Begin with the model of these options, or with none."""
        self._pool = ThreadPoolExecutor(1, "vocabulary")
        self._path = "" if options is None else options.model_path
        self._reading: Future[Tokenizer] | None = None
        self._worker = None if options is None else PreloadedWorker(settings_for(options))
        if options is not None:
            try:
                self._reading = self._pool.submit(Tokenizer.open, options.model_path)
            except BaseException as error:  # no thread can be started
                self.__exit__(type(error))
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._worker is not None:
            self._worker.close()
        self._pool.shutdown()
        if self._reading is not None and self._reading.exception() is None:
            self._reading.result().close()

    def start_process(self, settings: WorkerSettings) -> "subprocess.Popen[bytes]":
        """Give a process that loads what the settings say. Raises OSError."""
        return start_process(settings) if self._worker is None else self._worker.take(settings)

    def read_vocabulary(self, path: str) -> "Future[Tokenizer]":
        """Give the vocabulary of a model file, for who asks to close."""
        if self._reading is None or path != self._path:
            return self._pool.submit(Tokenizer.open, path)
        reading, self._reading = self._reading, None
        return reading
