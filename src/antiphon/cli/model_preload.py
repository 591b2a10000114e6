"""Starts the first model's processes and reads its vocabulary while the server's modules are imported."""

import signal
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.worker.worker_process import PreloadedWorker, WorkerSettings, settings_for, start_process
from antiphon.isolation.fork_client import PreloadedForkServer
from antiphon.rendering.renderer_settings import RendererSettings, fork_server_settings


class ModelPreload:
    """Starts processes and reads vocabularies, for one model ahead of the first call.

    Use it as a context manager: its end releases unused processes and an unused vocabulary. It waits for a vocabulary
    in progress; after Ctrl-C, the next Ctrl-C ends the wait.
    """

    def __init__(self, options: EngineOptions | None = None, renderer: RendererSettings | None = None) -> None:
        """Preload the engine and the vocabulary of ``options`` and the fork server of ``renderer``, or none."""
        self.fork_server = None if renderer is None else PreloadedForkServer(fork_server_settings(renderer))
        """The fork server of the renderer, for the first pool with its settings."""
        self._pool = ThreadPoolExecutor(1, "vocabulary")
        self._path = "" if options is None else options.model_path
        self._reading: Future[Tokenizer] | None = None
        self._worker = None if options is None else PreloadedWorker(settings_for(options))
        if options is not None:
            try:
                self._reading = self._pool.submit(Tokenizer.open, options.model_path)
            except BaseException as error:  # the system cannot start a thread
                self.__exit__(type(error))
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._worker is not None:
            self._worker.close()
        if self.fork_server is not None:
            self.fork_server.close()
        self._pool.shutdown()
        if self._reading is not None and self._reading.exception() is None:
            self._reading.result().close()

    def start_process(self, settings: WorkerSettings) -> "subprocess.Popen[bytes]":
        """Return a process with these settings, preloaded or new. Raises OSError."""
        return start_process(settings) if self._worker is None else self._worker.take(settings)

    def read_vocabulary(self, path: str) -> "Future[Tokenizer]":
        """Return the future vocabulary of a model file. The caller closes it."""
        if self._reading is None or path != self._path:
            return self._pool.submit(Tokenizer.open, path)
        reading, self._reading = self._reading, None
        return reading
