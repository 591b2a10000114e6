"""A deterministic model for the tests of scheduling, over a faithful copy of llama.cpp's unified KV memory.

The logits at a position hash the token ids that the sequence holds at positions 0 to that one: any slip in sharing,
forking, eviction, preemption or chunking changes them, so equal answers prove equal contexts.
"""

import hashlib
from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.radix_tree import Node
from antiphon.engine.interface import GenerateRequest, MediaSegment, ModelInfo, PromptTokenLogprobs
from antiphon.engine.models.batch_plan import TILE, AttentionCosts
from antiphon.engine.sampling.sampler import Sampler
from antiphon.engine.sampling.sampling_state import SamplingState

N_VOCAB = 300
N_EMBD = 9
"""A row of media is its digest, 32 bytes, and its number in its segment."""
EOG_IDS = frozenset({0, 1, 2})

Floats = npt.NDArray[np.float32]


class Cell:
    """One token at one position, and the sequences that attend to it."""

    __slots__ = ("position", "row", "seq_ids", "token")

    def __init__(self, token: int, position: int, seq_id: int, row: int = 0) -> None:
        self.token = token
        """The token's id, or the negative key of a row of media."""
        self.row = row
        """The number of a row of media in its segment."""
        self.position = position
        self.seq_ids = {seq_id}


class FakeMemory:
    """``n_cells`` cells. Fails where llama.cpp refuses a batch, fails an assertion or corrupts its counts."""

    def __init__(self, n_cells: int, n_seq_ids: int = 256) -> None:
        self.n_cells = n_cells
        self.n_seq_ids = n_seq_ids
        self.sequences: dict[int, dict[int, Cell]] = {}
        """Cells by sequence id and position."""
        self.cells: set[Cell] = set()
        """The cells that are not free."""

    def held(self, seq_id: int) -> dict[int, Cell]:
        assert 0 <= seq_id < self.n_seq_ids, seq_id
        return self.sequences.setdefault(seq_id, {})

    def tokens(self, seq_id: int) -> dict[int, int]:
        return {position: cell.token for position, cell in self.held(seq_id).items()}

    def seq_cp(self, source: int, target: int, start: int, end: int) -> None:
        for position, cell in list(self.held(source).items()):
            if start <= position < end:
                assert position not in self.held(target), f"{target} holds {position} already"
                self.held(target)[position] = cell
                cell.seq_ids.add(target)

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        for position in [position for position in self.held(seq_id) if start <= position < end]:
            cell = self.held(seq_id).pop(position)
            cell.seq_ids.remove(seq_id)
            if not cell.seq_ids:
                self.cells.remove(cell)

    def save(self, seq_id: int) -> dict[int, tuple[int, int]]:
        held = self.held(seq_id)
        assert held, f"{seq_id} holds nothing that could be saved"
        assert all(cell.seq_ids == {seq_id} for cell in held.values()), f"cells of {seq_id} are in use by others, too"
        return {position: (cell.token, cell.row) for position, cell in held.items()}

    def restore(self, seq_id: int, copy: object) -> bool:
        assert isinstance(copy, dict)
        assert not self.held(seq_id), f"{seq_id} holds cells already"
        if len(self.cells) + len(copy) > self.n_cells:
            return False
        for position, (token, row) in copy.items():
            self.held(seq_id)[position] = Cell(token, position, seq_id, row)
            self.cells.add(self.held(seq_id)[position])
        return True

    def write(self, seq_id: int, position: int, token: int, row: int = 0) -> None:
        held = self.held(seq_id)
        assert len(held) == position, f"sequence {seq_id} holds {len(held)} tokens; the next position is not {position}"
        held[position] = Cell(token, position, seq_id, row)
        self.cells.add(held[position])


class FakeModel(FakeMemory):
    """A model of the protocol ``antiphon.engine.worker.batches.Model``; ``batches`` records the decoded batches."""

    def __init__(
        self,
        ctx_size: int,
        *,
        max_model_len: int | None = None,
        eog_ids: frozenset[int] = EOG_IDS,
        host_cache_size: int = 0,
        attention: AttentionCosts | None = None,
    ) -> None:
        """With ``attention`` the core divides steps and pads batches; the padding has cells beside the context's."""
        super().__init__(ctx_size + (TILE if attention else 0))
        self.info = model_info(ctx_size, max_model_len or ctx_size, host_cache_size)
        self.n_vocab = N_VOCAB
        self.eog_ids = eog_ids
        self.attention = attention
        self.batches: list[list[tuple[int, int]]] = []
        """Per batch, the (sequence id, position) of every token."""
        self.closed = False

    def decode(self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]) -> Floats:
        assert 0 < len(tokens) == len(positions) == len(seq_ids)
        assert outputs == sorted(set(outputs))
        assert len(self.cells) + len(tokens) <= self.n_cells, f"no slot for {len(tokens)} tokens"
        assert all(0 <= token < self.n_vocab for token in tokens)
        for token, position, seq_id in zip(tokens, positions, seq_ids, strict=True):
            self.write(seq_id, position, token)
        self.batches.append(list(zip(seq_ids, positions, strict=True)))
        rows = [logits_after(self._context(seq_ids[row], positions[row])) for row in outputs]
        return np.stack(rows) if rows else np.empty((0, self.n_vocab), dtype=np.float32)

    def decode_embeddings(self, embeddings: Floats, positions: list[int], seq_ids: list[int]) -> None:
        assert (len(positions), N_EMBD) == embeddings.shape
        assert 0 < len(positions) == len(seq_ids)
        assert len(self.cells) + len(positions) <= self.n_cells, f"no slot for {len(positions)} rows"
        for embedding, position, seq_id in zip(embeddings, positions, seq_ids, strict=True):
            key, row = -1 - int.from_bytes(embedding[:-1].tobytes()), int(embedding[-1])
            before = self.held(seq_id).get(position - 1)
            assert row == 0 or (before is not None and (key, row - 1) == (before.token, before.row)), (seq_id, position)
            self.write(seq_id, position, key, row)
        self.batches.append(list(zip(seq_ids, positions, strict=True)))

    def _context(self, seq_id: int, position: int) -> list[int]:
        held = self.held(seq_id)
        return [held[at].token for at in range(position + 1)]

    def grammar_tokenizer(self) -> object:
        raise AssertionError("the fake model's tokens have no text for a grammar")

    def close(self) -> None:
        self.closed = True


def media(start: int, length: int) -> MediaSegment:
    """Return a segment of ``length`` rows, of another content for another ``start``."""
    digest = hashlib.sha256(b"%d" % start).digest()
    rows = b"".join(digest + np.float32(row).tobytes() for row in range(length))
    return MediaSegment(digest=digest, length=length, embeddings=rows)


def logits_after(context: Iterable[int]) -> Floats:
    """Return the fake model's row of logits after the tokens so far."""
    numbers = array("i", (key if key >= 0 else -1 - -key % 2**31 for key in context))
    digest = hashlib.blake2b(numbers.tobytes(), digest_size=8).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest)))
    return rng.standard_normal(N_VOCAB, dtype=np.float32) * np.float32(2.5)


def answer_alone(
    request: GenerateRequest, index: int, max_model_len: int, *, entropy: int, eog_ids: frozenset[int] = EOG_IDS
) -> tuple[list[int], str]:
    """Return the answer of choice ``index`` and the reason of its end, without engine, cache or batches."""
    seed = entropy if request.sampling.seed is None else request.sampling.seed
    state = SamplingState(request.sampling, request.prompt_ids, (seed, index), None, eog_ids)
    sampler = Sampler(N_VOCAB)
    tokens = list(request.prompt_ids)
    while len(tokens) - len(request.prompt_ids) < request.sampling.max_tokens and len(tokens) < max_model_len:
        token_id, _ = sampler.sample(logits_after(tokens), state)
        if token_id in eog_ids or token_id in state.stop_ids:
            return tokens[len(request.prompt_ids) :], "stop"
        state.observe(token_id)
        tokens.append(token_id)
    return tokens[len(request.prompt_ids) :], "length"


def scores_alone(prompt: list[int], n: int) -> dict[int, PromptTokenLogprobs]:
    """Return the logprobs of a prompt's tokens by their positions, from whole rows of logits without an engine.

    A token at the beginning or after a row of media has none.
    """
    scores = {}
    for position in range(1, len(prompt)):
        token = prompt[position]
        if min(prompt[position - 1 : position + 1]) >= 0:
            scores[position] = Sampler(N_VOCAB).score(logits_after(prompt[:position]), token, n)
    return scores


def assert_agrees(cache: KVCache, memory: FakeMemory, held: dict[Lease, list[int]]) -> None:
    """Assert that the bookkeeping agrees with the memory; ``held`` are the tokens of each lease's cells."""
    cache.check()
    owned = sum(lease.owned for lease in cache._leases)
    assert cache.pool.cached_cells + owned == len(memory.cells)
    assert set(held) == cache._leases
    for lease, tokens in held.items():
        assert lease.length == len(tokens)
        assert lease.shared == lease.node.end
        assert dict(enumerate(tokens)) == memory.tokens(lease.seq_id)
    for node in cache.pool.tree.nodes():
        expected = dict(enumerate(node.tokens, node.start))
        assert node.seq_id is None or expected == memory.tokens(node.seq_id)
        assert node.copy is None or expected == copied_tokens(node.copy)
    assert not {seq_id for seq_id, cells in memory.sequences.items() if cells} & set(cache.pool.free_ids)
    assert_salts_are_apart(cache, memory)


def copied_tokens(copy: object) -> dict[int, int]:
    """Return the tokens by position of a copy that :meth:`FakeMemory.save` made."""
    assert isinstance(copy, dict)
    return {position: token for position, (token, _) in copy.items()}


def assert_salts_are_apart(cache: KVCache, memory: FakeMemory) -> None:
    """Assert that the sequences of each cell have one salt, and that no salt's empty tree is kept."""
    salts = {lease.seq_id: lease.salt for lease in cache._leases}
    for salt, root in cache.pool.tree._roots.items():
        assert root.children or root.ref_count, f"{salt!r} is kept for nothing"
        salts.update({node.seq_id: salt for node in below(root) if node.seq_id is not None})
    for cell in memory.cells:
        assert 1 == len({salts[seq_id] for seq_id in cell.seq_ids})


def below(node: Node) -> Iterable[Node]:
    """Yield every node below ``node``."""
    for child in node.children.values():
        yield child
        yield from below(child)


def model_info(ctx_size: int, max_model_len: int, host_cache_size: int = 0) -> ModelInfo:
    """Return the fake model's information."""
    return ModelInfo(
        description="fake",
        n_params=0,
        model_size=0,
        n_vocab=N_VOCAB,
        n_embd=N_EMBD,
        n_ctx_train=max_model_len,
        max_model_len=max_model_len,
        ctx_size=ctx_size,
        host_cache_size=host_cache_size,
        max_num_seqs=0,
        max_num_batched_tokens=0,
        prefill_chunk_size=0,
        threads=1,
        threads_batch=1,
        n_gpu_layers=0,
        flash_attn=False,
        engine_version="fake 1",
        system_info="",
        fingerprint="0" * 64,
    )
