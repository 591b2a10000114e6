from typing import Any

import pytest

from antiphon.protocol.reasoning_fields import Reasoning
from tests.protocol.bodies import accepted, error, place


def asked(**fields: Any) -> Reasoning:  # noqa: ANN401 (JSON)
    return accepted(**fields).reasoning_asked


@pytest.mark.parametrize(
    ("on", "field", "fields"),
    [
        (None, "", {}),
        (True, "enable_thinking", {"enable_thinking": True}),
        (False, "thinking", {"thinking": False}),
        (True, "thinking", {"thinking": {"type": "enabled"}}),
        (False, "thinking", {"thinking": {"type": "disabled"}, "enable_thinking": False}),
        (False, "reasoning.enabled", {"reasoning": {"enabled": False}}),
        (False, "reasoning_effort", {"reasoning_effort": "none", "enable_thinking": False}),
        (True, "reasoning.effort", {"reasoning": {"effort": "low"}, "thinking": True}),
    ],
)
def test_fields_that_agree_turn_reasoning_on_or_off(on: bool | None, field: str, fields: dict[str, Any]) -> None:  # noqa: FBT001
    assert (on, field) == (asked(**fields).on, asked(**fields).on_field)


def test_effort_of_reasoning_is_reasoning_effort() -> None:
    assert "low" == asked(reasoning={"effort": "low"}).effort == asked(reasoning_effort="low").effort


@pytest.mark.parametrize(
    ("budget", "field", "fields"),
    [
        (7, "thinking_budget", {"thinking_budget": 7}),
        (0, "thinking_budget", {"thinking_budget": 0}),
        (None, "", {"thinking_budget": -1}),
        (7, "thinking.budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 7}, "thinking_budget": 7}),
        (7, "reasoning.max_tokens", {"reasoning": {"max_tokens": 7}}),
    ],
)
def test_budget_comes_from_any_of_its_fields(budget: int | None, field: str, fields: dict[str, Any]) -> None:
    assert (budget, field) == (asked(**fields).budget, asked(**fields).budget_field)


@pytest.mark.parametrize(
    ("name", "other", "fields"),
    [
        ("enable_thinking", "reasoning_effort", {"reasoning_effort": "none", "enable_thinking": True}),
        ("enable_thinking", "thinking", {"thinking": {"type": "enabled"}, "enable_thinking": False}),
        ("reasoning.effort", "reasoning_effort", {"reasoning_effort": "low", "reasoning": {"effort": "high"}}),
        ("reasoning.enabled", "reasoning.effort", {"reasoning": {"effort": "high", "enabled": False}}),
        ("thinking_budget", "reasoning.max_tokens", {"reasoning": {"max_tokens": 1}, "thinking_budget": 2}),
    ],
)
def test_fields_that_contradict_each_other_are_refused_by_name(name: str, other: str, fields: dict[str, Any]) -> None:
    assert (f"Invalid value for '{name}': it contradicts '{other}'.", name, "invalid_value") == error(**fields)


def test_budget_of_reasoning_that_is_off_is_refused() -> None:
    message = "Invalid value for 'thinking_budget': it contradicts 'enable_thinking', which turns reasoning off."
    assert (message, "thinking_budget", "invalid_value") == error(enable_thinking=False, thinking_budget=5)


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("thinking", {"thinking": "yes"}),
        ("thinking.type", {"thinking": {}}),
        ("thinking.budget", {"thinking": {"type": "enabled", "budget": 1}}),
        ("reasoning.effort", {"reasoning": {"effort": "huge"}}),
        ("reasoning.exclude", {"reasoning": {"exclude": True}}),
        ("thinking_budget", {"thinking_budget": -2}),
    ],
)
def test_malformed_fields_are_refused_by_their_path(expected: str, fields: dict[str, Any]) -> None:
    assert expected == place(**fields)[0]
