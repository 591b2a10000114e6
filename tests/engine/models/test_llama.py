"""Real decoding with the bundled model, and with a tiny model of another tokenizer whose text is meaningless."""

import os
from collections.abc import Iterator
from pathlib import Path

import gguf
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engine.interface import (
    EngineOptions,
    Finished,
    GenerateRequest,
    SamplingParams,
    Started,
    TokenEvent,
    TokenSegment,
)
from antiphon.engine.models.batch_plan import TILE
from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.models.llama import DecodeError, LlamaModel, fingerprint, physical_cores
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.worker.core import Core
from tests.engine.tiny_gguf import CONTEXT, write_tiny_model

PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a",
    "def fibonacci(n):\n",
    "The first three prime numbers are",
)


def options(path: Path, **changes: int | bool) -> EngineOptions:
    """Return options with one thread, because the machine may be busy."""
    base = EngineOptions(model_path=str(path), ctx_size=1024, threads=1, threads_batch=1, prefill_chunk_size=16)
    return msgspec.structs.replace(base, **changes)


def open_core(path: Path, **changes: int | bool) -> Core:
    return Core.open(options(path, **changes), clock=lambda: 0.0, entropy=lambda: 1)


@pytest.fixture(scope="module")
def tokenizer(smollm2_path: Path) -> Iterator[Tokenizer]:
    opened = Tokenizer.open(str(smollm2_path))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel.open(options(smollm2_path))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def core(model: LlamaModel, smollm2_path: Path) -> Core:
    return Core(model, options(smollm2_path), clock=lambda: 0.0, entropy=lambda: 1)


def ask(core: Core, *requests: GenerateRequest) -> dict[tuple[str, int], list[int]]:
    """Run the requests together; return the tokens of every choice."""
    answers: dict[tuple[str, int], list[int]] = {}
    for request in requests:
        core.add(request)
    while core.has_work:
        for event in core.step():
            if isinstance(event, TokenEvent):
                answers.setdefault((event.request_id, event.index), []).extend(event.token_ids)
            elif isinstance(event, Finished):
                assert event.reason in {"stop", "length"}
        core.check()
    return answers


def request(name: str, prompt: list[int], n: int = 1, **sampling: float) -> GenerateRequest:
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 12, **sampling})  # type: ignore[arg-type]
    return GenerateRequest(request_id=name, prompt=(TokenSegment(prompt),), n=n, sampling=params, cache_salt=name[0])


def test_batched_answers_equal_answers_one_by_one(core: Core, tokenizer: Tokenizer) -> None:
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    single = [ask(core, request(f"{i}", prompt))[f"{i}", 0] for i, prompt in enumerate(prompts)]
    together = ask(core, *[request(f"b{i}", prompt) for i, prompt in enumerate(prompts)])
    assert single == [together[f"b{i}", 0] for i in range(len(prompts))]
    first = b"".join(tokenizer.token_bytes(token_id) for token_id in single[0])
    assert first.startswith(b" Paris")


def test_cached_prompt_gives_the_same_answer(core: Core, tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("A list of the planets of the solar system, from the sun outwards: Mercury,")
    first = ask(core, request("c1", prompt))
    core.add(request("c2", prompt))
    (started,) = [event for event in core.step() if isinstance(event, Started)]
    assert len(prompt) - 1 == started.cached_tokens
    core.abort("c2")
    core.step()
    assert first["c1", 0] == ask(core, request("c3", prompt))["c3", 0]


def test_same_seed_gives_the_same_answers_and_choices_differ(core: Core, tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("My favourite animal is")
    asked = {"temperature": 1.0, "seed": 7, "max_tokens": 8}
    first = ask(core, request("s1", prompt, n=2, **asked))
    again = ask(core, request("s2", prompt, n=2, **asked))
    other = ask(core, request("s3", prompt, n=2, **{**asked, "seed": 8}))
    assert list(first.values()) == list(again.values()) != list(other.values())
    assert first["s1", 0] != first["s1", 1]


def test_equal_requests_get_equal_answers_after_other_requests(smollm2_path: Path, tokenizer: Tokenizer) -> None:
    core = open_core(smollm2_path)
    answers = []
    for turn in range(4):
        ask(
            core,
            request("other", tokenizer.encode(f"Question {turn}: why is the sky blue?"), temperature=1.0, seed=turn),
        )
        same = request("same", tokenizer.encode(PROMPTS[1]), temperature=1.0, seed=5, max_tokens=60)
        answers.append(ask(core, same))
    assert [answers[0]] * 3 == answers[1:]
    core.close()


def test_only_cached_prefixes_use_cells_between_requests(core: Core) -> None:
    stats = core.stats()
    assert (0, 0, stats.kv_cells_cached) == (stats.running, stats.waiting, stats.kv_cells_used)


@pytest.mark.parametrize("size", [1, 5])
def test_decoding_in_chunks_equals_decoding_at_once(model: LlamaModel, tokenizer: Tokenizer, size: int) -> None:
    tokens = tokenizer.encode("The quick brown fox jumps over the lazy dog, and then it runs away into the dark wood.")
    n, (whole, parts, branch) = len(tokens), (200, 201, 202)
    expected = model.decode(tokens, list(range(n)), [whole] * n, list(range(n))).copy()
    rows = []
    for start in range(0, n, size):
        positions = list(range(start, min(n, start + size)))
        outputs = list(range(len(positions)))
        rows.append(model.decode(tokens[start : start + size], positions, [parts] * len(positions), outputs).copy())
    np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-2)
    model.seq_cp(parts, branch, 0, n - 1)
    shared = model.decode(tokens[-1:], [n - 1], [branch], [0])
    np.testing.assert_allclose(shared[0], expected[-1], atol=1e-2)
    for seq_id in (whole, parts, branch):
        model.seq_rm(seq_id, 0, n)


def test_attention_costs_are_computed_from_the_sizes_of_the_model(model: LlamaModel) -> None:
    assert model.attention is not None
    assert pytest.approx(1 / 487, rel=0.01) == model.attention.row_cell
    assert pytest.approx(TILE / 2433, rel=0.01) == model.attention.tile_cell


def test_model_without_flash_attention_has_no_attention_costs(tiny_path: Path) -> None:
    opened = LlamaModel.open(options(tiny_path, flash_attn=False))
    assert opened.attention is None
    opened.close()


@pytest.mark.parametrize(("cache_ram", "least", "most"), [(-1, 512, 512), (0, 0, 0), (1, 1, 1_000_000)])
def test_size_of_the_host_cache_is_given_in_tokens(tiny_path: Path, cache_ram: int, least: int, most: int) -> None:
    loaded = LlamaModel.open(EngineOptions(model_path=str(tiny_path), ctx_size=256, cache_ram=cache_ram))
    assert least <= loaded.info.host_cache_size <= most
    loaded.close()


def test_positions_with_a_gap_are_refused_and_leave_the_model_usable(model: LlamaModel) -> None:
    model.decode([5, 6], [0, 1], [210, 210], [1])
    with pytest.raises(DecodeError):
        model.decode([7], [5], [210], [0])
    assert (1, model.n_vocab) == model.decode([7], [2], [210], [0]).shape
    assert (0, model.n_vocab) == model.decode([7], [3], [210], []).shape
    model.seq_rm(210, 0, 4)


def test_model_info_describes_the_bundled_model(model: LlamaModel) -> None:
    info = model.info
    assert (1024, 1024, 8192, 49152) == (info.ctx_size, info.max_model_len, info.n_ctx_train, info.n_vocab)
    assert (1, 1) == (info.threads, info.threads_batch)
    assert 100_000_000 < info.n_params < 200_000_000
    assert info.engine_version.startswith("llama-cpp-python ")
    assert 64 == len(info.fingerprint)


@pytest.mark.parametrize("size", [0, 4, 5_000_000, -1000])
def test_truncated_model_is_refused(smollm2_path: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.gguf"
    with smollm2_path.open("rb") as whole:
        path.write_bytes(whole.read(size if size >= 0 else smollm2_path.stat().st_size + size))
    with pytest.raises(EngineLoadError, match=r"cut\.gguf"):
        LlamaModel.open(options(path))


def test_garbage_is_refused(tmp_path: Path) -> None:
    for content in (b"\0" * 4096, b"GGUF" + b"\xff" * 4096, b"GGUF\x03\0\0\0" + bytes(range(256)) * 20):
        path = tmp_path / "garbage.gguf"
        path.write_bytes(content)
        with pytest.raises(EngineLoadError, match=r"garbage\.gguf"):
            LlamaModel.open(options(path))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(EngineLoadError, match="no model file"):
            LlamaModel.open(options(path))


def test_physical_cores_are_at_most_the_usable_processors() -> None:
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


def test_fingerprint_depends_on_the_file_the_library_and_the_options(tiny_path: Path, tmp_path: Path) -> None:
    base = options(tiny_path)
    other = options(write_tiny_model(tmp_path / "other.gguf", seed=2))
    fingerprints = [
        fingerprint(base, "1"),
        fingerprint(base, "2"),
        fingerprint(other, "1"),
        fingerprint(options(tiny_path, flash_attn=False), "1"),
        fingerprint(options(tiny_path, threads=2), "1"),
        fingerprint(options(tiny_path, max_num_batched_tokens=256), "1"),
        fingerprint(options(tiny_path, ctx_size=512), "1"),
    ]
    assert len(fingerprints) == len(set(fingerprints))
    assert fingerprints[0] == fingerprint(base, "1")


HEAD, PAGES, PAGE = 4 << 20, 1024, 4096
"""Bytes at the beginning of a file that the fingerprint covers, and number and size of further pages."""


def sparse(path: Path, size: int, at: int, length: int) -> Path:
    """Write a file of zeros with ``length`` other bytes."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(at)
        file.write(b"\1" * length)
    return path


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 1 << 26), st.data())
def test_long_enough_change_anywhere_in_a_file_changes_its_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    longest = PAGE + max(0, size - HEAD) // (PAGES - 1) + 1
    at = data.draw(st.integers(0, size - 1).map(lambda at: min(at, max(0, size - longest))))
    files = [sparse(folder / f"{length}.gguf", size, at, length) for length in (0, min(longest, size))]
    assert 2 == len({fingerprint(options(file), "1") for file in files})


@pytest.mark.parametrize("size", [0, 1, HEAD - 1, HEAD, HEAD + 1, HEAD + PAGE, HEAD + PAGE + 1, HEAD + PAGES * PAGE])
def test_change_of_one_byte_of_a_small_file_changes_its_fingerprint(tmp_path: Path, size: int) -> None:
    original = fingerprint(options(sparse(tmp_path / "a", size, 0, 0)), "1")
    places = {at for at in (0, size // 2, HEAD - 1, HEAD, HEAD + PAGE, size - 1) if 0 <= at < size}
    assert [] == [at for at in places if original == fingerprint(options(sparse(tmp_path / "b", size, at, 1)), "1")]


def bytes_read() -> int:
    """Return the bytes that this thread has read so far."""
    counts = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
    return int(counts["rchar"])


def test_fingerprint_reads_little_of_a_large_file(tmp_path: Path) -> None:
    path = sparse(tmp_path / "large.gguf", 40 << 30, 20 << 30, 1)
    begin = bytes_read()
    fingerprint(options(path), "1")
    assert bytes_read() - begin < HEAD + (PAGES + 1) * PAGE


@pytest.mark.parametrize("changes", [{}, {"flash_attn": False}, {"use_mmap": False}])
def test_another_vocabulary_loads_tokenizes_and_decodes(tiny_path: Path, changes: dict[str, bool]) -> None:
    tokenizer = Tokenizer.open(str(tiny_path))
    core = open_core(tiny_path, ctx_size=0, **changes)
    assert (CONTEXT, CONTEXT) == (core.info.ctx_size, core.info.max_model_len)
    prompt = tokenizer.encode("the king in the tower", add_special=True)
    first = ask(core, request("a", prompt, max_tokens=30))
    assert first["a", 0] == ask(core, request("a2", prompt, max_tokens=30))["a2", 0]
    assert all(0 <= token_id < tokenizer.n_vocab for token_id in first["a", 0])
    core.close()
    tokenizer.close()


def test_preemption_does_not_change_the_answers_of_a_real_model(tiny_path: Path) -> None:
    """Flash attention is off: its half-precision rounding depends on the batch where weights are float32."""
    roomy, tight = (open_core(tiny_path, ctx_size=ctx_size, flash_attn=False) for ctx_size in (4096, 256))
    requests = [request(f"{i}", [1, *range(3 + i, 43 + i)], max_tokens=60) for i in range(6)]
    expected = ask(roomy, *requests)
    assert expected == ask(tight, *requests)
    assert (0, True) == (roomy.stats().preemptions, tight.stats().preemptions > 0)
    for core in (roomy, tight):
        core.close()


@pytest.mark.parametrize(("ctx_size", "batched"), [(50, 512), (300, 512), (1024, 16), (256, 1)])
def test_small_contexts_and_batches_load_and_decode(tiny_path: Path, ctx_size: int, batched: int) -> None:
    core = open_core(tiny_path, ctx_size=ctx_size, max_num_batched_tokens=batched, max_num_seqs=1)
    assert 0 == core.info.ctx_size % 256
    prompt = [3 + i % 200 for i in range(core.info.max_model_len - 2)]
    assert len(ask(core, request("a", prompt, max_tokens=2))["a", 0]) <= 2
    core.close()


@pytest.mark.parametrize("ctx_size", [0, 1024])
@pytest.mark.parametrize("context", [0, 1, 2**31, 2**31 + 8192, 2**32 - 1])
def test_unusable_context_length_is_refused_with_its_value(tmp_path: Path, context: int, ctx_size: int) -> None:
    path = write_tiny_model(tmp_path / "m.gguf", context=context)
    with pytest.raises(EngineLoadError, match=rf"m\.gguf says .* context of {context} tokens \(context_length"):
        LlamaModel.open(options(path, ctx_size=ctx_size))


@pytest.mark.parametrize(("expected", "context"), [(2, 2), (512, 512), (8192, 2**31 - 1)])
def test_context_length_of_the_file_limits_a_request(tmp_path: Path, expected: int, context: int) -> None:
    loaded = LlamaModel.open(options(write_tiny_model(tmp_path / "m.gguf", context=context), ctx_size=0))
    assert (expected, context) == (loaded.info.max_model_len, loaded.info.n_ctx_train)
    loaded.close()


@pytest.mark.parametrize("size", [1, 5, 70])
def test_rows_of_media_that_equal_embeddings_of_tokens_give_the_same_logits(tiny_path: Path, size: int) -> None:
    model = LlamaModel.open(options(tiny_path, ctx_size=512))
    ids = [3 + 7 * at % 250 for at in range(70)]
    (weights,) = [each.data for each in gguf.GGUFReader(tiny_path).tensors if each.name == "token_embd.weight"]
    model.decode([1, *ids], list(range(71)), [0] * 71, [])
    expected = model.decode([9], [71], [0], [0]).copy()
    model.decode([1], [0], [1], [])
    for start in range(0, 70, size):
        rows = weights[ids[start : start + size]]
        model.decode_embeddings(rows, list(range(1 + start, 1 + start + len(rows))), [1] * len(rows))
    np.testing.assert_allclose(expected, model.decode([9], [71], [1], [0]), atol=2e-2)
    model.close()


def test_rows_of_media_with_a_gap_before_them_are_refused(tiny_path: Path) -> None:
    model = LlamaModel.open(options(tiny_path))
    model.decode([1], [0], [0], [])
    with pytest.raises(DecodeError):
        model.decode_embeddings(np.zeros((1, model.info.n_embd), dtype=np.float32), [5], [0])
    model.close()
