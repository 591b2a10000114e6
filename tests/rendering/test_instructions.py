"""Every effort and verbosity has an effect or is refused by name."""

from typing import Any

import pytest
from msgspec.structs import replace

from antiphon.chat_formats.chat_format import ReasoningMarkers
from antiphon.errors import InvalidRequestError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.instructions import EFFORT_SENTENCES, Instructions, instructions
from antiphon.templates.capabilities import EFFORTS, Capabilities, Switch
from antiphon.templates.chat_template import CHATML, ChatTemplate

THINK = ReasoningMarkers("<think>", "</think>")
SWITCH = Switch("enable_thinking", on=True, off=False)
PLAIN = ChatTemplate(CHATML, "", "").capabilities


def asked(capabilities: Capabilities = PLAIN, reasoning: ReasoningMarkers | None = None, **fields: Any) -> Instructions:  # noqa: ANN401
    request = CreateChatCompletion(model="m", messages=[UserMessage(content="Hi")], **fields)
    return instructions(request, capabilities, reasoning)


def test_effort_none_asks_for_a_direct_answer_in_the_system_message() -> None:
    assert Instructions(text="Answer directly, without reasoning first.") == asked(reasoning_effort="none")


def test_without_effort_and_verbosity_nothing_is_added() -> None:
    assert Instructions() == asked()
    assert Instructions() == asked(replace(PLAIN, switch=SWITCH), THINK)


@pytest.mark.parametrize("effort", EFFORTS)
def test_model_without_reasoning_gets_a_sentence(effort: str) -> None:
    assert Instructions(text=EFFORT_SENTENCES[effort]) == asked(reasoning_effort=effort)


def test_template_with_an_effort_variable_gets_the_value() -> None:
    capabilities = replace(PLAIN, effort_variable="thinking_effort", efforts={"none": "no_think", "low": "low"})
    assert Instructions(variables={"thinking_effort": "low"}) == asked(capabilities, THINK, reasoning_effort="low")
    assert Instructions(variables={"thinking_effort": "no_think"}) == asked(capabilities, reasoning_effort="none")


def test_effort_that_the_template_refuses_is_an_error() -> None:
    capabilities = replace(PLAIN, effort_variable="reasoning_effort", efforts={"low": "low", "high": "high"})
    with pytest.raises(InvalidRequestError, match=r"'max'.*'low', 'high'") as caught:
        asked(capabilities, reasoning_effort="max")
    assert ("reasoning_effort", "unsupported_value") == (caught.value.param, caught.value.code)


def test_switch_is_off_for_none_and_on_for_other_efforts() -> None:
    capabilities = replace(PLAIN, switch=SWITCH)
    assert Instructions(variables={"enable_thinking": False}) == asked(capabilities, THINK, reasoning_effort="none")
    assert Instructions(variables={"enable_thinking": True}, text=EFFORT_SENTENCES["low"]) == asked(
        capabilities, THINK, reasoning_effort="low"
    )


def test_template_with_switch_and_variable_gets_both() -> None:
    capabilities = replace(PLAIN, switch=SWITCH, effort_variable="reasoning_effort", efforts={"max": "max"})
    assert Instructions(variables={"enable_thinking": True, "reasoning_effort": "max"}) == asked(
        capabilities, reasoning_effort="max"
    )
    assert Instructions(variables={"enable_thinking": False}) == asked(capabilities, reasoning_effort="none")


def test_effort_none_closes_the_reasoning_of_a_model_without_a_switch() -> None:
    assert Instructions(closes_reasoning=True) == asked(PLAIN, THINK, reasoning_effort="none")
    assert Instructions(text=EFFORT_SENTENCES["high"]) == asked(PLAIN, THINK, reasoning_effort="high")


def test_verbosity_is_a_sentence_or_a_variable() -> None:
    assert Instructions(text="Keep the answer short.") == asked(verbosity="low")
    assert Instructions(variables={"verbosity": "high"}) == asked(replace(PLAIN, verbosity=True), verbosity="high")


def test_sentences_of_effort_and_verbosity_are_joined() -> None:
    both = asked(reasoning_effort="low", verbosity="high")
    assert "Reason briefly before you answer. Give a long and detailed answer." == both.text
    closed = asked(PLAIN, THINK, reasoning_effort="none", verbosity="low")
    assert Instructions(text="Keep the answer short.", closes_reasoning=True) == closed


EFFORT = replace(PLAIN, effort_variable="reasoning_effort", efforts={"none": "low", "high": "high"})


@pytest.mark.parametrize(
    ("expected", "capabilities", "reasoning", "on"),
    [
        (Instructions(variables={"enable_thinking": True}), replace(PLAIN, switch=SWITCH), THINK, True),
        (Instructions(variables={"enable_thinking": False}), replace(PLAIN, switch=SWITCH), THINK, False),
        (Instructions(), PLAIN, THINK, True),
        (Instructions(closes_reasoning=True), PLAIN, THINK, False),
        (Instructions(), PLAIN, None, False),
        (Instructions(), EFFORT, None, True),
        (Instructions(variables={"reasoning_effort": "low"}), EFFORT, None, False),
    ],
)
def test_switch_of_reasoning_adds_no_sentence(
    expected: Instructions,
    capabilities: Capabilities,
    reasoning: ReasoningMarkers | None,
    on: bool,  # noqa: FBT001 (a table's column)
) -> None:
    assert expected == asked(capabilities, reasoning, enable_thinking=on)


def test_reasoning_of_a_model_that_does_not_reason_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asked(thinking=True)
    assert ("thinking", "invalid_value") == (caught.value.param, caught.value.code)
