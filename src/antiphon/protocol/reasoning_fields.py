"""The fields by which other services turn reasoning on and off and bound it, beside ``reasoning_effort``.

Extensions: ``enable_thinking`` and ``thinking_budget`` (Qwen's service and templates), ``thinking`` (the services of
DeepSeek, GLM and Anthropic), ``reasoning`` (OpenRouter). A field that contradicts an earlier one is refused by name.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from antiphon.protocol import validation

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
"""Tokens of reasoning; -1 means no bound."""


class ThinkingOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reasoning on or off, and its bound."""

    type: Literal["enabled", "disabled"]
    budget_tokens: Budget | None = None


class ReasoningOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reasoning by effort, by a bound, or by a switch."""

    effort: ReasoningEffort | None = None
    max_tokens: Budget | None = None
    enabled: bool | None = None


class Reasoning(Struct, frozen=True, kw_only=True):
    """The reasoning that a request asks for, by all its fields together."""

    effort: ReasoningEffort | None = None
    on: bool | None = None
    """None leaves it to the model."""
    on_field: str = ""
    """The field that decides ``on``."""
    budget: int | None = None
    """Tokens of reasoning at most."""
    budget_field: str = ""


def reasoning_of(
    effort: ReasoningEffort | None,
    reasoning: ReasoningOptions | None,
    thinking: bool | ThinkingOptions | None,  # noqa: FBT001 (a field of the request)
    enable_thinking: bool | None,  # noqa: FBT001
    thinking_budget: int | None,
) -> Reasoning:
    """Return what the fields ask for together. Raises InvalidRequestError for a field that contradicts another."""
    options = reasoning or ReasoningOptions()
    details = thinking if isinstance(thinking, ThinkingOptions) else None
    switch = details.type == "enabled" if details is not None else thinking
    chosen, _ = _agreed({"reasoning_effort": effort, "reasoning.effort": options.effort})
    on, on_field = _agreed(
        {
            "reasoning_effort": None if effort is None else effort != "none",
            "reasoning.effort": None if options.effort is None else options.effort != "none",
            "reasoning.enabled": options.enabled,
            "thinking": switch,
            "enable_thinking": enable_thinking,
        }
    )
    budget, budget_field = _agreed(
        {
            "reasoning.max_tokens": options.max_tokens,
            "thinking.budget_tokens": None if details is None else details.budget_tokens,
            "thinking_budget": thinking_budget,
        }
    )
    if budget is None or budget < 0:
        return Reasoning(effort=chosen, on=on, on_field=on_field)
    if on is False:
        raise validation.invalid_value(budget_field, f"it contradicts '{on_field}', which turns reasoning off.")
    return Reasoning(effort=chosen, on=on, on_field=on_field, budget=budget, budget_field=budget_field)


def _agreed(values: dict[str, Any]) -> tuple[Any, str]:
    """Return the value of all fields that have one, and the first such field. Raises if two differ."""
    given = [(name, value) for name, value in values.items() if value is not None]
    if not given:
        return None, ""
    first, value = given[0]
    for name, other in given[1:]:
        if other != value:
            raise validation.invalid_value(name, f"it contradicts '{first}'.")
    return value, first
