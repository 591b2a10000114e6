"""The extensions of other local servers about prompts, reasoning and the form of the content.

docs/fields.md names the origin of each. An attribute is None if its field is absent or null.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_CACHE_SALT, MAX_CHOICE, MAX_CHOICES
from antiphon.protocol.decoding_extensions import DecodingExtensions
from antiphon.protocol.reasoning_fields import Budget, ReasoningOptions, ThinkingOptions
from antiphon.protocol.tools import JSONObject

CacheSalt = Annotated[str, Meta(min_length=1, max_length=MAX_CACHE_SALT)]
ChoiceText = Annotated[str, Meta(min_length=1, max_length=MAX_CHOICE)]
Choices = Annotated[list[ChoiceText], Meta(min_length=1, max_length=MAX_CHOICES)]
Priority = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
FORM_FIELDS: Final = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
)
"""The fields that constrain the content; a request has at most one of them."""


class StructuredOutputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The form of the content, one of these. An extension of vLLM."""

    json: JSONObject | str | None = None
    """A JSON Schema, or its text."""
    json_object: bool | None = None
    """Any JSON object."""
    regex: str | None = None
    choice: Choices | None = None
    """The texts that the content may be."""
    grammar: str | None = None
    """Lark with a rule ``start``, else GBNF."""


class RenderingExtensions(DecodingExtensions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of vLLM, llama.cpp and other services about prompts, reasoning and the form of the content."""

    add_generation_prompt: bool | None = None
    """Whether the prompt opens a turn of the assistant; true unless ``continue_final_message`` is."""
    continue_final_message: bool | None = None
    """Whether the answer continues the last message, which is the assistant's."""

    enable_thinking: bool | None = None
    """Whether the model reasons."""
    thinking: bool | ThinkingOptions | None = None
    """Whether the model reasons, and the bound of it."""
    reasoning: ReasoningOptions | None = None
    """The effort or the bound of reasoning."""
    thinking_budget: Budget | None = None
    """The tokens of reasoning after which it is closed; -1 means no bound."""

    structured_outputs: StructuredOutputs | None = None
    """The form of the content."""
    guided_json: JSONObject | str | None = None
    """The older form of ``structured_outputs.json``."""
    guided_regex: str | None = None
    """The older form of ``structured_outputs.regex``."""
    guided_choice: Choices | None = None
    """The older form of ``structured_outputs.choice``."""
    guided_grammar: str | None = None
    """The older form of ``structured_outputs.grammar``."""
    grammar: str | None = None
    """A grammar of the content in GBNF, llama.cpp's notation."""

    cache_salt: CacheSalt | None = None
    """Requests share cached prefixes only if they have the same salt."""
    priority: Priority | None = None
    """A lower one is served earlier."""


def check_forms(request: RenderingExtensions, *, has_format: bool) -> None:
    """Refuse two forms of the content: the answer cannot have both.

    ``has_format``: whether ``response_format`` constrains the content.
    """
    asked = ["response_format"] if has_format else []
    asked += [name for name in FORM_FIELDS[1:] if getattr(request, name) is not None]
    if len(asked) > 1:
        raise validation.invalid_value(asked[1], f"it contradicts '{asked[0]}': both constrain the content.")
    outputs = request.structured_outputs
    if outputs is None:
        return
    members = [name for name in outputs.__struct_fields__ if getattr(outputs, name) not in (None, False)]
    if len(members) != 1:
        reason = "it needs one of 'json', 'json_object', 'regex', 'choice', and 'grammar', and no other."
        raise validation.invalid_value("structured_outputs", reason)
