"""Decodes the query strings of the lists of stored completions and messages.

Reference: list chat completions (``after``, ``limit``, ``order``, ``model``, ``metadata[key]=value``) and get chat
messages (``after``, ``limit``, ``order``).
"""

import re
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_METADATA

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

Order = Literal["asc", "desc"]
_ORDERS: dict[str, Order] = {"asc": "asc", "desc": "desc"}

_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_LIMIT = re.compile(r"-?[0-9]{1,18}", re.ASCII)


class PageQuery(Struct, frozen=True, kw_only=True):
    """One page of a list: up to ``limit`` objects after the object ``after``, oldest first if ``order`` is asc."""

    after: str | None = None
    limit: int = DEFAULT_LIMIT
    order: Order = "asc"


class CompletionQuery(PageQuery, frozen=True, kw_only=True):
    """A page of the completions with this model and all of these metadata pairs; None means any."""

    model: str | None = None
    metadata: dict[str, str] | None = None


def decode_page_query(pairs: Iterable[tuple[str, str]]) -> PageQuery:
    """Decode the query string of a stored completion's messages. Raises InvalidRequestError."""
    values = _unique(pairs, ("after", "limit", "order"))
    return PageQuery(after=values.get("after"), limit=_limit(values), order=_order(values))


def decode_completion_query(pairs: Iterable[tuple[str, str]]) -> CompletionQuery:
    """Decode the query string of a list of stored completions. Raises InvalidRequestError."""
    everything = list(pairs)
    metadata = [(found[1], value) for name, value in everything if (found := _METADATA.fullmatch(name))]
    if len(metadata) > MAX_METADATA:
        raise validation.too_many_properties("metadata", MAX_METADATA, len(metadata))
    plain = [(name, value) for name, value in everything if not _METADATA.fullmatch(name)]
    values = _unique(plain, ("after", "limit", "order", "model"))
    return CompletionQuery(
        after=values.get("after"),
        limit=_limit(values),
        order=_order(values),
        model=values.get("model"),
        metadata=_filters(metadata),
    )


def _unique(pairs: Iterable[tuple[str, str]], names: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            raise validation.unknown_parameter(validation.shorten(name))
        if name in values:
            raise validation.invalid_value(name, "it occurs twice.")
        values[name] = value
    return values


def _filters(pairs: list[tuple[str, str]]) -> dict[str, str] | None:
    filters = dict(pairs)
    if len(filters) != len(pairs):
        raise validation.invalid_value("metadata", "a key occurs twice.")
    return filters or None


def _limit(values: dict[str, str]) -> int:
    text = values.get("limit", str(DEFAULT_LIMIT))
    if not _LIMIT.fullmatch(text):
        raise validation.invalid_type("limit", "an integer", f"'{validation.shorten(text)}'")
    limit = int(text)
    if limit > MAX_LIMIT:
        raise validation.out_of_range("limit", "integer", "<=", MAX_LIMIT, limit)
    if limit < 1:
        raise validation.out_of_range("limit", "integer", ">=", 1, limit)
    return limit


def _order(values: dict[str, str]) -> Order:
    text = values.get("order", "asc")
    if text not in _ORDERS:
        raise validation.unsupported_value("order", text, list(_ORDERS))
    return _ORDERS[text]
