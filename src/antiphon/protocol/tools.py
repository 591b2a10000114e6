"""Tools, the tool choice and the response format of a request.

Reference: ``tools``, ``tool_choice``, ``functions``, ``function_call`` and ``response_format``. An optional attribute
is ``None`` if its field is absent or null.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from antiphon.protocol.bounds import MAX_TOOLS

FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$(?!\n)")]
"""A name by the reference's rule. Python's ``$`` alone would accept a final newline."""

JSONObject = dict[str, Any]


class FunctionDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function; ``parameters`` is a JSON Schema, None for a function without arguments."""

    name: FunctionName
    description: str | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None


class LegacyFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of ``functions``; deprecated, replaced by ``tools``."""

    name: FunctionName
    description: str | None = None
    parameters: JSONObject | None = None


class FunctionTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function"):
    """A function that the model may call with JSON arguments."""

    function: FunctionDefinition


class TextFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """The input format of free text."""


class Grammar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grammar of a custom tool's input."""

    definition: str
    syntax: Literal["lark", "regex"]


class GrammarFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="grammar"):
    """The input format of text in a grammar."""

    grammar: Grammar


class CustomToolDefinition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A custom tool; without ``format`` its input is free text."""

    name: FunctionName
    description: str | None = None
    format: TextFormat | GrammarFormat | None = None


class CustomTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custom"):
    """A tool whose input is text."""

    custom: CustomToolDefinition


Tool = FunctionTool | CustomTool


class NamedTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool by name."""

    name: FunctionName


class AllowedTools(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The subset of ``tools`` that the model may call; each entry has the form of a tool choice."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[JSONObject], Meta(min_length=1, max_length=MAX_TOOLS)]


class AllowedToolChoice(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="allowed_tools"
):
    """Allows only some of the tools."""

    allowed_tools: AllowedTools


class FunctionToolChoice(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="function"
):
    """Forces a call of one function."""

    function: NamedTool


class CustomToolChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custom"):
    """Forces a call of one custom tool."""

    custom: NamedTool


ToolChoice = Literal["none", "auto", "required"] | AllowedToolChoice | FunctionToolChoice | CustomToolChoice
FunctionCallOption = Literal["none", "auto"] | NamedTool


class ResponseFormatText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Free text, the default."""


class ResponseFormatJSONObject(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="json_object"
):
    """Any JSON object, or one that is valid against a schema."""

    schema: JSONObject | None = None
    """Extension of llama.cpp's server."""


class JSONSchemaFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named JSON Schema."""

    name: FunctionName
    description: str | None = None
    schema: JSONObject | None = None
    strict: bool | None = None


class ResponseFormatJSONSchema(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="json_schema"
):
    """JSON that is valid against a schema."""

    json_schema: JSONSchemaFormat


ResponseFormat = ResponseFormatText | ResponseFormatJSONObject | ResponseFormatJSONSchema
