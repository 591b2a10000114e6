"""Compiles and checks the constraints of a request on its answer: schemas, tools and custom grammars.

Reference: ``response_format``, ``tools``. Errors name the schema's path in the request.
"""

import json
from functools import partial
from typing import Any, Final

from msgspec import Struct

from antiphon.chat_formats.chat_format import HERMES, ToolNotation
from antiphon.constraints.answer_grammar import CallConstraints
from antiphon.constraints.custom_tools import callable_custom
from antiphon.constraints.json_schema import compile_schema, enforce_schema
from antiphon.constraints.tool_parameters import CallableFunction
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.combined_errors import all_results
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.tools import (
    FunctionDefinition,
    Grammar,
    JSONSchemaFormat,
    ResponseFormat,
    ResponseFormatJSONObject,
    ResponseFormatJSONSchema,
    ResponseFormatText,
)
from antiphon.rendering.content_constraint import content_constraint
from antiphon.rendering.renderer_settings import StrictSchemas
from antiphon.rendering.tool_use import DeclaredFunction, ToolUse, tool_use
from antiphon.rendering.unenforced import NOTHING, Unenforced, request_path

_INVALID_PARAMETERS: Final = "invalid_function_parameters"


class AnswerConstraints(Struct, frozen=True, kw_only=True):
    """The constraints on an answer that do not depend on the prompt."""

    use: ToolUse | None
    calls: CallConstraints | None
    schema: str | None
    """The compiled JSON Schema of the content."""
    grammar: Grammar | None
    """The grammar of the content, in place of a JSON Schema."""
    form_param: str
    """The request field of the content's schema or grammar."""
    notation: ToolNotation
    unenforced: Unenforced = NOTHING

    @property
    def param(self) -> str:
        """The request field that an error of the whole grammar names."""
        return self.form_param if self.calls is None else "functions" if self.use and self.use.legacy else "tools"


def answer_constraints(
    request: CreateChatCompletion, notation: ToolNotation, strict_schemas: StrictSchemas = "exact"
) -> AnswerConstraints:
    """Return the constraints of a request, with calls in the family's notation.

    Calls of a ``leading_only`` notation begin like JSON content. With a JSON Schema for the content, the generic
    notation replaces such a notation. Raises ``InvalidRequestError``.
    """
    compiler = _SchemaCompiler(strict_schemas)
    use = tool_use(request)
    form = content_constraint(request)
    schema = (
        _content_schema(request.response_format, compiler)
        if form.schema is None
        else compiler.content(form.schema, form.param, f"'{form.param}'")
    )
    if use is None:
        return AnswerConstraints(
            use=None,
            calls=None,
            schema=schema,
            grammar=form.grammar,
            form_param=form.param,
            notation=notation,
            unenforced=compiler.unenforced(),
        )
    functions = all_results(partial(_function, tool, compiler) for tool in use.functions)
    customs = all_results(partial(callable_custom, tool.definition, tool.path) for tool in use.customs)
    calls = CallConstraints(
        mode=use.mode,
        parallel=use.parallel,
        functions=[function for function in functions if function.name in use.allowed],
        customs=[custom for custom in customs if custom.name in use.allowed],
    )
    if notation.leading_only and (schema is not None or form.grammar is not None) and use.mode == "auto":
        notation = HERMES
    return AnswerConstraints(
        use=use,
        calls=calls,
        schema=schema,
        grammar=form.grammar,
        form_param=form.param,
        notation=notation,
        unenforced=compiler.unenforced(),
    )


class _SchemaCompiler:
    """Compiles the schemas of one request, and notes the keywords that are not enforced."""

    def __init__(self, strict_schemas: StrictSchemas) -> None:
        self._subset = strict_schemas == "reference"
        self._paths: list[str] = []
        self._content: dict[str, Any] | None = None
        self._functions: dict[str, dict[str, Any]] = {}

    def format(self, asked: JSONSchemaFormat) -> str:
        """Compile the schema of ``response_format``. Raises ``InvalidRequestError``."""
        schema, param = asked.schema or {}, "response_format.json_schema.schema"
        subject = f"response_format '{asked.name}'"
        if asked.strict is True:
            return compile_schema(schema, strict=self._subset, param=param, subject=subject, each_key_once=True)
        return self.content(schema, param, subject)

    def content(self, schema: dict[str, Any], param: str, subject: str) -> str:
        """Compile a schema of the content that is not strict. Raises ``InvalidRequestError``."""
        enforced = enforce_schema(schema, param=param, subject=subject)
        if enforced.unenforced:
            self._content = schema
            self._paths += [request_path(param, path) for path in enforced.unenforced]
        return enforced.text

    def function(self, definition: FunctionDefinition, parameters: dict[str, Any], param: str) -> str:
        """Compile the parameters of a function. Raises ``InvalidRequestError``."""
        subject, code = f"function '{definition.name}'", _INVALID_PARAMETERS
        if definition.strict is True:
            return compile_schema(
                parameters, strict=self._subset, param=param, subject=subject, code=code, each_key_once=True
            )
        enforced = enforce_schema(parameters, param=param, subject=subject, code=code)
        if enforced.unenforced:
            self._functions[definition.name] = parameters
            self._paths += [request_path(param, path) for path in enforced.unenforced]
        return enforced.text

    def unenforced(self) -> Unenforced:
        """Return the keywords of the compiled schemas that are not enforced."""
        if not self._paths:
            return NOTHING
        return Unenforced(paths=tuple(self._paths), content=self._content, functions=self._functions)


def _content_schema(response_format: ResponseFormat | None, compiler: _SchemaCompiler) -> str | None:
    if response_format is None or isinstance(response_format, ResponseFormatText):
        return None
    if isinstance(response_format, ResponseFormatJSONObject) and response_format.schema is not None:
        return compiler.content(response_format.schema, "response_format.schema", "response_format")
    if not isinstance(response_format, ResponseFormatJSONSchema) or response_format.json_schema.schema is None:
        return compile_schema({"type": "object"}, strict=False, param="response_format")
    return compiler.format(response_format.json_schema)


def _function(tool: DeclaredFunction, compiler: _SchemaCompiler) -> CallableFunction:
    """Return a function with its compiled parameters; the reference requires a schema of type ``object``."""
    definition, param = tool.definition, f"{tool.path}.parameters"
    compiled = None
    if definition.parameters is not None:
        _require_object(definition.parameters, definition.name, param)
        compiled = compiler.function(definition, {"type": "object", **definition.parameters}, param)
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
