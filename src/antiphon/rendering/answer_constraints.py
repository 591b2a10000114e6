"""Compiles and checks the constraints of a request on its answer: schemas, tools and custom grammars.

Reference: ``response_format``, ``tools``. Errors name the schema's path in the request.
"""

import json
from typing import Any, Final

from msgspec import Struct

from antiphon.chat_formats.chat_format import HERMES, ToolNotation
from antiphon.constraints.answer_grammar import CallConstraints
from antiphon.constraints.custom_tools import callable_custom
from antiphon.constraints.json_schema import compile_schema
from antiphon.constraints.tool_parameters import CallableFunction
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.tools import ResponseFormat, ResponseFormatJSONSchema, ResponseFormatText
from antiphon.rendering.tool_use import DeclaredFunction, ToolUse, tool_use

_INVALID_PARAMETERS: Final = "invalid_function_parameters"


class AnswerConstraints(Struct, frozen=True, kw_only=True):
    """The constraints on an answer that do not depend on the prompt."""

    use: ToolUse | None
    calls: CallConstraints | None
    schema: str | None
    """The compiled JSON Schema of the content."""
    notation: ToolNotation

    @property
    def param(self) -> str:
        """The request field that an error of the whole grammar names."""
        return "response_format" if self.calls is None else "functions" if self.use and self.use.legacy else "tools"


def answer_constraints(request: CreateChatCompletion, notation: ToolNotation) -> AnswerConstraints:
    """Return the constraints of a request, with calls in the family's notation.

    Calls of a ``leading_only`` notation begin like JSON content. With a JSON Schema for the content, the generic
    notation replaces such a notation. Raises ``InvalidRequestError``.
    """
    use = tool_use(request)
    schema = _content_schema(request.response_format)
    if use is None:
        return AnswerConstraints(use=None, calls=None, schema=schema, notation=notation)
    functions = [_function(tool) for tool in use.functions]
    customs = [callable_custom(tool.definition, tool.path) for tool in use.customs]
    calls = CallConstraints(
        mode=use.mode,
        parallel=use.parallel,
        functions=[function for function in functions if function.name in use.allowed],
        customs=[custom for custom in customs if custom.name in use.allowed],
    )
    if notation.leading_only and schema is not None and use.mode == "auto":
        notation = HERMES
    return AnswerConstraints(use=use, calls=calls, schema=schema, notation=notation)


def _content_schema(response_format: ResponseFormat | None) -> str | None:
    if response_format is None or isinstance(response_format, ResponseFormatText):
        return None
    if not isinstance(response_format, ResponseFormatJSONSchema) or response_format.json_schema.schema is None:
        return compile_schema({"type": "object"}, strict=False, param="response_format")
    asked = response_format.json_schema
    return compile_schema(
        asked.schema or {},
        strict=asked.strict is True,
        param="response_format.json_schema.schema",
        subject=f"response_format '{asked.name}'",
    )


def _function(tool: DeclaredFunction) -> CallableFunction:
    """Return a function with its compiled parameters; the reference requires a schema of type ``object``."""
    definition, param = tool.definition, f"{tool.path}.parameters"
    compiled = None
    if definition.parameters is not None:
        _require_object(definition.parameters, definition.name, param)
        compiled = compile_schema(
            {"type": "object", **definition.parameters},
            strict=definition.strict is True,
            param=param,
            subject=f"function '{definition.name}'",
            code=_INVALID_PARAMETERS,
        )
    return CallableFunction(name=definition.name, schema=compiled, parameters=definition.parameters or {}, param=param)


def _require_object(parameters: dict[str, Any], name: str, param: str) -> None:
    declared = parameters.get("type", "object")
    if declared != "object":
        raise InvalidRequestError(
            f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', "
            f"got 'type: {validation.shorten(json.dumps(declared))}'.",
            param=param,
            code=_INVALID_PARAMETERS,
        )
