"""A KV cache over a model of llama.cpp's memory, and the steps of a prompt on it."""

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.lease import Lease
from tests.engine.fake_model import FakeMemory


def new_cache(n_cells: int = 64, n_seq_ids: int = 8, n_host_cells: int = 0) -> tuple[KVCache, FakeMemory]:
    memory = FakeMemory(n_cells, n_seq_ids)
    return KVCache(memory, n_cells, n_seq_ids, n_host_cells), memory


def compute(memory: FakeMemory, lease: Lease, tokens: list[int]) -> None:
    """Write the lease's missing cells up to the length of ``tokens``, as a step does."""
    for position in range(len(memory.held(lease.seq_id)), len(tokens)):
        memory.write(lease.seq_id, position, tokens[position])


def run_prompt(cache: KVCache, memory: FakeMemory, tokens: list[int], salt: str = "") -> Lease:
    """Acquire, reserve, fill, compute and commit all of ``tokens``."""
    lease = cache.acquire(salt, tokens)
    assert lease is not None
    n = len(tokens) - lease.length
    assert cache.reserve(lease, n)
    cache.fill(lease, n)
    compute(memory, lease, tokens)
    cache.commit(lease, tokens)
    return lease


def cache_prefix(cache: KVCache, memory: FakeMemory, tokens: list[int], salt: str = "") -> None:
    """Compute all of ``tokens`` and release their lease, so that they are an unused prefix."""
    cache.release(run_prompt(cache, memory, tokens, salt), tokens)
