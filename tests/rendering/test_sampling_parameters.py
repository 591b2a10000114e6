"""The parameters of sampling that a request asks for, within the room that its prompt leaves."""

from typing import Any

import pytest

from antiphon.engine.interface import SamplingParams
from antiphon.errors import InvalidRequestError
from antiphon.rendering import sampling_parameters
from antiphon.rendering.sampling_parameters import sampling_params
from tests.protocol.bodies import accepted
from tests.rendering.byte_vocabulary import ByteVocabulary

LEFT = 100
VOCABULARY = ByteVocabulary()
N_VOCAB = VOCABULARY.n_vocab


def params(**fields: Any) -> SamplingParams:  # noqa: ANN401 (JSON)
    return sampling_params(accepted(**fields), left=LEFT, vocabulary=VOCABULARY, top_logprobs=None)


def refusal(**fields: Any) -> tuple[str | None, str | None]:  # noqa: ANN401 (JSON)
    with pytest.raises(InvalidRequestError) as caught:
        params(**fields)
    return caught.value.param, caught.value.code


def test_request_without_parameters_has_the_defaults_and_the_whole_room() -> None:
    assert SamplingParams(max_tokens=LEFT) == params()


@pytest.mark.parametrize("name", ["max_completion_tokens", "max_tokens", "n_predict"])
@pytest.mark.parametrize(("expected", "limit"), [(7, 7), (LEFT, LEFT + 1), (LEFT, 10**9), (LEFT, -1)])
def test_each_limit_of_the_answer_is_capped_to_the_room(expected: int, limit: int, name: str) -> None:
    assert expected == params(**{name: limit}).max_tokens


def test_many_choices_of_many_tokens_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling_parameters, "MAX_ANSWER_TOKENS", 20)
    assert 10 == params(n=2, max_completion_tokens=10).max_tokens
    assert ("n", "invalid_value") == refusal(n=2, max_completion_tokens=11)


@pytest.mark.parametrize(("expected", "top_k"), [(0, -1), (0, 0), (7, 7)])
def test_top_k_of_minus_one_is_off(expected: int, top_k: int) -> None:
    assert expected == params(top_k=top_k).top_k


def test_logit_bias_of_an_unknown_token_is_refused() -> None:
    assert {N_VOCAB - 1: 1.0} == params(logit_bias={str(N_VOCAB - 1): 1}).logit_bias
    assert ("logit_bias", "invalid_value") == refusal(logit_bias={str(N_VOCAB): 1})


def test_error_names_every_unknown_token() -> None:
    unknown = (N_VOCAB, N_VOCAB + 1)
    with pytest.raises(InvalidRequestError, match=f"{unknown[0]}.*{unknown[1]}"):
        params(logit_bias={str(token): 1 for token in unknown})
    with pytest.raises(InvalidRequestError, match=r"stop_token_ids\[0\].*stop_token_ids\[1\]"):
        params(stop_token_ids=list(unknown))


@pytest.mark.parametrize(("expected", "seed"), [(None, None), (None, -1), (0, 0), (-2, -2)])
def test_seed_of_minus_one_is_random(expected: int | None, seed: int | None) -> None:
    assert expected == params(seed=seed).seed


@pytest.mark.parametrize(("expected", "min_tokens"), [(0, 0), (5, 5), (LEFT, LEFT + 1)])
def test_min_tokens_is_capped_to_the_room(expected: int, min_tokens: int) -> None:
    assert expected == params(min_tokens=min_tokens).min_tokens


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_ignore_eos_is_passed_on(ignore_eos: bool) -> None:  # noqa: FBT001 (a table's column)
    assert ignore_eos is params(ignore_eos=ignore_eos).ignore_eos


def test_stop_token_ids_are_those_of_the_vocabulary() -> None:
    assert [3, N_VOCAB - 1] == params(stop_token_ids=[3, N_VOCAB - 1]).stop_token_ids
    assert ("stop_token_ids[1]", "invalid_value") == refusal(stop_token_ids=[3, N_VOCAB])


@pytest.mark.parametrize("includes_stop", [False, True])
def test_end_is_reported_where_it_is_part_of_the_content(includes_stop: bool) -> None:  # noqa: FBT001
    assert includes_stop is params(include_stop_str_in_output=includes_stop).reports_end


def test_samplers_of_other_servers_have_the_parameters_of_the_request() -> None:
    asked: dict[str, Any] = {
        "typical_p": 0.9,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "mirostat": 2,
        "mirostat_tau": 3.0,
        "mirostat_eta": 0.3,
        "dry_multiplier": 0.8,
        "dry_base": 2.0,
        "dry_allowed_length": 0,
        "dry_penalty_last_n": 0,
    }
    breakers: dict[str, Any] = {"dry_breaker_ids": [ord("x")], "dry_breaker_sequences": [[*b"ab"]]}
    expected = SamplingParams(max_tokens=LEFT, **asked, **breakers)
    assert expected == params(**asked, dry_sequence_breakers=["x", "ab"])


def test_breakers_are_looked_up_for_dry_only() -> None:
    assert [] == params(dry_sequence_breakers=["x"]).dry_breaker_ids


def test_end_is_reported_for_return_token_ids() -> None:
    """The field return_token_ids: the token that ended the answer is one of its tokens."""
    assert params(return_token_ids=True).reports_end


@pytest.mark.parametrize(
    ("expected", "asked"),
    [
        ((1.0, -1), {}),
        ((1.1, -1), {"repetition_penalty": 1.1}),
        ((1.1, 64), {"repeat_penalty": 1.1}),
        ((1.1, -1), {"repeat_penalty": 1.1, "repetition_penalty": 1.1}),
        ((1.1, 0), {"repeat_penalty": 1.1, "repeat_last_n": 0}),
        ((1.1, 9), {"repetition_penalty": 1.1, "repeat_last_n": 9}),
    ],
)
def test_repetition_penalty_has_two_names_and_a_number_of_tokens(
    expected: tuple[float, int], asked: dict[str, Any]
) -> None:
    result = params(**asked)
    assert expected == (result.repetition_penalty, result.repetition_last_n)
