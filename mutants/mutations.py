"""The mutants of a source text: every operator at every position inside a function."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, WhitespaceInclusivePositionProvider
from msgspec.structs import replace

from mutants.mutant import Mutant, Name
from mutants.operators import OPERATORS

SKIPPED: Final = (cst.Assert, cst.Raise, cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)
"""Assertions, errors, types, and statements that run at import."""


def mutants_of(source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of its text."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    visitor = _Visitor(source, wrapper.module)
    wrapper.visit(visitor)
    ordered = sorted(dict.fromkeys(visitor.found), key=lambda mutant: (mutant.start, mutant.end, mutant.text))
    return list(_told_apart(ordered))


def _told_apart(mutants: list[Mutant]) -> Iterator[Mutant]:
    """Number the mutants of one name with a comment."""
    totals = Counter(mutant.name for mutant in mutants)
    seen: Counter[Name] = Counter()
    for mutant in mutants:
        seen[mutant.name] += 1
        nth, total = seen[mutant.name], totals[mutant.name]
        yield mutant if total == 1 else replace(mutant, after=f"{mutant.after}  # {nth} of {total}")


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (WhitespaceInclusivePositionProvider,)

    def __init__(self, source: str, module: cst.Module) -> None:
        super().__init__()
        self.found: list[Mutant] = []
        self._source = source
        self._module = module
        self._lines = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
        """The offset of each line."""
        self._scopes: list[cst.FunctionDef | cst.ClassDef] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED):
            return False
        if any(isinstance(scope, cst.FunctionDef) for scope in self._scopes):
            for kind, operator in OPERATORS:
                if isinstance(node, kind):
                    for changed in operator(node):
                        self._note(node, changed)
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._scopes.append(node)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._scopes and self._scopes[-1] is original_node:
            self._scopes.pop()

    def _note(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        start, end = self._span(node)
        if self._source[start:end] == self._module.code_for_node(node):
            text = self._module.code_for_node(changed)
        else:  # the code of a node with several lines has no indentation
            start, end = 0, len(self._source)
            text = cst.ensure_type(self._module.deep_replace(node, changed), cst.Module).code
        before = self._source[start:end]
        head = _common(before, text)
        tail = _common(before[head:][::-1], text[head:][::-1])
        start, end, text = start + head, end - tail, text[head : len(text) - tail]
        if self._source[start:end] != text:
            self.found.append(self._mutant(start, end, text))

    def _mutant(self, start: int, end: int, text: str) -> Mutant:
        first = self._source.rfind("\n", 0, start) + 1
        last = self._source.find("\n", end)
        before = self._source[first:last]
        after = self._source[first:start] + text + self._source[end:last]
        return Mutant(
            function=".".join(scope.name.value for scope in self._scopes),
            line=self._source.count("\n", 0, start) + 1,
            before=" ".join(before.split()),
            after=" ".join(after.split()),
            start=start,
            end=end,
            text=text,
        )

    def _span(self, node: cst.CSTNode) -> tuple[int, int]:
        place = self.get_metadata(WhitespaceInclusivePositionProvider, node)
        assert isinstance(place, CodeRange)
        start, end = (self._lines[at.line - 1] + at.column for at in (place.start, place.end))
        return start, end


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)
