"""Query strings of lists: decoded, or refused with the parameter's name."""

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.protocol.stored_queries import (
    CompletionQuery,
    PageQuery,
    decode_completion_query,
    decode_page_query,
)

Pairs = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("pairs", "query"),
    [
        ([], CompletionQuery()),
        ([], CompletionQuery(after=None, limit=20, order="asc", model=None, metadata=None)),
        (
            [("after", "c1"), ("limit", "100"), ("order", "desc"), ("model", "tiny")],
            CompletionQuery(after="c1", limit=100, order="desc", model="tiny"),
        ),
        (
            [("metadata[a]", "1"), ("limit", "1"), ("metadata[b]", "")],
            CompletionQuery(limit=1, metadata={"a": "1", "b": ""}),
        ),
        ([("metadata[a[b]]", "1"), ("metadata[]", "2")], CompletionQuery(metadata={"a[b]": "1", "": "2"})),
        ([("metadata[a\nb]", "1")], CompletionQuery(metadata={"a\nb": "1"})),
    ],
)
def test_query_of_completions_is_decoded(pairs: Pairs, query: CompletionQuery) -> None:
    assert query == decode_completion_query(pairs)


@pytest.mark.parametrize(
    ("pairs", "query"),
    [
        ([], PageQuery()),
        ([("after", "c-1"), ("limit", "7"), ("order", "asc")], PageQuery(after="c-1", limit=7, order="asc")),
    ],
)
def test_query_of_messages_is_decoded(pairs: Pairs, query: PageQuery) -> None:
    assert query == decode_page_query(pairs)


@pytest.mark.parametrize(
    ("pairs", "param", "code"),
    [
        ([("limit", "0")], "limit", "integer_below_min_value"),
        ([("limit", "-1")], "limit", "integer_below_min_value"),
        ([("limit", "101")], "limit", "integer_above_max_value"),
        ([("limit", "")], "limit", "invalid_type"),
        ([("limit", "1.0")], "limit", "invalid_type"),
        ([("limit", "٣")], "limit", "invalid_type"),
        ([("limit", "9" * 5000)], "limit", "invalid_type"),
        ([("order", "ASC")], "order", "invalid_value"),
        ([("limit", "1"), ("limit", "1")], "limit", "invalid_value"),
        ([("before", "c1")], "before", "unknown_parameter"),
        ([("metadata", "a")], "metadata", "unknown_parameter"),
        ([("metadata[a]", "1"), ("metadata[a]", "1")], "metadata", "invalid_value"),
        ([(f"metadata[{number}]", "1") for number in range(17)], "metadata", "object_above_max_properties"),
    ],
)
def test_invalid_query_is_refused_with_its_parameter(pairs: Pairs, param: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_completion_query(pairs)
    assert (param, code) == (caught.value.param, caught.value.code)


@pytest.mark.parametrize("pairs", [[("model", "tiny")], [("metadata[a]", "1")]])
def test_filters_of_messages_are_refused(pairs: Pairs) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_page_query(pairs)
    assert ("unknown_parameter", pairs[0][0]) == (caught.value.code, caught.value.param)


def test_length_of_an_error_message_is_bounded() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_completion_query([("x" * 10_000, "y")])
    assert len(caught.value.message) < 200
