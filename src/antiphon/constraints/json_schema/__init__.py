"""JSON Schema, drafts 4 to 2020-12, compiled to grammars that admit only valid instances.

The modules in the order of the pipeline:

- ``compiler``: compiles a schema and checks a grammar; the public functions.
- ``document``: the schema with its dialect, its budget of work and its resolved references.
- ``vocabulary``: the keywords, the form of their values, and the limits on a schema.
- ``strict``: the subset of JSON Schema that the reference's strict mode takes.
- ``terms``: terms name the constraints on a value: a subschema, a constant, conjunctions, negations.
- ``expansion``: expands a term to a union of shapes and applies the keywords that combine subschemas.
- ``keywords``: turns the keywords that bound values of one type into shapes.
- ``formats``: the regular expressions of ``format``.
- ``pattern``: translates ECMA-262 patterns to llguidance's syntax.
- ``look_ahead``: rewrites look-aheads at the start of a pattern as further patterns.
- ``pattern_queries``: asks llguidance whether a pattern matches a text, or any text.
- ``shapes``: shapes are the values of one JSON type within bounds.
- ``normalise``: brings shapes to their simplest form.
- ``algebra``: intersects and subtracts unions of shapes.
- ``intersection``: intersects two shapes of one type.
- ``difference``: subtracts one shape from another of its type.
- ``enumeration``: intersects and subtracts shapes that list their values, by keys.
- ``lowering``: closes objects, and rewrites bounds that llguidance does not follow as alternatives that it does.
- ``multiples``: limits and lists the values of ``multipleOf``.
- ``finite_terms``: finds the terms that have a finite value.
- ``codegen``: writes the JSON Schema that llguidance reads.
- ``numbers``: writes bounds on numbers so that llguidance reads them exactly.
- ``costs``: the cost of looking at shapes.
- ``validity``: validates a finished answer against a schema of which some keywords are not enforced.
- ``schema_errors``: the errors, the keywords that are not enforced, and the budget that bounds the work of one schema.
"""

from antiphon.constraints.json_schema.compiler import compile_schema, enforce_schema, shorten_problem, validate_grammar

__all__ = ["compile_schema", "enforce_schema", "shorten_problem", "validate_grammar"]
