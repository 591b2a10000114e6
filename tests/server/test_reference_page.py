import copy
from html.parser import HTMLParser
from typing import Any

import pytest

from antiphon.server.openapi import build_document
from antiphon.server.reference_page import render_page

DOCUMENT = build_document("1.2.3")
VOID = {"meta", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """The elements of a page; fails where they are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert [] == self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]


PAGE = Page(render_page(DOCUMENT))


def test_the_page_loads_and_runs_nothing() -> None:
    tags = {tag for tag, _ in PAGE.elements}
    assert set() == tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert [] == PAGE.attributes("src")
    assert [] == [name for _, attributes in PAGE.elements for name in attributes if name.startswith("on")]
    assert {"openapi.json"} == {target for target in PAGE.attributes("href") if not target.startswith("#")}
    assert "url(" not in render_page(DOCUMENT)


def test_every_link_leads_somewhere_and_every_anchor_is_unique() -> None:
    anchors = PAGE.attributes("id")
    assert len(anchors) == len(set(anchors))
    assert set() == {target[1:] for target in PAGE.attributes("href") if target.startswith("#")} - set(anchors)


def test_every_operation_and_every_object_has_a_section() -> None:
    names = {operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()}
    objects = {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set() == (names | objects) - set(PAGE.attributes("id"))


def test_every_field_is_named() -> None:
    fields = {name for schema in DOCUMENT["components"]["schemas"].values() for name in schema.get("properties", {})}
    assert set() == {name for name in fields if name not in PAGE.text}


def test_page_shows_bounds_and_defaults() -> None:
    assert "number (≥ 0, ≤ 2)" in PAGE.text
    assert "length ≤ 64" in PAGE.text


def test_page_marks_required_fields() -> None:
    assert "model string (length ≥ 1) required" in " ".join(PAGE.text.split())
    assert "created integer always present" in " ".join(PAGE.text.split())


def test_page_groups_parameters_by_place_and_marks_required_ones() -> None:
    text = " ".join(PAGE.text.split())
    assert "Header Idempotency-Key string (length ≥ 1, length ≤ 255)For 24 hours" in text
    assert "Path completion_id string (length ≥ 1) required" in text
    assert "Query after stringThe id of the last completion" in text


def test_the_page_is_for_light_and_dark() -> None:
    assert "color-scheme: light dark" in render_page(DOCUMENT)


@pytest.mark.parametrize("place", ["title", "description"])
def test_texts_are_escaped(place: str) -> None:
    document: dict[str, Any] = copy.deepcopy(DOCUMENT)
    document["info"][place] = "<script>alert(1)</script> & `<b>`"
    assert "<script>" not in render_page(document)
    assert "<b>`" not in render_page(document)
