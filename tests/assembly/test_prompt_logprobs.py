from antiphon.assembly.choice import AssemblyOptions
from antiphon.assembly.prompt_logprobs import PromptEntries
from antiphon.assembly.token_logprobs import TokenTexts
from antiphon.engine.interface import PromptLogprobs, PromptTokenLogprobs
from antiphon.protocol.responses import PromptLogprob, PromptLogprobsEntry
from tests.assembly.answers import CONTROL, Pieces, answer, finished, tokens

OPTIONS = AssemblyOptions(prompt_logprobs=True)
PIECES: list[bytes | str] = [b"a", b"b", CONTROL, b"\xff"]


def score(token_id: int, rank: int, *top: int) -> PromptTokenLogprobs:
    return PromptTokenLogprobs(token_id, -0.5 * rank, rank, list(top), [-0.5 * at for at in range(1, len(top) + 1)])


def event(start: int, *scores: PromptTokenLogprobs | None) -> PromptLogprobs:
    return PromptLogprobs(request_id="r", start=start, tokens=list(scores))


def entries(*events: PromptLogprobs) -> list[PromptLogprobsEntry]:
    target = PromptEntries(TokenTexts(Pieces(PIECES)))
    return [entry for each in events for entry in target.add(each)]


def test_entry_has_the_tokens_by_their_ids_the_prompts_own_first() -> None:
    [_, entry] = entries(event(1, score(1, 3, 0, 2)))
    expected = {
        "1": PromptLogprob(-1.5, 3, "b"),
        "0": PromptLogprob(-0.5, 1, "a"),
        "2": PromptLogprob(-1.0, 2, "<|end|>"),
    }
    assert entry is not None
    assert list(expected.items()) == list(entry.items())


def test_likely_token_of_the_prompt_has_one_member() -> None:
    [_, entry] = entries(event(1, score(1, 2, 0, 1)))
    assert {"1": PromptLogprob(-1.0, 2, "b"), "0": PromptLogprob(-0.5, 1, "a")} == entry


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert {"3": PromptLogprob(-0.5, 1, "\ufffd")} == entries(event(1, score(3, 1)))[1]


def test_positions_without_an_entry_are_null() -> None:
    found = entries(event(1, score(0, 1), None), event(5, score(1, 1)))
    assert [False, True, False, False, False, True] == [entry is not None for entry in found]


def test_completion_has_one_entry_for_each_position_of_the_prompt() -> None:
    events = event(1, score(1, 1, 1)), event(2, score(0, 2, 1)), tokens(0), finished()
    body = answer(PIECES, OPTIONS, *events)
    one, two = {"1": PromptLogprob(-0.5, 1, "b")}, {"0": PromptLogprob(-1.0, 2, "a"), "1": PromptLogprob(-0.5, 1, "b")}
    assert [None, one, two, None, None, None, None] == body.prompt_logprobs
    assert "a" == body.choices[0].message.content


def test_prompt_of_one_token_has_null_alone() -> None:
    assert [None] * 7 == answer(PIECES, OPTIONS, tokens(0), finished()).prompt_logprobs
