"""Requantises model files with llama.cpp: lists the types, plans a copy and writes it."""

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
"""The type of a file that states none."""
_MIB: Final = 1 << 20

FILE_TYPES: Final = {
    match[1]: int(value) for name, value in vars(llama_cpp).items() if (match := _PREFIX.fullmatch(name))
}
"""llama.cpp's numbers of the file types by their names in files and repositories, such as ``Q4_K_M``."""

if TYPE_CHECKING:
    LogCallback = Any
else:
    LogCallback = llama_cpp.llama_log_callback

Report = Callable[[int, int], None]
"""Takes the number of the tensor that is being written and the number of all tensors."""


def file_type(path: str) -> str:
    """Return the type that a model file states. Raises :class:`antiphon.engine.models.bindings.EngineLoadError`."""
    handle = model_handle(path, vocab_only=True)
    text = ctypes.create_string_buffer(16)
    # llama_model_ftype returns F32 where only the vocabulary is loaded.
    length = llama_cpp.llama_model_meta_val_str(handle, b"general.file_type", text, len(text))
    llama_cpp.llama_model_free(handle)
    return type_name(text.value.decode() if length > 0 else None)


def type_name(number: str | None) -> str:
    """Return the name of a type by the value of ``general.file_type``; None for a file without the key."""
    return next((name for name, value in FILE_TYPES.items() if str(value) == number), UNKNOWN)


def plan(source: str, type_name: str) -> Planned:
    """Return the expected result of :func:`quantize`, without writing anything.

    Raises :class:`OptimizationError` like it, and :class:`antiphon.engine.models.bindings.EngineLoadError`.
    """
    source_type = file_type(source)
    log = _quantize(source, "", type_name, dry_run=True)
    sizes = _SIZE.findall(log)
    assert sizes, "llama.cpp logs the size"
    return Planned(source_type=source_type, size=round(float(sizes[-1]) * _MIB))


def quantize(source: str, target: str, type_name: str, report: Report) -> None:
    """Write a copy of ``source`` (the first part of a split file) with weights of another type to one file.

    Quantised weights are requantised. One-dimensional tensors stay as they are, and llama.cpp gives some others a type
    of more bits. Raises :class:`OptimizationError`.
    """
    _quantize(source, target, type_name, report=report)


def _quantize(
    source: str, target: str, type_name: str, *, dry_run: bool = False, report: Report | None = None
) -> bytes:
    """Run llama.cpp's quantiser and return its log."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = _number(type_name)
    params.allow_requantize = True
    params.nthread = physical_cores()
    params.dry_run = dry_run
    lines: list[bytes] = []

    @LogCallback  # type: ignore[untyped-decorator]  # ctypes' factory is untyped
    def collect(_level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
        lines.append(text)
        if report is not None and (match := _TENSOR.match(text)):
            report(int(match[1]), int(match[2]))

    llama_cpp.llama_log_set(collect, ctypes.c_void_p(0))
    code = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    silence_logs()
    log = b"".join(lines)
    if code:
        raise OptimizationError(f"The model cannot be converted to {type_name}: {_reason(log)}.")
    return log


def _number(type_name: str) -> int:
    number = FILE_TYPES.get(type_name)
    if number is None:
        raise OptimizationError(f"There is no type {type_name}. Known: {', '.join(FILE_TYPES)}.")
    return number


def _reason(log: bytes) -> str:
    found = _FAILURE.findall(log)
    return found[-1].decode(errors="replace").rstrip("!. ") if found else "llama.cpp refuses it"
