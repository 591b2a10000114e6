"""The schema or the grammar of the content that an extension of another server asks for.

Extensions: vLLM's ``structured_outputs`` and its older ``guided_json``, ``guided_regex``, ``guided_choice`` and
``guided_grammar``; llama.cpp's ``grammar``. As there, no field changes the prompt. A grammar of vLLM is Lark if it has
a rule ``start``, else GBNF; one of llama.cpp is GBNF.
"""

import json
import re
from typing import Any, Final

from msgspec import Struct

from antiphon.constraints.custom_tools import check_grammar, check_length, check_work
from antiphon.constraints.gbnf import GBNFError, lark_from_gbnf
from antiphon.constraints.json_schema import shorten_problem
from antiphon.constraints.lark import quoted
from antiphon.protocol import validation
from antiphon.protocol.rendering_extensions import StructuredOutputs
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.tools import Grammar

_LARK: Final = re.compile(r"^\s*start\s*:", re.MULTILINE)


class ContentConstraint(Struct, frozen=True, kw_only=True):
    """The form of the content; without schema and grammar ``response_format`` decides."""

    param: str = "response_format"
    """The request field that asks for the form."""
    schema: dict[str, Any] | None = None
    """JSON Schema, which is not strict."""
    grammar: Grammar | None = None


def content_constraint(request: CreateChatCompletion) -> ContentConstraint:
    """Return the form that an extension asks for. The protocol has checked that there is at most one.

    Raises InvalidRequestError with the field as param for a text that is no schema or a grammar that cannot be
    enforced.
    """
    if request.grammar is not None:
        return _gbnf(request.grammar, "grammar")
    if request.structured_outputs is not None:
        return _form(request.structured_outputs, "structured_outputs.")
    guided = StructuredOutputs(
        json=request.guided_json,
        regex=request.guided_regex,
        choice=request.guided_choice,
        grammar=request.guided_grammar,
    )
    return _form(guided, "guided_")


def _form(asked: StructuredOutputs, prefix: str) -> ContentConstraint:
    if asked.json is not None or asked.json_object:
        return _json(asked.json or {"type": "object"}, f"{prefix}json")
    if asked.regex is not None:
        return _checked(Grammar(syntax="regex", definition=asked.regex), f"{prefix}regex")
    if asked.choice is not None:
        return _choice(asked.choice, f"{prefix}choice")
    return ContentConstraint() if asked.grammar is None else _grammar(asked.grammar, f"{prefix}grammar")


def _json(schema: dict[str, Any] | str, param: str) -> ContentConstraint:
    if isinstance(schema, str):
        schema = _parsed(schema, param)
    return ContentConstraint(param=param, schema=schema)


def _parsed(text: str, param: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise validation.invalid_value(param, "it is not JSON text.") from None
    if not isinstance(schema, dict):
        raise validation.invalid_value(param, "it is not the text of a JSON object.")
    return schema


def _choice(choices: list[str], param: str) -> ContentConstraint:
    definition = f"start: CHOICE\nCHOICE: {' | '.join(map(quoted, choices))}\n"
    return ContentConstraint(param=param, grammar=_checked_work(Grammar(syntax="lark", definition=definition), param))


def _checked(grammar: Grammar, param: str) -> ContentConstraint:
    check_grammar(grammar, param)
    return ContentConstraint(param=param, grammar=grammar)


def _grammar(text: str, param: str) -> ContentConstraint:
    if _LARK.search(text):
        return _checked(Grammar(syntax="lark", definition=text), param)
    return _gbnf(text, param)


def _gbnf(text: str, param: str) -> ContentConstraint:
    check_length(text, param)
    try:
        definition = lark_from_gbnf(text)
    except GBNFError as error:
        raise validation.invalid_value(param, f"{shorten_problem(str(error))}.") from error
    return ContentConstraint(param=param, grammar=_checked_work(Grammar(syntax="lark", definition=definition), param))


def _checked_work(grammar: Grammar, param: str) -> Grammar:
    check_work(grammar, param)
    return grammar
