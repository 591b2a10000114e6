"""The operators of mutmut are not part of the gate: `make mutants` installs them."""

import ast
from typing import Any

import pytest

from mutants.modules import MODULES, source_of
from tests.conftest import ROOT

mutations: Any = pytest.importorskip("mutants.mutations", exc_type=ImportError)


def after(body: str) -> set[str]:
    """The lines that the mutants of a function with this body have instead of another."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return {mutant.after for mutant in mutations.mutants_of(f"def f(a, b, c):\n{indented}\n")}


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        ({"if a: b"}, "while a: b"),
        ({"return a", "return b", "return a or b"}, "return a and b"),
        ({"return max(a, b)"}, "return min(a, b)"),
        ({"return all(a)"}, "return any(a)"),
        ({"if not (a):"}, "if a:\n    return b"),
        ({"a.b = c", "a.b -= c", "pass"}, "a.b += c"),
        ({"pass"}, "a.b(c)"),
        ({"pass"}, "a[b] = c"),
        ({"return a <= b"}, "return a < b"),
        ({"return a is not b"}, "return a is b"),
        ({"return False"}, "return True"),
        ({"return 3"}, "return 2"),
        ({"pass"}, "return"),
    ],
)
def test_operators_make_the_expected_faults(expected: set[str], body: str) -> None:
    assert expected <= after(body)


@pytest.mark.parametrize(
    "body", ["assert a == 1", "raise ValueError(1)", "x: Literal[1]", '"""A text."""', "x = a", "return a"]
)
def test_assertions_errors_types_texts_and_names_have_no_mutants(body: str) -> None:
    assert set() == after(body)


def test_loop_with_break_stays_a_loop() -> None:
    assert "if a:" not in after("while a:\n    break")


def test_only_functions_have_mutants_with_qualified_names() -> None:
    source = "X = 1\nclass C:\n    y = 2\n    def f(self):\n        return 3\n"
    assert [("C.f", 5, "return 3", "return 4")] == [
        (mutant.function, mutant.line, mutant.before, mutant.after) for mutant in mutations.mutants_of(source)
    ]


def test_equal_faults_of_equal_lines_are_numbered() -> None:
    source = "def f(a):\n    if a:\n        return 1\n    return 1\ndef g(a):\n    return 1\n"
    found = [(mutant.function, mutant.after) for mutant in mutations.mutants_of(source) if mutant.before == "return 1"]
    assert [("f", "return 2  # 1 of 2"), ("f", "return 2  # 2 of 2"), ("g", "return 2")] == found


def test_several_changed_lines_are_shown_as_one() -> None:
    source = "def f(a):\n    return g(\n        a,\n        h=min(\n            a, 1),\n    )\n"
    found = {(mutant.before, mutant.after) for mutant in mutations.mutants_of(source)}
    assert {("h=min(", "h=max("), ("a, 1),", "a, 2),")} == found


@pytest.mark.parametrize("module", MODULES[::8])
def test_every_mutant_of_a_module_is_valid_and_differs(module: str) -> None:
    source = (ROOT / source_of(module)).read_text()
    found = mutations.mutants_of(source)
    assert found
    for mutant in found[:: max(1, len(found) // 20)]:
        assert mutant.applied(source) != source
        ast.parse(mutant.applied(source))
