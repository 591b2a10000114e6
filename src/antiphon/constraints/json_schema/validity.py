"""Validates finished answers against schemas of which some keywords are not enforced while decoding.

Schemas and their patterns come from clients, so this may take any time: call it in a process with limits.
"""

import json
from typing import Any, Final

BACKTRACKS: Final = 1_000_000
"""Steps back that the matching of one pattern may take; beyond it the text counts as invalid."""


def is_valid(schema: dict[str, Any], text: str) -> bool | None:
    """Return whether a JSON text is valid, with each key once in its object; None if the schema cannot be used.

    ``format`` is an annotation here, because the grammar enforces the formats that are asserted.
    """
    import jsonschema_rs  # noqa: PLC0415 (15 MB that few answers need)

    try:
        value = json.loads(text, object_pairs_hook=_with_each_key_once)
    except (ValueError, RecursionError):
        return False
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            validate_formats=False,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS),
            offline=True,
        )
        return bool(validator.is_valid(value))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, OverflowError):
        return None


def _with_each_key_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a key occurs twice")
    return found
