from collections.abc import Iterator
from typing import Any, cast

import pytest

from antiphon.engine.interface import GenerateRequest, Started
from antiphon.load_testing import load, workloads
from antiphon.load_testing.load import Answer, LoadError, Target
from antiphon.load_testing.workloads import QUICK, Prompts, overall_rate, replace_words, steady_rate
from tests.load_testing.test_load import PLAIN, Canned, serving
from tests.scripted_engine import Item, Pause, Script, ScriptedEngine, echo, says
from tests.server.conftest import MODEL, _quiet_log, served  # noqa: F401 (a fixture that quiets the server's thread)

pytestmark = pytest.mark.anyio


def endless(request: GenerateRequest) -> Script:
    """Stream a story without an end; echo every other prompt."""
    if not bytes(request.prompt_ids).startswith(b"Write a very long story"):
        return echo(request)

    def story() -> Iterator[Item]:
        yield Started(request_id="", cached_tokens=0)
        while True:
            yield from [Pause(), *says("x")]

    return cast("Script", story())


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine(endless)


@pytest.fixture(scope="module")
def target(engine: ScriptedEngine) -> Iterator[Target]:
    with served(engine) as server:
        yield Target(host="127.0.0.1", port=server.port, model=MODEL)


@pytest.fixture(scope="module")
def echoing() -> Iterator[Target]:
    with served(ScriptedEngine()) as server:
        yield Target(host="127.0.0.1", port=server.port, model=MODEL, fields={"user": "bench"})


def answer(sent: float, arrivals: list[float], tokens: int) -> Answer:
    usage = f'data: {{"choices":[],"usage":{{"completion_tokens":{tokens}}}}}\n\n'
    return Answer(sent, arrivals, arrivals[-1], usage.encode())


def test_overall_rate_counts_from_the_first_request_to_the_last_end() -> None:
    assert 30 / 5 == overall_rate([answer(1, [2, 3, 4], 10), answer(2, [4, 6], 20)])


def test_steady_rate_counts_while_all_streams_decode() -> None:
    first, second = answer(0, [1, 2, 3, 4], 4), answer(0, [2, 3, 4, 5], 4)
    # From 2, when the second has begun, to 4, when the first ends: two pieces of each.
    assert 4 / 2 == steady_rate([first, second])


def test_piece_of_text_counts_for_the_mean_tokens_of_a_piece() -> None:
    assert 3 * 2 / 3 == steady_rate([answer(0, [1, 2, 3, 4], 8)])


def test_streams_one_after_the_other_have_no_steady_rate() -> None:
    assert steady_rate([answer(0, [1, 2, 3], 3), answer(0, [4, 5, 6], 3)]) is None


def test_single_piece_has_no_steady_rate() -> None:
    assert steady_rate([answer(0, [1], 1)]) is None


def test_three_words_of_a_text_are_replaced() -> None:
    words = [f"w{index}" for index in range(40)]
    found = replace_words(" ".join(words)).split(" ")
    assert [10, 20, 30] == [index for index in range(40) if found[index] != words[index]]


@pytest.mark.parametrize("text", ["", "one", "one two"])
def test_replacement_keeps_the_length_of_a_short_text(text: str) -> None:
    assert len(text.split(" ")) == len(replace_words(text).split(" "))


def test_the_same_seed_draws_the_same_words() -> None:
    assert Prompts("a").words(9) == Prompts("a").words(9)
    assert Prompts("a").words(9) != Prompts("b").words(9)


async def test_decode_measures_a_rate(echoing: Target) -> None:
    found = await workloads.decode(echoing, Prompts("a"), 3, 16)
    assert found.overall > 0


async def test_free_text_request_has_the_fields_of_the_target(echoing: Target) -> None:
    assert "bench" == workloads.free_text(echoing, [], 1)["user"]
    assert "me" == workloads.free_text(echoing, [], 1, user="me")["user"]


async def test_shared_prompt_measures_first_and_later_requests(target: Target) -> None:
    cold, crowd = await workloads.shared_prompt(target, Prompts("b"), QUICK)
    assert cold > 0
    assert crowd > 0


async def test_gaps_are_measured_on_one_stream_while_prompts_arrive(target: Target, engine: ScriptedEngine) -> None:
    before = len(engine.requests)
    found = await workloads.gaps(target, Prompts("c"), QUICK)
    assert len(found) >= QUICK.long_prompts
    # The stream, the prompts, and the request that waits until the server is idle.
    assert 1 + QUICK.long_prompts + 1 == len(engine.requests) - before


async def test_gaps_of_a_stream_that_ends_early_are_an_error() -> None:
    async with serving(Canned(PLAIN)) as short:
        with pytest.raises(LoadError, match="ended before"):
            await workloads.gaps(short, Prompts("c"), QUICK)


async def test_each_turn_of_each_conversation_is_one_request(target: Target, engine: ScriptedEngine) -> None:
    before = len(engine.requests)
    assert await workloads.conversations(target, Prompts("e"), QUICK) > 0
    assert QUICK.conversations * QUICK.turns == len(engine.requests) - before


async def test_choices_are_requested_with_n(target: Target, engine: ScriptedEngine) -> None:
    assert await workloads.choices(target, Prompts("f"), QUICK) > 0
    assert QUICK.choices == engine.requests[-1].n


async def test_server_that_ignores_n_is_an_error() -> None:
    async with serving(Canned(PLAIN)) as two:
        with pytest.raises(LoadError, match="n = 3 gave 2"):
            await workloads.choices(two, Prompts("f"), QUICK)


async def test_report_is_compared_with_free_text_at_both_temperatures(
    echoing: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[tuple[bool, float]] = []

    async def ask(target: Target, body: dict[str, Any]) -> Answer:
        requests.append(("response_format" in body, body["temperature"]))
        return await load.ask(target, body)

    monkeypatch.setattr(workloads, "ask", ask)
    reported = await workloads.report(echoing, Prompts("g"))
    assert min(reported.under_schema, reported.free, reported.repetitive) > 0
    assert [(True, 0), (True, 0), (False, 0), (False, 1), (False, 0)] == requests


def test_report_schema_requires_every_property() -> None:
    schema = workloads.report_schema()
    assert schema["required"] == list(schema["properties"])
    form = workloads.response_format(schema)["response_format"]
    assert ("json_schema", True, schema) == (form["type"], form["json_schema"]["strict"], form["json_schema"]["schema"])


async def test_prediction_compares_both_answers(echoing: Target) -> None:
    found = await workloads.prediction(echoing, Prompts("h"), QUICK)
    assert (True, 0) == (found.equal, found.accepted)


async def test_prediction_reports_the_accepted_share() -> None:
    async with serving(Canned(PLAIN)) as canned:
        found = await workloads.prediction(canned, Prompts("h"), QUICK)
    assert (3 / 7, 7) == (found.accepted, found.tokens)
