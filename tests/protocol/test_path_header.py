"""The header that names paths."""

from antiphon.protocol.path_header import MAX_BYTES, path_header


def test_header_lists_the_paths() -> None:
    assert {"x-a": "b.c, d[0]"} == path_header("x-a", ["b.c", "d[0]"])


def test_nothing_to_name_needs_no_header() -> None:
    assert {} == path_header("x-a", [])


def test_header_is_bounded_and_says_that_more_was_left_out() -> None:
    value = path_header("x-a", [f"path{number:04}" for number in range(1000)])["x-a"]
    assert value.startswith("path0000, path0001, ")
    assert value.endswith(", ...")
    assert MAX_BYTES - len("path0000, ") < len(value) <= MAX_BYTES


def test_longest_paths_that_fit_are_named_in_full() -> None:
    paths = ["a" * (MAX_BYTES - len(", ..."))]
    assert {"x-a": paths[0]} == path_header("x-a", paths)
    assert {"x-a": "..."} == path_header("x-a", ["a" * MAX_BYTES])
