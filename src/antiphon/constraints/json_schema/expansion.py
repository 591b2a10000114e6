"""Expands terms to unions of shapes, and applies the keywords that combine subschemas."""

import json
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, Final

from msgspec.structs import replace

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.algebra import exactly_one, intersect, subtract
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.keywords import bounds, constant
from antiphon.constraints.json_schema.normalise import normalise
from antiphon.constraints.json_schema.pattern import any_text
from antiphon.constraints.json_schema.pattern_queries import matches
from antiphon.constraints.json_schema.schema_errors import (
    COMPARISONS,
    CircularReferenceError,
    SchemaRefusedError,
    UnenforceableError,
)
from antiphon.constraints.json_schema.shapes import (
    EVERYTHING,
    Array,
    Evaluated,
    Object,
    Others,
    Shape,
    String,
    Union,
    union,
)
from antiphon.constraints.json_schema.terms import (
    ANY,
    NEVER,
    Conjunction,
    Constant,
    Location,
    Negation,
    Path,
    Term,
    conjunction,
    origin,
)

CONSTANT_CHARACTERS: Final = 512
"""Characters of a constant that cost as much as one alternative."""
MAX_TRACKED_OPTIONS: Final = 5
"""Options of an ``anyOf`` beside ``unevaluatedProperties``; every combination of them becomes an alternative."""


class Expander:
    """Expands the terms of a document, each once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.budget: Final = document.budget
        self.unenforced: Final = document.unenforced
        self._shapes: dict[Term, Union] = {}
        self._active: set[Term] = set()
        self._relaxed: set[Term] = set()
        """Terms whose shapes have more values than the term, because a keyword is not enforced."""
        self._is_relaxed = False
        """Whether the term that is being expanded is one of them."""

    def expand(self, term: Term) -> Union:
        """Return the shapes of a term. Raises :class:`SchemaRefusedError`."""
        found = self._shapes.get(term)
        if found is None:
            relaxed, self._is_relaxed = self._is_relaxed, False
            try:
                found = self._expand_once(term)
                if self._is_relaxed:
                    self._relaxed.add(term)
            finally:
                self._is_relaxed = relaxed
        self._is_relaxed = self._is_relaxed or term in self._relaxed
        return found

    def _expand_once(self, term: Term) -> Union:
        if term in self._active:
            raise CircularReferenceError("'$ref' refers to itself without going into a property or an item")
        self._active.add(term)
        given_up = self.unenforced.count
        try:
            found = self._shapes[term] = self._expand(term)
            self._is_relaxed = self._is_relaxed or self.unenforced.count > given_up
            self.budget.spend_alternatives(1 + len(found))
        except SchemaRefusedError as error:
            error.path = origin(term) if error.path is None else error.path
            raise
        finally:
            self._active.discard(term)
        return found

    def is_satisfiable(self, term: Term) -> bool:
        """Return False only if the term has no value; True for a recursive or refused term."""
        try:
            with self.unenforced.forbidden():
                return any(self.is_possible(shape) for shape in self.expand(term))
        except SchemaRefusedError:
            self.budget.spend_alternatives(0)
            return True

    def is_possible(self, shape: Shape) -> bool:
        """Return False only if the shape has no value."""
        self.budget.spend(COMPARISONS * costs.size(shape))
        match shape:
            case Object():
                terms = dict(shape.properties)
                return all(self.is_satisfiable(terms[name]) for name in shape.required)
            case Array():
                return all(map(self.is_satisfiable, shape.required_terms))
        return True

    def _expand(self, term: Term) -> Union:
        match term:
            case Location(path):
                return self._subschema(path)
            case Constant(text):
                self.budget.spend_alternatives(len(text) // CONSTANT_CHARACTERS, "const")
                return (constant(json.loads(text)),)
            case Negation(inner):
                return self._without(EVERYTHING, inner)
            case Conjunction(terms):
                result: Union = EVERYTHING
                for positive in (inner for inner in terms if not isinstance(inner, Negation)):
                    result = self._intersect(result, self.expand(positive))
                for negative in (inner for inner in terms if isinstance(inner, Negation)):
                    result = self._without(result, negative.term)
                return result

    def _intersect(self, left: Union, right: Union) -> Union:
        return intersect(left, right, self.budget)

    def _subtract(self, left: Union, term: Term) -> Union:
        right = self.expand(term)
        if term in self._relaxed:
            raise UnenforceableError("what is not enforced cannot be negated")
        return subtract(left, right, self.is_possible, self.budget)

    def _without(self, left: Union, term: Term) -> Union:
        """Subtract a term, or leave its values in if it cannot be negated and the schema need not be exact."""
        try:
            return self._subtract(left, term)
        except UnenforceableError as error:
            self.unenforced.add(error, origin(term) or ())
            return left

    def _subschema(self, path: Path) -> Union:
        schema = self._document.at(path)
        if "$ref" in schema and self._document.ignores_ref_siblings:
            return self._alone(schema["$ref"], path)
        result = bounds(self._document, path)
        for keyword, apply in self._applicators():
            if keyword in schema:
                try:
                    result = apply(result, schema[keyword], (*path, keyword))
                except SchemaRefusedError as error:
                    located = _with_location(error, keyword, path)
                    if not isinstance(located, UnenforceableError):
                        raise located from error
                    self.unenforced.add(located, (*path, keyword))
                    result = self._weakened(keyword, result, schema[keyword], (*path, keyword))
        return result

    def _alone(self, reference: str, path: Path) -> Union:
        """Expand a reference beside which no keyword counts."""
        try:
            return self.expand(self._document.resolve(reference, path))
        except UnenforceableError as error:
            self.unenforced.add(error, (*path, "$ref"))
            return EVERYTHING

    def _weakened(self, keyword: str, result: Union, value: Any, path: Path) -> Union:  # noqa: ANN401 (JSON)
        """Apply a weaker keyword that can be enforced: the options of ``oneOf`` need not exclude each other."""
        if keyword != "oneOf":
            return result
        try:
            return self._any_of(result, value, path)
        except UnenforceableError:
            return result

    def _applicators(self) -> Iterator[tuple[str, Callable[[Union, Any, Path], Union]]]:
        """Yield keywords with the methods that apply them: first those that narrow, then negation, unevaluated last."""
        yield "const", lambda result, value, _: self._intersect(result, (constant(value),))
        yield "enum", lambda result, values, _: self._intersect(result, union(map(constant, values)))
        yield "$ref", self._reference
        yield "$dynamicRef", self._dynamic_reference
        yield "allOf", self._all_of
        yield "propertyNames", self._property_names
        yield "dependentRequired", self._dependencies
        yield "dependentSchemas", self._dependencies
        yield "dependencies", self._dependencies
        yield "anyOf", self._any_of
        yield "oneOf", self._one_of
        yield "if", self._if
        yield "not", lambda result, _, path: self._subtract(result, self._document.term(path))
        yield "unevaluatedProperties", self._unevaluated

    def _reference(self, result: Union, reference: str, path: Path) -> Union:
        return self._intersect(result, self.expand(self._document.resolve(reference, path[:-1])))

    def _dynamic_reference(self, result: Union, reference: str, path: Path) -> Union:
        if self._document.is_dynamic(reference):
            raise UnenforceableError("its anchor has several places")
        return self._reference(result, reference, path)

    def _options(self, schemas: list[Any], path: Path) -> list[Term]:
        return [self._document.term((*path, index)) for index in range(len(schemas))]

    def _all_of(self, result: Union, schemas: list[Any], path: Path) -> Union:
        for index, term in enumerate(self._options(schemas, path)):
            try:
                result = self._intersect(result, self.expand(term))
            except UnenforceableError as error:
                located = _with_location(error, "allOf", path[:-1])
                assert isinstance(located, UnenforceableError)
                self.unenforced.add(located, (*path, index))
        return result

    def _any_of(self, result: Union, schemas: list[Any], path: Path) -> Union:
        options = self._options(schemas, path)
        if self._document.tracks_evaluation and len(options) <= MAX_TRACKED_OPTIONS:
            sizes = range(2, len(options) + 1)
            options += [conjunction(*chosen) for size in sizes for chosen in combinations(options, size)]
        elif self._document.tracks_evaluation:
            raise UnenforceableError(f"more than {MAX_TRACKED_OPTIONS} options beside 'unevaluatedProperties'")
        return union(shape for term in options for shape in self._intersect(result, self.expand(term)))

    def _one_of(self, result: Union, schemas: list[Any], path: Path) -> Union:
        terms = self._options(schemas, path)
        options = [self.expand(term) for term in terms]
        if not self._relaxed.isdisjoint(terms):
            raise UnenforceableError("an option is not enforced")
        narrowed = [self._intersect(result, option) for option in options]
        return exactly_one(narrowed, options, self.is_possible, self.budget)

    def _if(self, result: Union, _: object, path: Path) -> Union:
        parent, condition = path[:-1], self._document.term(path)
        schema = self._document.at(parent)
        then, otherwise = (
            self._document.term((*parent, keyword)) if keyword in schema else ANY for keyword in ("then", "else")
        )
        if then == otherwise == ANY and not self._document.tracks_evaluation:
            return result
        rest = self._except(result, condition, path)
        then_values = self._intersect(self._intersect(result, self.expand(condition)), self.expand(then))
        return union((*then_values, *self._intersect(rest, self.expand(otherwise))))

    def _except(self, result: Union, condition: Term, path: Path) -> Union:
        """Return the values for ``else``; all values if the condition cannot be negated."""
        try:
            return self._subtract(result, condition)
        except UnenforceableError as error:
            located = _with_location(error, "if", path[:-1])
            assert isinstance(located, UnenforceableError)
            self.unenforced.add(located, path)
            return result

    def _dependencies(self, result: Union, dependencies: dict[str, Any], path: Path) -> Union:
        for name, dependency in dependencies.items():
            if isinstance(dependency, list):
                properties = tuple((other, ANY) for other in dependency)
                dependent: Union = (Object(properties=properties, required=tuple(dependency)),)
            else:
                dependent = self.expand(self._document.term((*path, name)))
            absent, present = Object(properties=((name, NEVER),)), Object(properties=((name, ANY),), required=(name,))
            others = tuple(shape for shape in EVERYTHING if not isinstance(shape, Object))
            result = self._intersect(result, (*others, absent, *self._intersect((present,), dependent)))
        return result

    def _property_names(self, result: Union, _: object, path: Path) -> Union:
        names = [shape for shape in self.expand(self._document.term(path)) if isinstance(shape, String)]
        if String() in names:
            return result
        return union(
            kept
            for shape in result
            if (kept := self._with_names(shape, names) if isinstance(shape, Object) else shape) is not None
        )

    def _with_names(self, shape: Object, names: list[String]) -> Shape | None:
        listed = dict.fromkeys(text for allowed in names for text in allowed.values or ())
        self.budget.spend(costs.size(shape) + len(listed))
        searches = [_search(allowed) for allowed in names if allowed.values is None]
        known = dict.fromkeys((*(name for name, _ in shape.properties), *listed))
        admitted = {name for name in known if name in listed or self._admits(names, name)}
        kept = {name: shape.member(name) if name in admitted else NEVER for name in known}
        patterns: tuple[tuple[str, Term], ...] = ()
        if searches:
            if shape.patterns and not shape.is_closed:
                raise UnenforceableError("beside 'patternProperties'")
            patterns = (("|".join(searches), shape.additional),)
        narrowed = replace(shape, properties=tuple(kept.items()), patterns=patterns, additional=NEVER)
        return normalise(narrowed)

    def _admits(self, names: list[String], name: str) -> bool:
        return bool(self._intersect((String(values=(name,)),), tuple(names)))

    def _unevaluated(self, result: Union, _: object, path: Path) -> Union:
        term = self._document.term(path)
        for shape in (shape for shape in result if isinstance(shape, Object)):
            names, patterns = [name for name, _ in shape.properties], len(shape.evaluated.patterns)
            self.budget.spend(costs.size(shape) + costs.matching(patterns, len(names), sum(map(len, names))))
        return union(_with_unevaluated(shape, term) if isinstance(shape, Object) else shape for shape in result)


def _with_location(error: SchemaRefusedError, keyword: str, path: Path) -> SchemaRefusedError:
    """Return the error with the path of the keyword that caused it, if it has no path."""
    if error.path is not None:
        return error
    if isinstance(error, CircularReferenceError):
        return CircularReferenceError(error.reason, path)
    return type(error)(f"'{keyword}' is not supported here: {error.reason}", path)


def _search(names: String) -> str:
    if names.excluded or len(names.patterns) + bool(names.min_length or names.max_length is not None) != 1:
        raise UnenforceableError("several bounds on names")
    return names.patterns[0] if names.patterns else any_text(names.min_length, names.max_length)


def _with_unevaluated(shape: Object, term: Term) -> Object:
    evaluated = shape.evaluated
    if not evaluated.is_complete:
        shape = replace(
            shape,
            properties=tuple(
                (name, known if _is_evaluated(evaluated, name) else conjunction(known, term))
                for name, known in shape.properties
            ),
            patterns=tuple(
                (pattern, known if pattern in evaluated.patterns else conjunction(known, term))
                for pattern, known in shape.patterns
            ),
            additional=conjunction(shape.additional, term),
        )
    return replace(shape, evaluated=Evaluated(is_complete=True), others=Others.SPECIFIED)


def _is_evaluated(evaluated: Evaluated, name: str) -> bool:
    return name in evaluated.names or any(matches(pattern, name) for pattern in evaluated.patterns)
