"""llama.cpp's C interface, and model files opened by it: what every process that touches llama.cpp begins with.

llama-cpp-python's package imports its own high-level classes when it is imported, and with them numpy, Jinja and a
hundred chat formats. None of it is used here, and the server's process needs a vocabulary alone: only the module of
bindings is loaded, under the package's name. docs/performance.md has what that saves.
"""

import ctypes
import importlib
import sys
from importlib.util import find_spec, module_from_spec
from itertools import compress, repeat
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from antiphon.engine.interface import EngineOptions

__all__ = ["EngineLoadError", "eog_ids", "llama_cpp", "load_mode", "model_handle", "silence_logs"]


def _bindings() -> ModuleType:
    """Give the package ``llama_cpp``, with the names of its bindings and without its classes."""
    if "llama_cpp" in sys.modules:
        return sys.modules["llama_cpp"]
    spec = find_spec("llama_cpp")
    if spec is None:
        raise ModuleNotFoundError("No module named 'llama_cpp'", name="llama_cpp")
    package = sys.modules[spec.name] = module_from_spec(spec)
    try:
        bindings = importlib.import_module("llama_cpp.llama_cpp")
    except BaseException:
        del sys.modules[spec.name]
        raise
    vars(package).update({name: value for name, value in vars(bindings).items() if not name.startswith("_")})
    return package


if TYPE_CHECKING:
    import llama_cpp

    LogCallback = Any
else:
    llama_cpp = _bindings()
    LogCallback = llama_cpp.llama_log_callback


class EngineLoadError(Exception):
    """The file is no model that can be loaded here, or the memory does not suffice."""


@LogCallback  # type: ignore[untyped-decorator]  # ctypes' factory is untyped
def _discard(_level: int, _text: bytes, _user_data: ctypes.c_void_p) -> None:
    """Take a log line and drop it."""


def silence_logs() -> None:
    """Turn llama.cpp's own log lines off, for the whole process."""
    llama_cpp.llama_log_set(_discard, ctypes.c_void_p(0))


def model_handle(path: str, *, vocab_only: bool, options: EngineOptions | None = None) -> Any:  # noqa: ANN401 (ctypes)
    """Load a GGUF file and return llama.cpp's handle. Raises :class:`EngineLoadError`."""
    if not Path(path).is_file():
        raise EngineLoadError(f"There is no model file at {path}.")
    silence_logs()
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = vocab_only
    if options is not None:
        params.n_gpu_layers = options.n_gpu_layers
        params.load_mode = load_mode(options)
    handle = llama_cpp.llama_model_load_from_file(path.encode(), params)
    if not handle:
        raise EngineLoadError(f"{path} could not be loaded: it is no GGUF file, is damaged, or does not fit in memory.")
    return handle


def load_mode(options: EngineOptions) -> int:
    """Name llama.cpp's way of bringing the weights into memory."""
    if not options.use_mmap:
        return int(llama_cpp.LLAMA_LOAD_MODE_NONE)
    return int(llama_cpp.LLAMA_LOAD_MODE_MLOCK if options.use_mlock else llama_cpp.LLAMA_LOAD_MODE_MMAP)


def eog_ids(vocab: Any) -> frozenset[int]:  # noqa: ANN401 (a ctypes handle)
    """Tokens that end an answer."""
    ids = range(llama_cpp.llama_vocab_n_tokens(vocab))
    return frozenset(compress(ids, map(llama_cpp.llama_vocab_is_eog, repeat(vocab), ids)))
