"""A scheduler that runs step by step, with made-up tokens instead of sampled ones."""

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.interface import EngineOptions, GenerateRequest
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.scheduler import Scheduler
from tests.engine.engine_trial import request, text
from tests.engine.fake_model import FakeMemory, assert_agrees


class Steps:
    """A scheduler whose sequences gain a made-up token whenever their last one is computed."""

    def __init__(
        self, cells: int = 512, *, seqs: int = 8, batched: int = 64, chunk: int = 16, host_cells: int = 0
    ) -> None:
        options = EngineOptions(
            model_path="", max_num_seqs=seqs, max_num_batched_tokens=batched, prefill_chunk_size=chunk
        )
        self.memory = FakeMemory(cells)
        self.cache = KVCache(self.memory, cells, 256, host_cells)
        self.scheduler = Scheduler(self.cache, options)
        self.computed = 0

    def add(self, asked: GenerateRequest, now: float = 0.0) -> Sequence:
        return self.scheduler.add(asked, now)[0]

    def step(self) -> dict[str, int]:
        """Compute one step; return how many tokens of each request it carried."""
        carried: dict[str, int] = {}
        scheduled = self.scheduler.schedule()
        for each in scheduled:
            lease, name = each.sequence.lease, each.sequence.request.request_id
            assert lease is not None
            tokens = each.sequence.tokens[: each.start + each.num_tokens] + each.draft
            for position in range(each.start, each.start + each.num_scheduled_tokens):
                self.memory.write(lease.seq_id, position, tokens[position])
            carried[name] = carried.get(name, 0) + each.num_scheduled_tokens
        for each in scheduled:
            self.scheduler.commit(each)
            self.scheduler.accept_draft(each, 0)
            if each.is_sampled:
                each.sequence.tokens.append(3 + len(each.sequence.tokens) * 5 % 290)
        self.computed += sum(carried.values())
        held = {s.lease: s.tokens[: s.num_computed_tokens] for s in self.scheduler.running if s.lease is not None}
        assert_agrees(self.cache, self.memory, held)
        return carried

    @property
    def running(self) -> list[str]:
        return [sequence.request.request_id for sequence in self.scheduler.running]

    @property
    def waiting(self) -> list[str]:
        return [sequence.request.request_id for sequence in self.scheduler.waiting]


def drafting(steps: Steps, *names: str, draft: int = 30) -> list[Sequence]:
    """Return generating sequences, each with a draft."""
    sequences = [steps.add(request(name, text(int(name), 8), max_tokens=90)) for name in names]
    for _ in range(4):
        steps.step()
    for sequence in sequences:
        sequence.draft = text(1, draft)
    return sequences
