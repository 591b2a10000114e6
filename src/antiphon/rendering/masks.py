"""Masks: functions that are applied to texts before a chat template gets them."""

from collections.abc import Callable
from typing import Any

Mask = Callable[[str], str]
"""A function that is applied to every text of the user before the template gets it."""


def masked(value: Any, mask: Mask) -> Any:  # noqa: ANN401 (JSON)
    """Return the JSON value with ``mask`` applied to every string, also to keys."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(key): masked(member, mask) for key, member in value.items()}
    if isinstance(value, list):
        return [masked(member, mask) for member in value]
    return value
