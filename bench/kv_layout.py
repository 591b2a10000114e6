"""`python -m bench.kv_layout`: the cost of cached prefixes for running streams, by the layout of the KV memory.

Two layouts: one buffer for all sequences, which every decode reads, and one buffer for each sequence, where a shared
prefix is copied. It also measures the offload of a prefix to host memory. It is a loop over ``llama_decode`` without
HTTP and sampling, with 48 tokens of context for each stream. Cached cells are made by restoring one computed prefix
under many sequence ids.
"""

import argparse
import ctypes
import statistics
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from rich.console import Console
from rich.progress import track
from rich.table import Table

from antiphon.engine.models.bindings import llama_cpp, model_handle
from antiphon.engine.models.llama import physical_cores
from bench.servers import served_model

CONTEXT: Final = 48
"""Tokens of each stream before it decodes."""
PREFIX: Final = 512
"""Tokens of the prefix that is computed once and restored many times."""
FIRST_CACHED_ID: Final = 64
CELLS: Final = 16384


class Layout(Struct, frozen=True):
    """One context with its layout."""

    name: str
    context: Any
    unified: bool

    def decode(self, tokens: list[int], positions: list[int], seq_ids: list[int]) -> None:
        """Decode one batch; compute the logits of all rows of a decode step, or of a prompt's last row."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, (token, position, seq_id) in enumerate(zip(tokens, positions, seq_ids, strict=True)):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position, 1, seq_id
            batch.logits[i] = len(tokens) <= FIRST_CACHED_ID or i == len(tokens) - 1
        code = llama_cpp.llama_decode(self.context, batch)
        assert code == 0, code
        llama_cpp.llama_synchronize(self.context)
        llama_cpp.llama_batch_free(batch)

    def remove(self, seq_id: int) -> None:
        """Free the cells of a sequence."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self.context), seq_id, -1, -1)


def open_context(model: Any, cells: int, sequences: int, *, unified: bool) -> Any:  # noqa: ANN401 (ctypes)
    """Open a context with the engine's settings and the given layout."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.kv_unified = cells, sequences, unified
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = physical_cores()
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.no_perf = True
    return llama_cpp.llama_init_from_model(model, params)


def save(context: Any, seq_id: int) -> npt.NDArray[np.uint8]:  # noqa: ANN401 (ctypes)
    """Copy a sequence's cells to host memory."""
    data = np.empty(llama_cpp.llama_state_seq_get_size(context, seq_id), dtype=np.uint8)
    pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    written = llama_cpp.llama_state_seq_get_data(context, pointer, data.size, seq_id)
    return data[:written]


def restore(context: Any, data: npt.NDArray[np.uint8], seq_id: int) -> None:  # noqa: ANN401 (ctypes)
    """Copy cells from host memory to a sequence."""
    pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    assert llama_cpp.llama_state_seq_set_data(context, pointer, data.size, seq_id) > 0


def rate(layout: Layout, streams: int, steps: int) -> float:
    """Return the tokens a second of ``streams`` streams that decode together."""
    for seq_id in range(streams):
        layout.decode([100 + seq_id] * CONTEXT, list(range(CONTEXT)), [seq_id] * CONTEXT)
    ids = list(range(streams))
    start = time.perf_counter()
    for step in range(steps):
        layout.decode([1000] * streams, [CONTEXT + step] * streams, ids)
    seconds = time.perf_counter() - start
    for seq_id in range(streams):
        layout.remove(seq_id)
    return streams * steps / seconds


def main() -> None:
    """Measure all layouts in turn and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", type=served_model)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24)
    options = parser.parse_args()
    model = model_handle(options.model, vocab_only=False)
    one = Layout("one buffer", open_context(model, CELLS, 256, unified=True), unified=True)
    each = Layout("one each", open_context(model, 16 * 2048, 16, unified=False), unified=False)
    one.decode([7 + i % 900 for i in range(PREFIX)], list(range(PREFIX)), [0] * PREFIX)
    start = time.perf_counter()
    saved = save(one.context, 0)
    saving = time.perf_counter() - start
    one.remove(0)
    console, restoring = Console(), []
    table = Table("cached cells", "streams", "one buffer, tokens/s", "one each, tokens/s", "one buffer / one each")
    cached = 0
    for target in (0, 2048, 6144):
        while cached < target:
            start = time.perf_counter()
            restore(one.context, saved, FIRST_CACHED_ID + cached // PREFIX)
            restoring.append(time.perf_counter() - start)
            cached += PREFIX
        for streams in (1, 4, 16):
            rows = [
                (rate(one, streams, options.steps), rate(each, streams, options.steps))
                for _ in track(range(options.rounds), f"{target} cached, {streams} streams", transient=True)
            ]
            ours, theirs, ratio = (
                statistics.median(values) for values in zip(*((a, b, a / b) for a, b in rows), strict=True)
            )
            table.add_row(str(target), str(streams), f"{ours:.1f}", f"{theirs:.1f}", f"{ratio:.2f}")
    console.print(table)
    console.print(
        f"{PREFIX} tokens to host memory: {saving * 1000:.1f} ms, back: {statistics.median(restoring) * 1000:.1f} ms, "
        f"{saved.size / PREFIX / 1024:.1f} KiB a token"
    )


if __name__ == "__main__":
    main()
