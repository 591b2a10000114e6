"""llama.cpp's C interface, and functions that open model files.

The package llama-cpp-python imports its high-level classes, and with them numpy, Jinja and a hundred chat formats. This
project uses none of them. So only the package's module of bindings is loaded, under the package's name.
docs/performance.md has the measurement.
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


def _load_bindings() -> ModuleType:
    """Return the package ``llama_cpp`` with the names of its bindings and without its classes."""
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
    llama_cpp = _load_bindings()
    LogCallback = llama_cpp.llama_log_callback


class EngineLoadError(Exception):
    """A model file that cannot be loaded, or too little memory for it."""


@LogCallback  # type: ignore[untyped-decorator]  # ctypes' factory is untyped
def _drop_log_line(_level: int, _text: bytes, _user_data: ctypes.c_void_p) -> None:
    """Drop a log line."""


def silence_logs() -> None:
    """Turn off llama.cpp's log lines in the whole process."""
    llama_cpp.llama_log_set(_drop_log_line, ctypes.c_void_p(0))


def model_handle(path: str, *, vocab_only: bool, options: EngineOptions | None = None) -> Any:  # noqa: ANN401 (ctypes)
    """Return llama.cpp's handle of a GGUF file. Raises :class:`EngineLoadError`."""
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
    """Return llama.cpp's mode of loading the weights."""
    if not options.use_mmap:
        return int(llama_cpp.LLAMA_LOAD_MODE_NONE)
    return int(llama_cpp.LLAMA_LOAD_MODE_MLOCK if options.use_mlock else llama_cpp.LLAMA_LOAD_MODE_MMAP)


def eog_ids(vocab: Any) -> frozenset[int]:  # noqa: ANN401 (a ctypes handle)
    """Return the tokens that end an answer."""
    ids = range(llama_cpp.llama_vocab_n_tokens(vocab))
    return frozenset(compress(ids, map(llama_cpp.llama_vocab_is_eog, repeat(vocab), ids)))
