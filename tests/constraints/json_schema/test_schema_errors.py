"""The budget ends what unfolds without end."""

import pytest

from antiphon.constraints.json_schema.schema_errors import COMPARISONS, Budget, SchemaRefusedError


def test_work_within_the_budget_passes() -> None:
    budget = Budget(2)
    budget.spend(1)
    budget.spend(1)


def test_work_beyond_the_budget_is_refused_from_then_on() -> None:
    budget = Budget(2)
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        budget.spend(3)
    with pytest.raises(SchemaRefusedError):
        budget.spend(0)


def test_comparisons_are_parts_of_an_alternative() -> None:
    budget = Budget(1)
    for _ in range(COMPARISONS):
        budget.compare(1)
    assert 0 == budget.left
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        budget.compare(1)


def test_the_keyword_is_named_that_makes_the_work() -> None:
    with pytest.raises(SchemaRefusedError, match="'pattern' makes too many combinations"):
        Budget(1).spend(2, "pattern")
