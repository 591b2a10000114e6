"""Checks the rules of plain English that a machine can check, in docstrings, comments and pages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_architecture import modules, tracked, tree

HEADLESS = re.compile(
    r"(What|Who|Whose|Whom|Those|That|How|Which|Where|When|Why|Whoever|Whatever|Everything|Everybody|Nobody|Nothing)\b"
)
"""A sentence that begins so does not name the thing it is about."""
NO_VERBS = re.compile(
    r"(A|All|An|And|Arguments|Arrays|Bytes|Cells|Chunks|Each|Events|Every|Ids|It|Its|No|Objects|One|Only|Patterns|Score"
    r"|Seconds|Steps|The|Time|Token|Tokens|Whether)$"
)
METAPHORS = re.compile(
    r"\b(behind (it|its|the|them|their|this|that|each|one|a|an)|out of it|tells?|told|hears?|heard|hopes?|whoever"
    r"|whatever|nobody|somebody)\b",
    re.IGNORECASE,
)
MAX_WORDS = 45
"""In a sentence."""
MODULES = modules()
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")


def docstrings(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Give the docstrings of a module, its classes and its functions, each with what it describes."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree(path)):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node, text


def prose(path: Path) -> Iterator[str]:
    """Give every docstring, those of attributes included, and every comment."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    yield from re.findall(r"#\s(.*)", (ROOT / path).read_text())


def sentences(text: str) -> Iterator[str]:
    return (sentence for sentence in re.split(r"(?<=[.:;])\s+", text) if sentence)


def is_described_by_a_verb(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name == "__init__":
        return False
    names = {getattr(each, "id", getattr(each, "attr", "")) for each in node.decorator_list}
    return not names & {"property", "cached_property"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_docstring_of_a_function_begins_with_a_verb(path: Path) -> None:
    firsts = [text.split()[0].strip(",.:;") for node, text in docstrings(path) if is_described_by_a_verb(node)]
    assert [] == [word for word in firsts if NO_VERBS.match(word) or HEADLESS.match(word) or not word.isalpha()]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_docstring_names_its_thing(path: Path) -> None:
    assert [] == [text for text in prose(path) if HEADLESS.match(text)]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_sentences_are_short(path: Path) -> None:
    found = [sentence for text in prose(path) for sentence in sentences(text)]
    assert [] == [sentence for sentence in found if len(sentence.split()) > MAX_WORDS]


@pytest.mark.parametrize("path", [*MODULES, *map(Path, PAGES)], ids=str)
def test_no_metaphor_stands_for_a_term(path: Path) -> None:
    texts = prose(path) if path.suffix == ".py" else [(ROOT / path).read_text()]
    assert [] == [match[0] for text in texts for match in METAPHORS.finditer(text)]


def test_the_expected_value_comes_first() -> None:
    found = {}
    for path in tracked():
        if path.suffix == ".py" and path.is_relative_to("tests"):
            asserts = [node.test for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)]
            if lines := [test.lineno for test in asserts if _is_turned_round(test)]:
                found[str(path)] = lines
    assert {} == found


def _is_turned_round(test: ast.expr) -> bool:
    """Say whether a literal stands on the right of ``==``, and none on the left."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    return _is_literal(test.comparators[0]) and not _is_literal(test.left)


def _is_literal(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(elts) | ast.List(elts) | ast.Set(elts):
            return all(map(_is_literal, elts))
        case ast.Dict(keys, values):
            return all(map(_is_literal, keys)) and all(map(_is_literal, values))
        case ast.UnaryOp(operand=operand):
            return _is_literal(operand)
        case _:
            return False
