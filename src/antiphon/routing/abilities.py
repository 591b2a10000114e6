"""Whether a backend honours every field that a request sets."""

from typing import Any, Final

from antiphon.protocol.requests import CreateChatCompletion

ALL_FIELDS: Final = frozenset(CreateChatCompletion.__struct_fields__)
HONOURED_ABOVE: Final = frozenset(
    {"messages", "model", "metadata", "safety_identifier", "store", "stream", "stream_options", "user"}
)
"""The service honours these, whichever backend answers."""
NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "min_p": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "service_tier": ("auto", "default"),
    "temperature": (1,),
    "top_k": (0, -1),
    "top_p": (1,),
    "verbosity": ("medium",),
}
"""Values of a field that say no more than its absence: every backend honours them."""


def missing_ability(request: CreateChatCompletion, abilities: frozenset[str]) -> str | None:
    """Return the first field of the request that ``abilities`` lack, or None."""
    for field in sorted(ALL_FIELDS - HONOURED_ABOVE - abilities):
        value = getattr(request, field)
        if value is not None and value not in NEUTRAL.get(field, ()):
            return field
    return None
