"""The budget ends the compilation of a schema that expands too far."""

import json
from typing import Any

import pytest

from antiphon.constraints.json_schema import compile_schema
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, MAX_WORK, Budget, SchemaRefusedError
from antiphon.errors import InvalidRequestError
from fuzz.work import CALLS_OF_CHARACTER, CALLS_OF_WORK, FREE_CALLS, counted_work

WORK = 8000
"""Alternatives: a smaller budget than the server's."""


def test_work_within_the_budget_passes() -> None:
    budget = Budget(2)
    budget.spend_alternatives(1)
    budget.spend_alternatives(1)


def test_exceeded_budget_refuses_all_further_work() -> None:
    budget = Budget(2)
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        budget.spend_alternatives(3)
    with pytest.raises(SchemaRefusedError):
        budget.spend_alternatives(0)


def test_alternative_costs_a_fixed_number_of_comparisons() -> None:
    budget = Budget(1)
    for _ in range(COMPARISONS):
        budget.spend(1)
    assert 0 == budget.left
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        budget.spend(1)


def test_refusal_names_the_keyword_that_exceeds_the_budget() -> None:
    with pytest.raises(SchemaRefusedError, match="'pattern' makes too many combinations"):
        Budget(1).spend_alternatives(2, "pattern")


def consts(values: list[Any]) -> list[dict[str, Any]]:
    return [{"const": value} for value in values]


def mixed(count: int) -> list[Any]:
    return [value for n in range(count // 5) for value in (n, n + 0.5, f"w{n}", {"x": n}, [n])]


SETS: dict[str, Any] = {
    "not anyOf numbers": lambda count: {"not": {"anyOf": consts(list(range(count)))}},
    "not enum numbers": lambda count: {"not": {"enum": list(range(count))}},
    "not anyOf strings": lambda count: {"not": {"anyOf": consts([f"w{n}" for n in range(count)])}},
    "not enum strings": lambda count: {"not": {"enum": [f"w{n}" for n in range(count)]}},
    "enum but not enum": lambda count: {"enum": mixed(count), "not": {"enum": mixed(count)[::2]}},
    "oneOf numbers": lambda count: {"oneOf": consts(list(range(count)))},
    "oneOf strings": lambda count: {"oneOf": consts([f"w{n}" for n in range(count)])},
    "oneOf objects": lambda count: {"oneOf": consts([{"x": n} for n in range(count)])},
    "oneOf of all types": lambda count: {"oneOf": consts(mixed(count))},
    "oneOf enums": lambda count: {"oneOf": [{"enum": [*range(n, n + 10)]} for n in range(0, count, 10)]},
    "allOf enums": lambda count: {"allOf": [{"enum": mixed(count)}] * 2},
}


def calls(schema: dict[str, Any]) -> int:
    """Return the number of function calls that compile a schema."""
    with counted_work(MAX_WORK) as work:
        compile_schema(schema, strict=False, param="p")
    return work.calls


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_work_on_listed_values_grows_linearly(make: Any) -> None:  # noqa: ANN401
    assert calls(make(1900)) < 2.5 * calls(make(950)) + 5000


def wide(count: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    properties = {f"p{n}": {"type": "string"} for n in range(count)}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


HOSTILE: dict[str, dict[str, Any]] = {
    "listed arrays": {"not": {"enum": [[n] for n in range(2000)]}},
    "intervals of intervals": {"not": {"not": {"not": {"enum": [*range(2000)]}}}},
    "tagged objects": {
        "oneOf": [{"type": "object", "required": [f"k{n}"], "minProperties": n % 2} for n in range(2000)]
    },
    "a large constant": {
        "properties": {f"k{n}": {} for n in range(900)},
        "not": {"const": {f"k{n}": n for n in range(900)}},
    },
    "dependencies": {"type": "object", "dependentRequired": {f"a{n}": [f"b{n}"] for n in range(300)}},
    "counts of properties": {"properties": {f"o{n}": wide(44, minProperties=2, title=str(n)) for n in range(60)}},
    "one of many properties": {"properties": {f"o{n}": wide(400, maxProperties=1, title=str(n)) for n in range(9)}},
    "conjunctions": {"allOf": [{"properties": {"p": {"type": "integer", "minimum": n}}} for n in range(9000)]},
    "texts and patterns": {"enum": [f"w{n}" for n in range(9000)], "allOf": [{"pattern": f"w|{n}"} for n in range(99)]},
    "patterns of properties": {
        "allOf": [{"patternProperties": {f"^{n}_{m}x": {"minimum": 20 * n + m} for m in range(20)}} for n in range(20)]
    },
    "sets of sets": {"$defs": {"a": {"enum": mixed(5000)}}, "allOf": [{"$ref": "#/$defs/a"}] * 900},
    "items": {
        "$defs": {"a": {"prefixItems": [{"minimum": n} for n in range(4000)]}},
        "allOf": [{"$ref": "#/$defs/a"}] * 9,
    },
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_hostile_schema_is_refused_within_bounded_work(schema: dict[str, Any]) -> None:
    with counted_work(WORK) as work, pytest.raises(InvalidRequestError, match="too many combinations of alternatives"):
        compile_schema(schema, strict=False, param="p")
    assert work.calls < FREE_CALLS + CALLS_OF_CHARACTER * len(json.dumps(schema)) + CALLS_OF_WORK * work.spent
