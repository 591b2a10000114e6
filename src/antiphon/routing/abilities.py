"""Compares the fields that a request sets with the fields that a backend honours."""

from functools import lru_cache
from typing import Any, Final

from antiphon.protocol.refusals import outermost_refused
from antiphon.protocol.requests import CreateChatCompletion

ALL_FIELDS: Final = frozenset(CreateChatCompletion.__struct_fields__)
HONOURED_BY_SERVICE: Final = frozenset(
    {"best_of", "messages", "model", "metadata", "safety_identifier", "store", "stream", "stream_options", "user"}
)
"""Fields that the service honours for every backend."""
NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    **{field.path: field.idle for field in outermost_refused() if field.idle},
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "dry_multiplier": (0,),
    "frequency_penalty": (0,),
    "ignore_eos": (False,),
    "logprobs": (False,),
    "max_completion_tokens": (-1,),
    "max_tokens": (-1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "mirostat": (0,),
    "n": (1,),
    "n_predict": (-1,),
    "priority": (0,),
    "presence_penalty": (0,),
    "repeat_penalty": (1,),
    "repetition_penalty": (1,),
    "seed": (-1,),
    "service_tier": ("auto", "default"),
    "temperature": (1,),
    "top_k": (0, -1),
    "top_p": (1,),
    "typical_p": (1,),
    "xtc_probability": (0,),
    "verbosity": ("medium",),
}
"""Values that mean the same as no value: every backend honours them."""


def missing_ability(request: CreateChatCompletion, abilities: frozenset[str]) -> str | None:
    """Return the first field of the request that ``abilities`` lack, or None."""
    for field in _missing_fields(abilities):
        value = getattr(request, field)
        if value is not None and value not in NEUTRAL.get(field, ()):
            return field
    return None


@lru_cache
def _missing_fields(abilities: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(ALL_FIELDS - HONOURED_BY_SERVICE - abilities))
