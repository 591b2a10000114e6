"""Paths in the request, as headers can have them."""

from antiphon.rendering.unenforced import MAX_KEY, request_path


def test_path_is_that_in_the_request() -> None:
    path = ("properties", "x", "oneOf", 1, "$ref")
    assert "tools[0].function.parameters.properties.x.oneOf[1].$ref" == request_path(
        "tools[0].function.parameters", path
    )


def test_names_are_ascii_without_separators() -> None:
    assert "p.%C3%A9%2C%20%0D%0A" == request_path("p", ("é, \r\n",))


def test_long_name_is_cut() -> None:
    assert f"p.{'a' * MAX_KEY}" == request_path("p", ("a" * 1000,))
