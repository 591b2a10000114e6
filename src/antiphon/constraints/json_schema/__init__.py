"""JSON Schema, drafts 4 to 2020-12, as grammars that hold a model to it exactly."""

from antiphon.constraints.json_schema.compiler import compile_schema, shorten_problem, validate_grammar

__all__ = ["compile_schema", "shorten_problem", "validate_grammar"]
