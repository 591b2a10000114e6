"""A loaded model and its KV memory, over llama-cpp-python's low-level bindings. Only this module decodes.

Positions, sequence ids and cells follow llama.cpp's ``llama_memory``: a cell holds the keys and values of one token at
one position and belongs to a set of sequences; a sequence attends to its own cells only. The memory is unified: all
sequences share ``ctx_size`` cells, and ``seq_cp`` shares a prefix by adding a sequence to its cells, without a copy.
"""

import ctypes
import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import llguidance
import msgspec
import numpy as np
import numpy.typing as npt

from antiphon.engine.cache.radix_tree import Copy
from antiphon.engine.interface import EngineOptions, ModelInfo
from antiphon.engine.models.batch_plan import TILE, AttentionCosts
from antiphon.engine.models.bindings import EngineLoadError, eog_ids, llama_cpp, model_handle
from antiphon.engine.models.grammar_vocabulary import grammar_tokenizer
from antiphon.engine.models.zero_pages import anonymous_mappings, release_zero_pages

MAX_SEQ_IDS: Final = 256
"""LLAMA_MAX_SEQ: sequence ids of one context."""
DEFAULT_CTX_SIZE: Final = 8192
MIN_CONTEXT: Final = 2
"""Tokens: one of a prompt and one of its answer."""
CELL_BLOCK: Final = 256
"""llama.cpp rounds the number of KV cells up to a multiple of this."""
SEQ_IDS: Final = MAX_SEQ_IDS - 1
"""Sequence ids for conversations. The last id is for padding, which has its own block of cells."""
ROW_EFFORT: Final = 8.0
TILE_EFFORT: Final = 1.6
"""Time of attention's arithmetic over that of the weights' matrices, for a row outside and inside a tile. Measured with
SmolLM2 and 100, 400 and 1,500 cells on a processor with AVX-512, see docs/performance.md."""

MIB: Final = 1 << 20
_BYTES: Final = ctypes.POINTER(ctypes.c_uint8)

Floats = npt.NDArray[np.float32]


class DecodeError(Exception):
    """A batch that ``llama_decode`` refused, with llama.cpp's code."""


def physical_cores() -> int:
    """Return the number of usable cores. Sibling threads of a core count once where the kernel lists them."""
    usable = os.sched_getaffinity(0)
    siblings: set[str] = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text() if path.exists() else str(cpu))
    return max(1, len(siblings))


def fingerprint(options: EngineOptions, engine_version: str) -> str:
    """Return a hash of the weights, the library and the engine's options, which may change an answer (64 hex digits).

    Start-up does not read the whole file: the hash covers its size, the first 4 MiB, which hold the metadata, and 1024
    pages spread evenly over the rest, the last one at its end. Every stretch of 4 KiB and a 1023rd of the rest overlaps
    one of them.
    """
    digest = hashlib.sha256()
    head, pages, page = 4 * MIB, 1024, 4096
    with Path(options.model_path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        rest = max(0, size - head - page)
        offsets = {head + rest * index // (pages - 1) for index in range(pages)} if size > head else ()
        digest.update(os.pread(file.fileno(), head, 0))
        for offset in sorted(offsets):
            digest.update(os.pread(file.fileno(), page, offset))
    digest.update(repr((size, engine_version, msgspec.structs.replace(options, model_path=""))).encode())
    return digest.hexdigest()


class LlamaModel:
    """Weights, a context and one reusable batch. Not thread-safe: the worker's loop owns it."""

    def __init__(self, model: Any, context: Any, info: ModelInfo) -> None:  # noqa: ANN401 (ctypes handles)
        self._model = model
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self.info = info
        self.n_vocab = info.n_vocab
        self.eog_ids = eog_ids(self._vocab)
        self.attention = _attention_costs(model, info)
        n = max(info.max_num_batched_tokens, TILE)
        self._tokens = np.zeros(n, dtype=np.int32)
        self._positions = np.zeros(n, dtype=np.int32)
        self._seq_counts = np.ones(n, dtype=np.int32)
        self._seq_ids = np.zeros(n, dtype=np.int32)
        self._seq_rows = self._seq_ids.ctypes.data + 4 * np.arange(n, dtype=np.uintp)
        self._outputs = np.zeros(n, dtype=np.int8)
        self._batch = self._make_batch()

    def _make_batch(self) -> Any:  # noqa: ANN401 (a ctypes struct)
        """Return llama.cpp's batch over this object's arrays, which five array copies fill."""
        int32s = ctypes.POINTER(ctypes.c_int32)
        return llama_cpp.llama_batch(
            token=self._tokens.ctypes.data_as(int32s),
            pos=self._positions.ctypes.data_as(int32s),
            n_seq_id=self._seq_counts.ctypes.data_as(int32s),
            seq_id=self._seq_rows.ctypes.data_as(ctypes.POINTER(int32s)),
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    @classmethod
    def open(cls, options: EngineOptions) -> Self:
        """Return a loaded model with its context. Raises :class:`EngineLoadError`."""
        model = model_handle(options.model_path, vocab_only=False, options=options)
        if reason := _refusal(model):
            llama_cpp.llama_model_free(model)
            raise EngineLoadError(f"{options.model_path} {reason}")
        params = _context_params(options, llama_cpp.llama_model_n_ctx_train(model))
        before = anonymous_mappings()
        context = llama_cpp.llama_init_from_model(model, params)
        if not context:
            llama_cpp.llama_model_free(model)
            raise EngineLoadError(f"No memory for a context of {params.n_ctx} KV cells.")
        if not llama_cpp.llama_supports_gpu_offload():  # a GPU's driver may read host memory by physical pages
            release_zero_pages(before)
        loaded = cls(model, context, _describe(options, model, context, params))
        loaded.info = msgspec.structs.replace(loaded.info, host_cache_size=loaded._host_cache_size(options.cache_ram))
        return loaded

    def decode(self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]) -> Floats:
        """Decode one batch and return the logits of the rows in ``outputs``.

        ``tokens``, ``positions`` and ``seq_ids`` have one entry per row; ``outputs`` lists rows, ascending. The result
        has shape (len(outputs), n_vocab) and is valid until the next call. Raises :class:`DecodeError`.
        """
        n = len(tokens)
        batch = self._batch
        batch.n_tokens = n
        self._tokens[:n] = tokens
        self._positions[:n] = positions
        self._seq_ids[:n] = seq_ids
        self._outputs[:n] = 0
        self._outputs[outputs] = 1
        code = llama_cpp.llama_decode(self._context, batch)
        if code != 0:
            raise DecodeError(f"llama_decode gave {code} for {n} tokens")
        if not outputs:
            return np.empty((0, self.n_vocab), dtype=np.float32)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), (len(outputs), self.n_vocab))

    def decode_embeddings(self, embeddings: Floats, positions: list[int], seq_ids: list[int]) -> None:
        """Decode one batch of rows of media, shape (rows, n_embd), without logits. Raises :class:`DecodeError`."""
        n = len(embeddings)
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        self._positions[:n] = positions
        self._seq_ids[:n] = seq_ids
        self._outputs[:n] = 0
        batch = self._make_batch()
        batch.n_tokens = n
        batch.token = None
        batch.embd = embeddings.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        code = llama_cpp.llama_decode(self._context, batch)
        if code != 0:
            raise DecodeError(f"llama_decode gave {code} for {n} rows of media")

    def grammar_tokenizer(self) -> llguidance.LLTokenizer:
        """Return the vocabulary for llguidance."""
        return grammar_tokenizer(self._vocab, self.eog_ids)

    def seq_cp(self, source: int, target: int, start: int, end: int) -> None:
        """Add ``target`` to the cells of ``source`` at positions [start, end)."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, start, end)

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        """Remove ``seq_id`` from its cells at positions [start, end); cells without a sequence are free."""
        llama_cpp.llama_memory_seq_rm(self._memory, seq_id, start, end)

    def save(self, seq_id: int) -> Copy:
        """Return a copy of the cells of ``seq_id`` in host memory. It must share no cell with another sequence."""
        data = np.empty(llama_cpp.llama_state_seq_get_size(self._context, seq_id), dtype=np.uint8)
        written = llama_cpp.llama_state_seq_get_data(self._context, data.ctypes.data_as(_BYTES), data.size, seq_id)
        assert written == data.size, f"{written} == {data.size}"
        return data

    def restore(self, seq_id: int, copy: Copy) -> bool:
        """Fill free cells for ``seq_id`` from a copy; return False when there are too few."""
        assert isinstance(copy, np.ndarray)
        data = copy.ctypes.data_as(_BYTES)
        return bool(llama_cpp.llama_state_seq_set_data(self._context, data, copy.size, seq_id) == copy.size)

    def _host_cache_size(self, cache_ram: int) -> int:
        """Return the tokens that ``cache_ram`` MiB of host memory hold. It decodes a token to measure its size."""
        if cache_ram < 0:
            return 2 * self.info.ctx_size
        if cache_ram == 0:
            return 0
        self.decode([0], [0], [0], [])
        size = llama_cpp.llama_state_seq_get_size(self._context, 0)
        self.seq_rm(0, 0, 1)
        return cache_ram * MIB // int(size)

    def vocabulary_digest(self) -> bytes:
        """Return a hash of the texts of all tokens, in order."""
        digest = hashlib.sha256()
        for token_id in range(self.n_vocab):
            digest.update(llama_cpp.llama_vocab_get_text(self._vocab, token_id) + b"\0")
        return digest.digest()

    def close(self) -> None:
        """Release context and weights; the object is unusable afterwards."""
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


def open_sibling(options: EngineOptions, model: LlamaModel) -> LlamaModel:
    """Return the loaded ``options.draft_model``.

    Raises :class:`EngineLoadError`, also where its vocabulary differs from that of ``model``.
    """
    ctx_size = model.info.ctx_size
    sibling = LlamaModel.open(
        msgspec.structs.replace(options, model_path=options.draft_model, ctx_size=ctx_size, cache_ram=0)
    )
    if sibling.vocabulary_digest() != model.vocabulary_digest():
        sibling.close()
        raise EngineLoadError(f"The draft model {options.draft_model} has another vocabulary than the model itself.")
    return sibling


def _refusal(model: Any) -> str | None:  # noqa: ANN401 (a ctypes handle)
    """Return the reason why a model cannot be served, in words that follow its path, or None."""
    if llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model):
        return (
            "is a recurrent or hybrid model: its state cannot be cut at a token, which the prefix cache and preemption "
            "need. Only attention models are served."
        )
    # llama.cpp reads the unsigned 32 bits of the file as signed ones: from 2^31 on the length is negative.
    trained = llama_cpp.llama_model_n_ctx_train(model)
    if trained < MIN_CONTEXT:
        return (
            f"says that it was trained with a context of {trained % 2**32} tokens (context_length in its metadata), "
            f"which is not between {MIN_CONTEXT} and {2**31 - 1}: the file is damaged or was converted wrongly."
        )
    return None


def _context_params(options: EngineOptions, trained: int) -> Any:  # noqa: ANN401 (a ctypes struct)
    params = llama_cpp.llama_context_default_params()
    # llama.cpp limits the batch by the cells before it pads them to whole blocks, and aborts where a batch cannot hold
    # one token of every sequence id.
    cells = options.ctx_size or min(trained, DEFAULT_CTX_SIZE)
    params.n_ctx = -(-cells // CELL_BLOCK) * CELL_BLOCK + _padding_cells(options)
    params.n_batch = params.n_ubatch = max(options.max_num_batched_tokens, MAX_SEQ_IDS)
    # With the cells of a window only, a cached prefix would lack the keys of its earlier tokens.
    params.swa_full = True
    params.n_seq_max = MAX_SEQ_IDS
    params.kv_unified = True
    params.n_threads = options.threads or physical_cores()
    params.n_threads_batch = options.threads_batch or params.n_threads
    flash = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if options.flash_attn else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.flash_attn_type = flash
    params.no_perf = True
    return params


def _attends_in_tiles(flash_attn: bool, n_gpu_layers: int) -> bool:  # noqa: FBT001
    return flash_attn and not (n_gpu_layers and llama_cpp.llama_supports_gpu_offload())


def _padding_cells(options: EngineOptions) -> int:
    """Return the number of cells that are reserved for the padding of a tile."""
    return CELL_BLOCK if _attends_in_tiles(options.flash_attn, options.n_gpu_layers) else 0


def _attention_costs(model: Any, info: ModelInfo) -> AttentionCosts | None:  # noqa: ANN401 (a ctypes handle)
    """Return the costs of a cell, by the sizes of the model; None where llama.cpp does not attend in tiles."""
    if not _attends_in_tiles(info.flash_attn, info.n_gpu_layers):
        return None
    attention = 4 * llama_cpp.llama_model_n_layer(model) * llama_cpp.llama_model_n_embd(model) / (2 * info.n_params)
    return AttentionCosts(
        row_cell=ROW_EFFORT * attention, tile_cell=TILE * TILE_EFFORT * attention, padding_id=MAX_SEQ_IDS - 1
    )


def _describe(options: EngineOptions, model: Any, context: Any, params: Any) -> ModelInfo:  # noqa: ANN401 (ctypes)
    text = ctypes.create_string_buffer(256)
    llama_cpp.llama_model_desc(model, text, 256)
    trained = llama_cpp.llama_model_n_ctx_train(model)
    ctx_size = llama_cpp.llama_n_ctx(context) - _padding_cells(options)
    engine_version = f"llama-cpp-python {version('llama-cpp-python')}"
    return ModelInfo(
        description=text.value.decode(errors="replace"),
        n_params=llama_cpp.llama_model_n_params(model),
        model_size=llama_cpp.llama_model_size(model),
        n_vocab=llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model)),
        n_embd=llama_cpp.llama_model_n_embd_inp(model),
        n_ctx_train=trained,
        max_model_len=min(ctx_size, trained),
        ctx_size=ctx_size,
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=options.max_num_batched_tokens,
        prefill_chunk_size=options.prefill_chunk_size,
        threads=params.n_threads,
        threads_batch=params.n_threads_batch,
        n_gpu_layers=options.n_gpu_layers if llama_cpp.llama_supports_gpu_offload() else 0,
        flash_attn=options.flash_attn,
        engine_version=engine_version,
        system_info=(llama_cpp.llama_print_system_info() or b"").decode(errors="replace"),
        fingerprint=fingerprint(options, engine_version),
    )
