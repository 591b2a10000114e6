"""A schema as a document: its dialect, its subschemas and the targets of its references."""

import json
import re
from collections import Counter
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin

from antiphon.constraints.json_schema.schema_errors import Budget, SchemaRefusedError, UnenforceableError, Unenforced
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, Path, Term
from antiphon.constraints.json_schema.vocabulary import KEYWORDS, subschemas

_DIALECT: Final = re.compile(r"^https?://json-schema\.org/draft[-/](0[3-7]|2019-09|2020-12)/schema#?$")
_LAST_IGNORING_DRAFT: Final = 7
"""The last draft in which ``$ref`` makes the keywords beside it void."""
REFERENCE_COST: Final = 2
"""Comparisons that cost as much as reading a referenced subschema."""
NEWEST_DRAFT: Final = 2020
MAX_SMALL_SIZE: Final = 8
"""Keywords, values or names of a subschema that equal subschemas may share."""


class Document:
    """The schema of one request. The constructor raises :class:`SchemaRefusedError` for a malformed schema."""

    def __init__(self, root: dict[str, Any] | bool, *, lenient: bool = False) -> None:  # noqa: FBT001 (a schema)
        """With ``lenient``, a keyword that cannot be enforced is listed in ``unenforced`` instead of refused."""
        self.root = root
        dialect = _DIALECT.match(root.get("$schema", "")) if isinstance(root, dict) and _has_dialect(root) else None
        self.draft: Final = int(dialect[1][:4]) if dialect else NEWEST_DRAFT
        """A number from 3 to 7, 2019 or 2020; 2020 if the schema names no draft."""
        self.budget: Final = Budget()
        """The budget for all work on this schema."""
        self.unenforced: Final = Unenforced(allowed=lenient)
        self.tracks_evaluation = False
        """Whether some subschema has ``unevaluatedProperties``."""
        self._known: set[Path] = set()
        self._resources: dict[str, Path] = {}
        self._bases: dict[Path, str] = {(): ""}
        self._anchors: dict[tuple[Path, str], Path] = {}
        self._dynamic_anchors: Counter[str] = Counter()
        self._terms: dict[Path, Term] = {}
        self._first_equal: dict[tuple[Path, str], Location] = {}
        """The first of equal small subschemas of a resource, by JSON text; all of them share its term."""
        self._register((), root)

    @property
    def ignores_ref_siblings(self) -> bool:
        """Whether keywords beside ``$ref`` are void."""
        return self.draft <= _LAST_IGNORING_DRAFT

    def at(self, path: Path) -> Any:  # noqa: ANN401 (JSON)
        """Return the value at ``path``, which must exist."""
        value: Any = self.root
        for key in path:
            value = value[key]
        return value

    def term(self, path: Path) -> Term:
        """Return the term of the subschema at ``path``."""
        found = self._terms.get(path)
        if found is None:
            found = self._terms[path] = self._term(path, self.at(path))
        return found

    def _term(self, path: Path, schema: dict[str, Any] | bool) -> Term:  # noqa: FBT001 (a schema)
        if schema is True or schema == {}:
            return ANY
        if schema is False or schema in ({"not": {}}, {"not": True}):
            return NEVER
        if "$ref" in schema and (self.ignores_ref_siblings or _has_only_ref(schema)):
            self._terms[path] = Location(path)  # ends a cycle of references
            with suppress(SchemaRefusedError):
                return self.resolve(schema["$ref"], path)
        if not _is_small(schema):
            return Location(path)
        key = (self._resource_of(path), json.dumps(schema))
        return self._first_equal.setdefault(key, Location(path))

    def resolve(self, reference: str, path: Path) -> Term:
        """Return the term that a reference at ``path`` names. Raises :class:`SchemaRefusedError`."""
        resource = self._resource_of(path)
        uri, fragment = urldefrag(reference)
        if uri:
            target = self._resources.get(urldefrag(urljoin(self._bases[resource], uri)).url)
            if target is None:
                raise UnenforceableError("'$ref' to another document is not supported", path)
            resource = target
        found = self._anchors.get((resource, unquote(fragment)))
        if found is None:
            found = self._follow(resource, unquote(fragment), path)
        if found not in self._known:
            self._register(found, self.at(found), is_referenced=True)
        return self.term(found)

    def is_dynamic(self, reference: str) -> bool:
        """Return whether the target of a dynamic reference depends on the way on which it is reached."""
        return self._dynamic_anchors[unquote(urldefrag(reference).fragment)] > 1

    def _follow(self, resource: Path, pointer: str, path: Path) -> Path:
        """Return the path of a JSON pointer within a resource."""
        found, value = resource, self.at(resource)
        head, *segments = pointer.split("/")
        for segment in (text.replace("~1", "/").replace("~0", "~") for text in segments):
            if isinstance(value, list) and segment.isascii() and segment.isdigit() and int(segment) < len(value):
                found, value = (*found, int(segment)), value[int(segment)]
            elif isinstance(value, dict) and segment in value:
                found, value = (*found, segment), value[segment]
            else:
                head = "missing"
                break
        if head or not isinstance(value, dict | bool):
            raise SchemaRefusedError("'$ref' names a subschema that does not exist", path)
        return found

    def _resource_of(self, path: Path) -> Path:
        return next(path[:length] for length in range(len(path), -1, -1) if path[:length] in self._bases)

    def _register(self, start: Path, root: Any, *, is_referenced: bool = False) -> None:  # noqa: ANN401 (JSON)
        """Register the subschemas from ``start`` down; if only a reference makes them subschemas, each costs budget."""
        for path, schema in subschemas(root, start):
            self.budget.spend(REFERENCE_COST * is_referenced, "$ref")
            self._known.add(path)
            self.tracks_evaluation = self.tracks_evaluation or "unevaluatedProperties" in schema
            alone = "$ref" in schema and self.ignores_ref_siblings
            identifier = schema.get("id" if self.draft == 4 else "$id")  # noqa: PLR2004 (draft 4 called it so)
            if isinstance(identifier, str) and not alone:
                self._register_identifier(path, identifier)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if keyword in schema:
                    self._dynamic_anchors[schema[keyword]] += keyword == "$dynamicAnchor"
                    self._anchors[self._resource_of(path), schema[keyword]] = path

    def _register_identifier(self, path: Path, identifier: str) -> None:
        uri, fragment = urldefrag(urljoin(self._bases[self._resource_of(path)], identifier))
        if fragment:
            self._anchors[self._resource_of(path), fragment] = path
        else:
            self._bases[path] = uri
            self._resources[uri] = path


def _has_only_ref(schema: dict[str, Any]) -> bool:
    return not (schema.keys() & KEYWORDS.keys()) - {"$ref", "$defs", "definitions", "$schema"} and "const" not in schema


def _is_small(schema: Any) -> bool:  # noqa: ANN401 (JSON)
    return len(schema) <= MAX_SMALL_SIZE and not any(
        isinstance(value, dict | list) and (len(value) > MAX_SMALL_SIZE or _has_containers(value))
        for value in schema.values()
    )


def _has_containers(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return any(isinstance(item, dict | list) for item in (value.values() if isinstance(value, dict) else value))


def _has_dialect(root: dict[str, Any]) -> bool:
    return isinstance(root.get("$schema"), str)
