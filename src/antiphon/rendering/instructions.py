"""Passes ``reasoning_effort`` and ``verbosity`` to the model, by variables of the template or by a sentence.

- A template with a variable for the effort gets the value. A value that the template refuses is an error.
- A template with only a switch for reasoning gets off for ``none``, and on with a sentence for every other value.
- A model that reasons without a switch gets a sentence. For ``none`` the prompt ends with an empty reasoning block.
- A model that does not reason gets a sentence.

``enable_thinking``, ``thinking`` and ``reasoning.enabled`` set the switch alone, without a sentence.

Sentences are added to the system message, so every value has an effect but the verbosity ``medium``, which is the
default. chat_template_kwargs override both fields.
"""

from typing import Any, Final

from msgspec import Struct

from antiphon.chat_formats.chat_format import ReasoningMarkers
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.reasoning_fields import Reasoning
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.templates.capabilities import Capabilities

EFFORT_SENTENCES: Final = {
    "none": "Answer directly, without reasoning first.",
    "minimal": "Reason as little as possible before you answer.",
    "low": "Reason briefly before you answer.",
    "medium": "Reason as much as the task needs before you answer.",
    "high": "Reason thoroughly, step by step, before you answer.",
    "xhigh": "Reason very thoroughly, step by step, and check the result before you answer.",
    "max": "Reason as thoroughly as you can, step by step, and check every step before you answer.",
}
VERBOSITY_SENTENCES: Final = {
    "low": "Keep the answer short.",
    "high": "Give a long and detailed answer.",
}


class Instructions(Struct, frozen=True, kw_only=True):
    """The additions to a prompt for effort and verbosity."""

    variables: dict[str, Any] = {}
    """Variables of the template."""
    text: str = ""
    """Text for the system message."""
    closes_reasoning: bool = False
    """Whether the prompt ends with a closed reasoning block, which may be empty."""


def instructions(
    request: CreateChatCompletion, capabilities: Capabilities, reasoning: ReasoningMarkers | None
) -> Instructions:
    """Return the variables and the text for the request's effort and verbosity.

    Raises ``InvalidRequestError`` with param ``reasoning_effort`` for a value that the template refuses.
    """
    asked = request.reasoning_asked
    if asked.effort is None:
        effort = _switched(asked, capabilities, reasoning)
    else:
        effort = _effort(asked.effort, capabilities, reasoning)
    if request.verbosity is None or request.verbosity == "medium":
        return effort
    if capabilities.verbosity:
        variables = {**effort.variables, "verbosity": request.verbosity}
        return Instructions(variables=variables, text=effort.text, closes_reasoning=effort.closes_reasoning)
    text = " ".join(filter(None, [effort.text, VERBOSITY_SENTENCES[request.verbosity]]))
    return Instructions(variables=effort.variables, text=text, closes_reasoning=effort.closes_reasoning)


def _switched(asked: Reasoning, capabilities: Capabilities, reasoning: ReasoningMarkers | None) -> Instructions:
    """Turn reasoning on or off without a sentence; a model that does not reason is off."""
    switch = capabilities.switch
    if asked.on is None:
        return Instructions()
    if switch is not None:
        return Instructions(variables={switch.variable: switch.on if asked.on else switch.off})
    reasons = reasoning is not None or capabilities.effort_variable is not None
    if asked.on == reasons:
        return Instructions()
    if asked.on:
        raise validation.invalid_value(asked.on_field, "this model does not reason.")
    return _effort("none", capabilities, reasoning)


def _effort(effort: str, capabilities: Capabilities, reasoning: ReasoningMarkers | None) -> Instructions:
    switch = capabilities.switch
    if effort == "none" and switch is not None:
        return Instructions(variables={switch.variable: switch.off})
    variables: dict[str, Any] = {} if switch is None else {switch.variable: switch.on}
    if capabilities.effort_variable is not None:
        return Instructions(
            variables={**variables, capabilities.effort_variable: _template_effort(effort, capabilities)}
        )
    if effort == "none" and reasoning is not None:
        return Instructions(closes_reasoning=True)
    return Instructions(variables=variables, text=EFFORT_SENTENCES[effort])


def _template_effort(effort: str, capabilities: Capabilities) -> str:
    if effort in capabilities.efforts:
        return capabilities.efforts[effort]
    supported = ", ".join(f"'{value}'" for value in capabilities.efforts)
    raise InvalidRequestError(
        f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. "
        f"Supported values are: {supported}.",
        param="reasoning_effort",
        code="unsupported_value",
    )
