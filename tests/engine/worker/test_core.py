"""Tests of the decode loop over a fake model: batching, caching, preemption and aborts never change an answer."""

from concurrent.futures import Future
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from antiphon.engine.drafting.draft_length import StepCosts
from antiphon.engine.grammars.grammar import GrammarError, Matcher
from antiphon.engine.interface import (
    EngineOptions,
    Finished,
    GenerateRequest,
    MediaSegment,
    SamplingParams,
    ServiceTier,
    Started,
    TokenEvent,
    TokenSegment,
)
from antiphon.engine.models.batch_plan import TILE, AttentionCosts
from antiphon.engine.worker.core import Core
from tests.engine.engine_trial import ENTROPY, STEP_SECONDS, Trial, request, text
from tests.engine.fake_model import EOG_IDS, FakeModel, answer_alone, media
from tests.engine.scripted_grammar import Script, ScriptedCompiler, ScriptedMatcher


class Arrival(Struct, frozen=True, kw_only=True):
    """A request of a random workload: the step of its arrival, its fields, and the step of its abort."""

    step: int
    prefix: int
    prefix_length: int
    suffix: int
    suffix_length: int
    max_tokens: int
    temperature: float
    seed: int | None
    n: int
    salt: str
    tier: ServiceTier
    abort_after: int | None
    abort_index: int | None
    edits: list[tuple[int, int]] | None
    pictures: list[tuple[int, int]] = []
    """The content and the number of rows of each."""
    sampling: dict[str, Any] = {}
    """Further parameters of sampling."""
    prompt_logprobs: int | None = None

    def request(self, request_id: str, max_model_len: int) -> GenerateRequest:
        prompt = text(self.prefix, self.prefix_length) + text(5 + self.suffix, self.suffix_length)
        prompt = prompt[: max_model_len - 1]
        pictures = [media(content, length) for content, length in self.pictures]
        while len(prompt) + sum(picture.length for picture in pictures) >= max_model_len:
            pictures.pop()
        asked = request(
            request_id,
            prompt,
            pictures=pictures,
            prediction=None if self.edits is None else self._prediction(prompt, pictures, max_model_len),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            n=self.n,
            salt=self.salt,
            tier=self.tier,
            prompt_logprobs=self.prompt_logprobs,
        )
        return self._sampled(asked)

    def _sampled(self, asked: GenerateRequest) -> GenerateRequest:
        return msgspec.structs.replace(asked, sampling=msgspec.structs.replace(asked.sampling, **self.sampling))

    def _prediction(self, prompt: list[int], pictures: list[MediaSegment], max_model_len: int) -> list[int]:
        """Return the first choice's answer, with tokens replaced, inserted (odd) and deleted (negative)."""
        alone = request(
            "", prompt, pictures=pictures, max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed
        )
        alone = self._sampled(alone)
        predicted, _ = answer_alone(alone, 0, max_model_len, entropy=ENTROPY)
        for at, token in self.edits or ():
            predicted[at : at + token % 2] = [token] if token >= 0 else []
        return predicted


SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"min_tokens": 3, "stop_token_ids": [*range(3, 60)]},
    {"ignore_eos": True},
    {"typical_p": 0.5},
    {"xtc_probability": 0.5, "top_p": 0.9},
    {"mirostat": 1, "mirostat_tau": 2.0},
    {"mirostat": 2, "mirostat_tau": 2.0},
    {"dry_multiplier": 5.0, "dry_allowed_length": 1, "logit_bias": dict.fromkeys(range(3, 7), 20.0)},
)
"""Parameters of samplers that keep a state for each choice, or that change the end of answers."""
ARRIVALS = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 12),
        prefix=st.integers(0, 1),
        prefix_length=st.integers(0, 40),
        suffix=st.integers(0, 2),
        suffix_length=st.integers(1, 8),
        max_tokens=st.integers(1, 24),
        temperature=st.sampled_from([0.0, 0.7, 1.0]),
        seed=st.none() | st.integers(-(2**63), 2**64 - 1),
        n=st.sampled_from([1, 1, 1, 2, 4]),
        salt=st.sampled_from(["", "", "a"]),
        tier=st.sampled_from(["default", "default", "flex", "priority"]),
        abort_after=st.none() | st.integers(0, 12),
        abort_index=st.none() | st.integers(0, 3),
        sampling=st.sampled_from([*SAMPLINGS, {}, {}]),
        edits=st.none() | st.lists(st.tuples(st.integers(0, 23), st.integers(-20, 299)), max_size=3),
        prompt_logprobs=st.sampled_from([None, None, 0, 2]),
        pictures=st.just([]) | st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12)), max_size=3),
    ),
    min_size=1,
    max_size=7,
)
TRIALS = st.builds(
    lambda ctx_size, batched, seqs, chunk, model_len, host, draft, attention: Trial(
        ctx_size,
        max_model_len=max(2, ctx_size - model_len),
        max_num_seqs=min(seqs, batched),
        max_num_batched_tokens=batched,
        prefill_chunk_size=chunk,
        host_cache_size=host,
        draft_eog_ids=draft,
        attention=attention,
    ),
    st.integers(24, 100),
    st.integers(1, 40),
    st.integers(1, 8),
    st.integers(1, 16),
    st.integers(0, 20),
    st.sampled_from([0, 30, 300]),
    st.sampled_from([None, frozenset[int](), EOG_IDS]),
    st.none()
    | st.builds(
        AttentionCosts,
        row_cell=st.floats(0, 5, width=16),
        tile_cell=st.floats(0, 20, width=16),
        padding_id=st.just(255),
    ),
)


@given(TRIALS, ARRIVALS)
@settings(max_examples=80, deadline=None)
def test_every_choice_of_a_workload_ends_once_as_if_it_ran_alone(trial: Trial, arrivals: list[Arrival]) -> None:
    aborts: dict[int, list[tuple[str, int | None]]] = {}
    for at in range(30):
        for i, arrival in enumerate(arrivals):
            if arrival.step == at:
                trial.add(arrival.request(f"r{i}", trial.core.info.max_model_len))
                if arrival.abort_after is not None:
                    aborts.setdefault(at + arrival.abort_after, []).append((f"r{i}", arrival.abort_index))
        for request_id, index in aborts.get(at, ()):
            trial.core.abort(request_id, index)
            trial.check()
        if not trial.core.has_work:
            trial.core.idle_step()
            trial.check()
        trial.step()
    trial.run()
    trial.check_end()


def test_memory_too_small_for_all_preempts_and_recomputes_the_same_answers() -> None:
    trial = Trial(96, max_num_seqs=8, prefill_chunk_size=8)
    trial.add(*[request(f"r{i}", text(i, 16), max_tokens=40, temperature=1.0, seed=i) for i in range(6)])
    trial.run()
    trial.check_end()
    assert trial.core.stats().preemptions > 0


def test_one_request_may_fill_every_cell() -> None:
    trial = Trial(64, eog_ids=frozenset())
    trial.add(request("a", text(1, 40), max_tokens=1000), request("b", text(2, 40), max_tokens=1000))
    trial.run()
    trial.check_end()
    assert [("length", 24), ("length", 24)] == [(end.reason, end.completion_tokens) for end in trial.finished.values()]


def test_max_tokens_ends_with_length() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.add(request("a", text(1, 5), max_tokens=3))
    trial.run()
    expected = Finished(request_id="a", index=0, reason="length", prompt_tokens=5, completion_tokens=3)
    assert expected == trial.finished["a", 0]


def test_end_of_generation_token_is_counted_but_not_reported() -> None:
    trial = Trial(eog_ids=frozenset(range(300)))
    trial.add(request("a", text(1, 5)))
    trial.run()
    expected = Finished(request_id="a", index=0, reason="stop", prompt_tokens=5, completion_tokens=1)
    assert expected == trial.finished["a", 0]
    assert [] == trial.tokens["a", 0]


def test_end_of_generation_tokens_are_counted_as_generated() -> None:
    trial = Trial(eog_ids=frozenset(range(300)))
    trial.add(request("a", text(1, 5), n=2), request("b", text(2, 5)))
    trial.run()
    assert 3 == trial.core.stats().generated_tokens


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_penalties_count_the_tokens_of_the_answer(penalty: str) -> None:
    trial = Trial(eog_ids=frozenset())
    asked = request("a", text(1, 5), max_tokens=40)
    sampling = msgspec.structs.replace(asked.sampling, logit_bias={7: 15.0, 8: 14.0}, **{penalty: 2.0})
    trial.add(msgspec.structs.replace(asked, sampling=sampling))
    trial.run()
    assert {7, 8} <= set(trial.tokens["a", 0])
    trial.check_end()


def said(trial: Trial, **fields: object) -> list[int]:
    """Run one request; return its answer."""
    trial.add(request("a", text(1, 5), max_tokens=60, **fields))  # type: ignore[arg-type]
    trial.run()
    trial.check_end()
    return trial.tokens["a", 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_right_prediction_takes_few_steps_and_is_accepted_whole(temperature: float) -> None:
    plain = Trial(eog_ids=frozenset())
    answer = said(plain, temperature=temperature)
    trial = Trial(eog_ids=frozenset(), prefill_chunk_size=32)
    assert answer == said(trial, temperature=temperature, prediction=answer)
    end = trial.finished["a", 0]
    assert 0 == end.rejected_prediction_tokens
    assert 60 == end.accepted_prediction_tokens + len(trial.model.batches)
    assert len(trial.model.batches) < 12 < len(plain.model.batches)


def test_wrong_prediction_changes_no_token_and_is_counted_as_rejected() -> None:
    answer = said(Trial(eog_ids=frozenset()))
    trial = Trial(eog_ids=frozenset())
    assert answer == said(trial, prediction=text(3, 60))
    end = trial.finished["a", 0]
    assert 0 < end.rejected_prediction_tokens
    assert 60 == end.completion_tokens


def test_every_accepted_draft_token_has_its_logprobs() -> None:
    def logprobs(prediction: list[int]) -> list[float]:
        trial = Trial(eog_ids=frozenset())
        asked = request("a", text(1, 5), max_tokens=30, prediction=prediction)
        asked = msgspec.structs.replace(asked, sampling=msgspec.structs.replace(asked.sampling, logprobs=0))
        trial.add(asked)
        trial.run()
        return [each.logprob for each in trial.logprobs["a", 0]]

    plain = logprobs([])
    assert 30 == len(plain)
    assert plain == logprobs(said(Trial(eog_ids=frozenset())))


def test_penalties_count_the_tokens_of_a_draft() -> None:
    def answer(prediction: list[int]) -> list[int]:
        trial = Trial(eog_ids=frozenset())
        asked = request("a", text(1, 5), max_tokens=40, prediction=prediction)
        sampling = msgspec.structs.replace(asked.sampling, frequency_penalty=2.0, logit_bias={7: 3.0})
        trial.add(msgspec.structs.replace(asked, sampling=sampling))
        trial.run()
        return trial.tokens["a", 0]

    assert answer([]) == answer(answer([]))


@pytest.mark.parametrize("askers", [2, 16])
def test_requests_with_one_prefix_compute_it_once(askers: int) -> None:
    trial = Trial(1024, max_num_seqs=askers, max_num_batched_tokens=512, prefill_chunk_size=64)
    trial.add(*[request(f"r{i}", text(1, 200) + text(i + 2, 4), max_tokens=1) for i in range(askers)])
    trial.run()
    trial.check_end()
    computed = sum(len(batch) for batch in trial.model.batches)
    assert 200 + 4 * askers == computed
    assert [0] + [200] * (askers - 1) == [trial.started[f"r{i}"].cached_tokens for i in range(askers)]


@pytest.mark.parametrize("batched", [16, 64, 512])
def test_choices_of_a_request_prefill_its_prompt_once(batched: int) -> None:
    trial = Trial(1024, max_num_batched_tokens=batched, eog_ids=frozenset())
    trial.add(request("a", text(1, 40), n=4, temperature=1.0, max_tokens=6))
    trial.run()
    trial.check_end()
    assert 40 + 3 * 1 + 4 * 5 == sum(len(batch) for batch in trial.model.batches)
    assert 4 == len({tuple(trial.tokens["a", index]) for index in range(4)})
    assert 0 == trial.finished["a", 3].cached_tokens


def test_second_turn_finds_the_first_turn_and_its_answer_cached() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.add(request("a", text(1, 20), max_tokens=5))
    trial.run()
    answer = trial.tokens["a", 0]
    trial.add(request("b", text(1, 20) + answer + text(2, 3), max_tokens=5), request("c", text(1, 20), max_tokens=5))
    trial.run()
    trial.check_end()
    assert [0, 24, 19] == [trial.started[name].cached_tokens for name in "abc"]
    stats = trial.core.stats()
    assert (20 + 28 + 20, 24 + 19, 15) == (stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens)


def test_salt_reuses_no_prefix_of_another_salt() -> None:
    trial = Trial()
    for name, salt in (("a", "x"), ("b", "y"), ("c", "x")):
        trial.add(request(name, text(1, 20), salt=salt))
        trial.run()
    trial.check_end()
    assert [0, 0, 19] == [trial.started[name].cached_tokens for name in "abc"]


def test_abort_ends_a_waiting_request() -> None:
    trial = Trial(max_num_seqs=1)
    trial.add(request("a", text(1, 20)), request("b", text(2, 20)))
    trial.step()
    trial.core.abort("b")
    assert ["b"] == [event.request_id for event in trial.step() if isinstance(event, Finished)]
    trial.run()
    trial.check_end()
    assert Finished(request_id="b", index=0, reason="abort", prompt_tokens=20) == trial.finished["b", 0]


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_abort_in_prefill_or_decode_frees_the_cells_at_once(steps: int) -> None:
    trial = Trial(128, max_num_batched_tokens=8, eog_ids=frozenset())
    trial.add(request("a", text(1, 40), max_tokens=50))
    for _ in range(steps):
        trial.step()
    trial.core.abort("a")
    stats = trial.core.stats()
    assert (0, 0) == (stats.running, stats.kv_cells_used - stats.kv_cells_cached)
    trial.run()
    trial.check_end()


def test_abort_of_one_choice_leaves_its_siblings() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.add(request("a", text(1, 10), n=3, temperature=1.0, max_tokens=10))
    for _ in range(4):
        trial.step()
    trial.core.abort("a", 1)
    trial.run()
    trial.check_end()
    assert ["length", "abort", "length"] == [trial.finished["a", index].reason for index in range(3)]


def test_abort_of_an_unknown_or_finished_request_has_no_effect() -> None:
    trial = Trial()
    trial.add(request("a", text(1, 10)))
    trial.run()
    trial.core.abort("a")
    trial.core.abort("never", 3)
    assert not trial.core.has_work
    assert [] == trial.step()


def test_abort_all_reports_an_end_for_every_choice() -> None:
    trial = Trial(max_num_seqs=2)
    trial.add(request("a", text(1, 10), n=2), request("b", text(2, 10)))
    trial.step()
    ends = trial.core.abort_all("error", "the engine ends")
    assert {("a", 0), ("a", 1), ("b", 0)} == {(e.request_id, e.index) for e in ends if isinstance(e, Finished)}
    assert {"the engine ends"} == {e.message for e in ends if isinstance(e, Finished)}
    assert not trial.core.has_work
    trial.check()


def test_impossible_request_is_refused_and_leaves_no_state() -> None:
    trial = Trial(64)
    for prompt, bias in (([], {}), (text(1, 64), {}), ([300], {}), ([-1], {}), ([5], {300: 1.0}), ([5], {-1: 1.0})):
        sampling = SamplingParams(max_tokens=1, logit_bias=bias)
        with pytest.raises(AssertionError):
            trial.core.add(GenerateRequest(request_id="a", prompt=(TokenSegment(prompt),), sampling=sampling))
        assert not trial.core.has_work
        trial.check()


PICTURE = media(1, 20)


def test_repeated_picture_is_cached_with_the_text_around_it() -> None:
    trial = Trial(256)
    trial.add(request("a", text(1, 10), pictures=[PICTURE]))
    trial.run()
    trial.add(request("b", text(1, 10), pictures=[PICTURE]))
    trial.run()
    assert (0, 29) == (trial.started["a"].cached_tokens, trial.started["b"].cached_tokens)
    trial.check_end()


def test_other_picture_ends_the_cached_prefix() -> None:
    trial = Trial(256)
    trial.add(request("a", text(1, 10), pictures=[PICTURE]))
    trial.run()
    trial.add(request("b", text(1, 10), pictures=[media(2, 20)]))
    trial.run()
    assert 5 == trial.started["b"].cached_tokens
    assert trial.tokens["a", 0] != trial.tokens["b", 0]


def test_picture_is_decoded_in_chunks_beside_a_stream() -> None:
    trial = Trial(256, prefill_chunk_size=8)
    trial.add(request("stream", text(1, 4), max_tokens=40))
    trial.step()
    trial.add(request("picture", text(2, 4), pictures=[PICTURE]))
    trial.run()
    trial.check_end()


def test_picture_is_decoded_again_after_a_preemption() -> None:
    trial = Trial(48, max_model_len=48, max_num_seqs=4)
    for number in range(3):
        trial.add(request(f"r{number}", text(number, 6), pictures=[media(number, 9)], max_tokens=24))
    trial.run()
    assert trial.scheduler.preemptions
    trial.check_end()


def test_prompt_lookup_drafts_no_row_of_a_picture() -> None:
    trial = Trial(256)
    trial.add(request("a", [*text(1, 6), *text(1, 6)], pictures=[PICTURE], max_tokens=30))
    trial.run()
    trial.check_end()


def test_every_token_has_logprobs_if_requested() -> None:
    trial = Trial(eog_ids=frozenset())
    sampling = SamplingParams(temperature=0.0, max_tokens=3, logprobs=2)
    trial.add(GenerateRequest(request_id="a", prompt=(TokenSegment([5, 6]),), sampling=sampling))
    events = [event for _ in range(3) for event in trial.step()]
    reported = [each for event in events for each in getattr(event, "logprobs", [])]
    assert trial.tokens["a", 0] == [each.top_ids[0] for each in reported]
    assert all(each.logprob == each.top_logprobs[0] and len(each.top_ids) == 2 for each in reported)


def scored(trial: Trial, *asked: GenerateRequest) -> Trial:
    trial.add(*asked)
    trial.run()
    trial.check_end()
    return trial


def test_logprobs_of_a_prompt_are_those_of_one_batch_in_chunks_beside_others() -> None:
    trial = Trial(max_num_batched_tokens=8, prefill_chunk_size=3)
    trial.add(request("stream", text(1, 5), max_tokens=30))
    trial.step()
    scored(trial, request("r", text(2, 40), n=2, prompt_logprobs=3))
    assert [*range(1, 40)] == list(trial.scores["r"])
    assert {} == trial.scores["stream"]


def test_logprobs_of_a_prompt_are_reported_once_across_a_preemption() -> None:
    trial = Trial(80, max_num_batched_tokens=16)
    scored(trial, *(request(f"r{i}", text(i, 20), max_tokens=40, prompt_logprobs=1) for i in range(3)))
    assert trial.scheduler.preemptions > 0
    assert [[*range(1, 20)]] * 3 == [list(trial.scores[f"r{i}"]) for i in range(3)]


def test_logprobs_are_not_reported_again_when_a_prompt_begins_again() -> None:
    trial = Trial(64, prefill_chunk_size=1, eog_ids=frozenset())
    trial.add(request("stream", text(1, 8), max_tokens=52))
    trial.step()
    scored(trial, request("r", text(2, 36), max_tokens=1, prompt_logprobs=0))
    assert 1 == trial.scheduler.preemptions
    assert sum(map(len, trial.model.batches)) > 8 + 52 - 1 + 36, "some rows are computed twice"
    assert [*range(1, 36)] == list(trial.scores["r"])


def test_request_for_logprobs_of_its_prompt_uses_no_cached_prefix() -> None:
    trial = scored(Trial(), request("before", text(1, 30)))
    scored(trial, request("r", text(1, 30), prompt_logprobs=0))
    scored(trial, request("again", text(1, 30), prompt_logprobs=0))
    assert (0, 0) == (trial.started["r"].cached_tokens, trial.started["again"].cached_tokens)
    assert [*range(1, 30)] == list(trial.scores["again"])


def test_rows_of_media_and_the_tokens_after_them_have_no_logprobs() -> None:
    trial = scored(Trial(), request("r", text(1, 10), pictures=[media(1, 4)], prompt_logprobs=0))
    scores = trial.scores["r"]
    assert [1, 2, 3, 4, 10, 11, 12, 13] == [position for position, score in scores.items() if score is not None]


def test_requests_without_a_seed_draw_one_each() -> None:
    seeds = iter(range(100))
    model = FakeModel(256, eog_ids=frozenset())
    options = EngineOptions(model_path="", max_num_seqs=4, max_num_batched_tokens=64)
    core = Core(model, options, clock=lambda: 0.0, entropy=lambda: next(seeds))
    for name in "ab":
        core.add(request(name, text(1, 5), temperature=1.0, max_tokens=8))
    answers: dict[str, list[int]] = {"a": [], "b": []}
    while core.has_work:
        for event in core.step():
            answers[event.request_id] += getattr(event, "token_ids", [])
    assert answers["a"] != answers["b"]
    core.close()
    assert model.closed


def test_tokens_and_sequences_of_each_step_are_counted() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.add(request("a", text(1, 10), max_tokens=3), request("b", text(2, 7), max_tokens=3))
    trial.run()
    stats = trial.core.stats()
    assert stats.steps == sum(stats.tokens_per_step.counts) == sum(stats.sequences_per_step.counts)
    assert sum(len(batch) for batch in trial.model.batches) == stats.tokens_per_step.total


def test_returned_statistics_do_not_change_later() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.add(request("a", text(1, 10), max_tokens=3))
    trial.step()
    stats = trial.core.stats()
    trial.run()
    assert (1, 1) == (stats.steps, sum(stats.tokens_per_step.counts))


def test_drafts_and_accepted_tokens_are_counted() -> None:
    trial = Trial(eog_ids=frozenset())
    answer = answer_alone(request("a", text(1, 10), max_tokens=20), 0, 256, entropy=ENTROPY, eog_ids=frozenset())[0]
    trial.add(request("a", text(1, 10), max_tokens=20, prediction=answer))
    trial.run()
    stats, end = trial.core.stats(), trial.finished["a", 0]
    assert (end.accepted_prediction_tokens, end.rejected_prediction_tokens) == (
        stats.accepted_tokens,
        stats.draft_tokens - stats.accepted_tokens,
    )
    assert stats.draft_tokens > stats.drafts > 0


def test_started_event_has_the_queue_time() -> None:
    trial = Trial(max_num_seqs=1, eog_ids=frozenset())
    trial.add(request("a", text(1, 10), max_tokens=4), request("b", text(2, 10), max_tokens=4))
    trial.run()
    assert (STEP_SECONDS, True) == (trial.started["a"].queue_time, trial.started["b"].queue_time > STEP_SECONDS)


def test_queue_time_begins_when_a_request_is_added() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.now = 100.0
    trial.add(request("a", text(1, 10), max_tokens=1))
    trial.run()
    assert pytest.approx(STEP_SECONDS) == trial.started["a"].queue_time


def test_step_costs_of_drafts_include_the_time_of_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(1000))
    model = FakeModel(1024, attention=AttentionCosts(row_cell=1 / 500, tile_cell=TILE / 2500, padding_id=255))
    options = EngineOptions(model_path="", max_num_seqs=4, max_num_batched_tokens=512, prefill_chunk_size=512)
    core = Core(model, options, clock=lambda: float(next(seconds)), entropy=lambda: 1)
    observed: list[tuple[int, float]] = []
    monkeypatch.setattr(StepCosts, "observe", lambda _, tokens, seconds: observed.append((tokens, seconds)))
    core.add(request("a", text(1, 300), max_tokens=1))
    core.add(request("b", text(2, 10), max_tokens=1))
    core.step()
    assert ([(310, 2.0)], 2) == (observed, len(model.batches))


@pytest.mark.parametrize(("accepted", "length"), [(5, 9), (6, 10)])
def test_forced_tokens_within_a_right_prediction_are_accepted(accepted: int, length: int) -> None:
    def run(prediction: list[int]) -> Trial:
        trial = Trial(eog_ids=frozenset(), compiler=ScriptedCompiler(g=Script()))
        trial.add(request("g", text(1, 10), grammar="g", max_tokens=20, prediction=prediction))
        trial.run()
        return trial

    answer = run([]).tokens["g", 0]
    end = run(answer[:length]).finished["g", 0]
    assert (accepted, 0) == (end.accepted_prediction_tokens, end.rejected_prediction_tokens)


def test_unused_prefixes_are_offloaded_while_others_decode_and_restored_later() -> None:
    trial = Trial(512, eog_ids=frozenset(), host_cache_size=1024)
    trial.add(request("a", text(1, 100), max_tokens=1), request("b", text(2, 10), max_tokens=12))
    trial.run()
    assert trial.cache.pool.evictable_cells < 100 <= trial.cache.pool.host_cells
    trial.add(request("c", [*text(1, 100), 5], max_tokens=2))
    trial.run()
    assert 100 == trial.started["c"].cached_tokens
    trial.check_end()


def test_right_draft_model_saves_steps_and_changes_no_token() -> None:
    plain = Trial(eog_ids=frozenset())
    answer = said(plain, temperature=0.0)
    trial = Trial(eog_ids=frozenset(), draft_eog_ids=frozenset())
    assert answer == said(trial, temperature=0.0)
    assert len(trial.model.batches) < len(plain.model.batches) / 2


def test_prompt_lookup_drafts_are_not_counted_as_predictions() -> None:
    trial = Trial(eog_ids=frozenset())
    bias = {7: 100.0}
    asked = request("a", [7] * 10, max_tokens=30)
    trial.add(msgspec.structs.replace(asked, sampling=msgspec.structs.replace(asked.sampling, logit_bias=bias)))
    trial.run()
    assert [7] * 30 == trial.tokens["a", 0]
    assert len(trial.model.batches) < 20
    assert (0, 0) == (
        trial.finished["a", 0].accepted_prediction_tokens,
        trial.finished["a", 0].rejected_prediction_tokens,
    )


def test_answered_prompt_is_copied_to_host_memory_in_idle_steps() -> None:
    trial = Trial(host_cache_size=64)
    trial.add(request("a", text(1, 12), max_tokens=4))
    trial.run()
    assert [True, False] == [trial.core.idle_step() for _ in range(2)]
    assert 0 < trial.cache.pool.host_cells == trial.cache.pool.cached_cells


def test_request_id_may_be_used_again_after_its_end() -> None:
    trial = Trial(max_num_seqs=1, eog_ids=frozenset())
    for _ in range(2):
        trial.core.add(request("a", text(1, 10), max_tokens=1))
        events = trial.core.step()
        assert ["Started", "TokenEvent", "Finished"] == [type(event).__name__ for event in events]


def test_closing_the_core_releases_the_draft_model() -> None:
    trial = Trial(draft_eog_ids=frozenset())
    trial.core.close()
    assert trial.drafts is not None
    assert (True, True) == (trial.model.closed, trial.drafts.closed)


class LateCompiler(ScriptedCompiler):
    """A compiler that ends, or fails, when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.future: Future[Matcher] = Future()

    def compile(self, grammar: str) -> "Future[Matcher]":
        assert grammar
        return self.future

    def close(self) -> None:
        super().close()
        self.future.cancel()

    def succeed(self) -> None:
        self.future.set_result(ScriptedMatcher(Script(length=4)))


def compiling(n: int = 1) -> tuple[LateCompiler, Trial]:
    """Return a trial with a request ``g`` of ``n`` choices, whose grammar is being compiled."""
    compiler = LateCompiler()
    trial = Trial(eog_ids=frozenset(), compiler=compiler)
    trial.add(request("g", text(1, 10), grammar="g", n=n))
    return compiler, trial


def test_closing_the_core_closes_its_compiler() -> None:
    compiler, trial = compiling()
    trial.core.close()
    assert compiler.future.cancelled()


def test_request_waits_until_its_grammar_is_compiled() -> None:
    compiler, trial = compiling(n=2)
    assert [] == trial.step()
    assert (True, 0, 2) == (trial.core.has_work, trial.core.stats().running, trial.core.stats().waiting)
    compiler.succeed()
    trial.run()
    assert ["stop", "stop"] == [trial.finished["g", index].reason for index in range(2)]
    assert STEP_SECONDS < trial.started["g"].queue_time
    trial.check_end()


def test_another_request_runs_while_a_grammar_is_being_compiled() -> None:
    compiler, trial = compiling()
    trial.add(request("a", text(2, 10), max_tokens=4))
    for _ in range(5):
        trial.step()
    assert "length" == trial.finished["a", 0].reason
    compiler.succeed()
    trial.run()
    trial.check_end()


def test_failed_compilation_ends_each_choice_of_its_request() -> None:
    compiler, trial = compiling(n=2)
    trial.add(request("a", text(2, 10)))
    trial.core.abort("a")
    compiler.future.set_exception(GrammarError("no such rule"))
    events = trial.step()
    message = "the grammar could not be compiled: no such rule"
    ends = [Finished(request_id="g", index=i, reason="grammar", prompt_tokens=10, message=message) for i in range(2)]
    assert [Finished(request_id="a", index=0, reason="abort", prompt_tokens=10), *ends] == events
    assert not trial.core.has_work
    trial.check_end()


def test_request_may_be_aborted_while_its_grammar_is_being_compiled() -> None:
    compiler, trial = compiling(n=3)
    trial.core.abort("g", 1)
    assert [("g", 1, "abort")] == [(e.request_id, e.index, e.reason) for e in trial.step() if isinstance(e, Finished)]
    trial.core.abort("g")
    assert [0, 2] == [event.index for event in trial.step() if isinstance(event, Finished)]
    assert (False, True) == (trial.core.has_work, compiler.future.cancelled())
    trial.check_end()


def test_abort_of_a_compiling_request_keeps_earlier_events() -> None:
    _, trial = compiling()
    trial.add(request("a", text(2, 10)))
    trial.core.abort("a")
    trial.core.abort("g")
    assert ["a", "g"] == [event.request_id for event in trial.step() if isinstance(event, Finished)]


class FailingMatcher(ScriptedMatcher):
    """A matcher that makes masks and accepts no token."""

    def accept(self, token_ids: list[int]) -> None:
        raise GrammarError(f"{token_ids} cannot be followed")

    def copy(self) -> "FailingMatcher":
        return FailingMatcher(self.script)


def test_token_that_the_grammar_forbids_is_not_reported() -> None:
    compiler, trial = compiling()
    compiler.future.set_result(FailingMatcher(Script()))
    trial.run()
    assert ("grammar", []) == (trial.finished["g", 0].reason, trial.tokens["g", 0])


def test_abort_all_ends_choices_without_a_message_by_default() -> None:
    _, trial = compiling()
    assert [("abort", "")] == [(e.reason, e.message) for e in trial.core.abort_all() if isinstance(e, Finished)]


def test_choice_that_was_aborted_during_compilation_does_not_run() -> None:
    compiler, trial = compiling(n=2)
    trial.core.abort("g", 0)
    compiler.succeed()
    trial.run()
    assert ["abort", "stop"] == [trial.finished["g", index].reason for index in range(2)]
    assert [] == trial.tokens["g", 0]


def test_abort_all_ends_compiling_requests_with_its_message() -> None:
    compiler, trial = compiling(n=2)
    trial.add(request("a", text(2, 10)))
    ends = trial.core.abort_all("error", "the engine ends")
    expected = [("g", 0), ("g", 1), ("a", 0)]
    assert expected == [(e.request_id, e.index) for e in ends if isinstance(e, Finished) and e.reason == "error"]
    assert {"the engine ends"} == {e.message for e in ends if isinstance(e, Finished)}
    assert (False, True) == (trial.core.has_work, compiler.future.cancelled())


def test_started_event_comes_before_the_first_token() -> None:
    trial = Trial(eog_ids=frozenset())
    trial.add(request("a", text(1, 10), n=2, max_tokens=2))
    events = [event for _ in range(4) for event in trial.step()]
    assert [0] == [at for at, event in enumerate(events) if isinstance(event, Started)]


def ended(**params: object) -> tuple[list[int], Finished, list[TokenEvent]]:
    """Give the tokens, the end and the events of an answer that could have 40 tokens."""
    trial = Trial()
    asked = request("a", text(1, 5), max_tokens=40)
    trial.add(msgspec.structs.replace(asked, sampling=msgspec.structs.replace(asked.sampling, **params)))
    events = [event for _ in range(60) for event in trial.step()]
    trial.check_end()
    return trial.tokens["a", 0], trial.finished["a", 0], [each for each in events if isinstance(each, TokenEvent)]


def test_ignore_eos_and_min_tokens_let_an_answer_go_on() -> None:
    bias = {"logit_bias": dict.fromkeys(EOG_IDS, 50.0)}
    assert ([], "stop") == (ended(**bias)[0], ended(**bias)[1].reason)
    tokens, end, _ = ended(ignore_eos=True, **bias)
    assert (40, "length") == (len(tokens), end.reason)
    tokens, end, _ = ended(min_tokens=7, **bias)
    assert (7, 8, "stop") == (len(tokens), end.completion_tokens, end.reason)


def test_first_of_the_stop_token_ids_ends_the_answer_and_counts() -> None:
    plain, _, _ = ended(ignore_eos=True)
    stop = plain[12]
    before = plain[: plain.index(stop)]
    tokens, end, events = ended(ignore_eos=True, stop_token_ids=[stop, 299])
    assert (before, len(before) + 1, "stop") == (tokens, end.completion_tokens, end.reason)
    assert not any(event.is_end for event in events)


def test_token_that_ends_the_answer_is_reported_if_the_request_asks_for_it() -> None:
    plain, _, _ = ended(ignore_eos=True)
    stop = plain[12]
    _, _, events = ended(ignore_eos=True, stop_token_ids=[stop], reports_end=True)
    assert ([stop], True) == (events[-1].token_ids, events[-1].is_end)
    assert not any(event.is_end for event in events[:-1])
