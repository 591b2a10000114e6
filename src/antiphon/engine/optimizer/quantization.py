"""Requantises model files through llama.cpp: which types there are, what a copy would take, and the copy."""

import ctypes
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from antiphon.engine.models.bindings import llama_cpp, model_handle, silence_logs
from antiphon.engine.models.llama import physical_cores
from antiphon.engine.optimizer.optimizer_jobs import OptimizationError, Planned

_PREFIX: Final = re.compile(r"LLAMA_FTYPE_(?:MOSTLY|ALL)_(\w+)")
_TENSOR: Final = re.compile(rb"\[\s*(\d+)/\s*(\d+)\]")
_SIZE: Final = re.compile(rb"quant size\s*=\s*([\d.]+) MiB")
_FAILURE: Final = re.compile(rb"failed to quantize: (.+)")
UNKNOWN: Final = "unknown"
"""The type of a file that does not state one."""
_MIB: Final = 1 << 20

FILE_TYPES: Final = {
    match[1]: int(value) for name, value in vars(llama_cpp).items() if (match := _PREFIX.fullmatch(name))
}
"""llama.cpp's number of each type of file, by the name that files and repositories use, such as ``Q4_K_M``."""

if TYPE_CHECKING:
    LogCallback = Any
else:
    LogCallback = llama_cpp.llama_log_callback

Report = Callable[[int, int], None]
"""Told that this many tensors of so many are being written."""


def file_type(path: str) -> str:
    """Name the type that a model file states. Raises :class:`antiphon.engine.models.bindings.EngineLoadError`."""
    handle = model_handle(path, vocab_only=True)
    text = ctypes.create_string_buffer(16)
    # llama_model_ftype gives F32 where only the vocabulary is loaded.
    length = llama_cpp.llama_model_meta_val_str(handle, b"general.file_type", text, len(text))
    llama_cpp.llama_model_free(handle)
    return type_name(text.value.decode() if length > 0 else None)


def type_name(number: str | None) -> str:
    """Name a type by the value of a file's key ``general.file_type``; None where the file has none."""
    return next((name for name, value in FILE_TYPES.items() if str(value) == number), UNKNOWN)


def plan(source: str, type_name: str) -> Planned:
    """Tell what :func:`quantize` would give; writes nothing.

    Raises :class:`OptimizationError` where it would, and :class:`antiphon.engine.models.bindings.EngineLoadError`.
    """
    source_type = file_type(source)
    log = _quantize(source, "", type_name, dry_run=True)
    sizes = _SIZE.findall(log)
    assert sizes, "llama.cpp tells the size"
    return Planned(source_type=source_type, size=round(float(sizes[-1]) * _MIB))


def quantize(source: str, target: str, type_name: str, report: Report) -> None:
    """Write a copy of ``source`` (of a split file the first part) whose weights are of another type, in one file.

    Weights that are quantised already are requantised; one-dimensional tensors stay as they are, and some others get a
    type of more bits, as llama.cpp decides. Raises :class:`OptimizationError`.
    """
    _quantize(source, target, type_name, report=report)


def _quantize(
    source: str, target: str, type_name: str, *, dry_run: bool = False, report: Report | None = None
) -> bytes:
    """Run llama.cpp's quantiser; returns what it logged."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = _number(type_name)
    params.allow_requantize = True
    params.nthread = physical_cores()
    params.dry_run = dry_run
    lines: list[bytes] = []

    @LogCallback  # type: ignore[untyped-decorator]  # ctypes' factory is untyped
    def listen(_level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
        lines.append(text)
        if report is not None and (match := _TENSOR.match(text)):
            report(int(match[1]), int(match[2]))

    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    code = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    silence_logs()
    log = b"".join(lines)
    if code:
        raise OptimizationError(f"It cannot be made {type_name}: {_reason(log)}.")
    return log


def _number(type_name: str) -> int:
    number = FILE_TYPES.get(type_name)
    if number is None:
        raise OptimizationError(f"There is no type {type_name}. Known: {', '.join(FILE_TYPES)}.")
    return number


def _reason(log: bytes) -> str:
    found = _FAILURE.findall(log)
    return found[-1].decode(errors="replace").rstrip("!. ") if found else "llama.cpp refuses it"
