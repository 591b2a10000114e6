"""The program that tells the share of schemas that are enforced, on three small ones."""

import json
import random
import sys
from pathlib import Path

import pytest
from rich.console import Console

from antiphon.constraints.json_schema import compile_schema
from bench import schema_share
from bench.schema_share import Share, is_valid, measure, read_schema, refused_by, show, walk

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}, "name": {"enum": ["a", "b"]}},
    "required": ["x", "name"],
    "additionalProperties": False,
}
COUNTS = {"type": "array", "items": {"type": "integer", "multipleOf": 3}, "minItems": 1, "maxItems": 2}
TAGS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


@pytest.fixture
def collection(tmp_path: Path) -> list[Path]:
    """Three schemas, one of them wrapped, and a file that holds none."""
    documents = {"point": POINT, "counts": {"schema": COUNTS, "tests": []}, "tags": {"properties": {"tags": TAGS}}}
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "broken.json").write_text("{")
    return sorted(tmp_path.glob("*.json"))


def test_schemas_are_enforced_or_refused_by_keyword(collection: list[Path]) -> None:
    share = measure(collection, 4)
    assert (2, {"uniqueItems": 1}, 1) == (share.enforced, share.refused, share.unread)


def test_every_finished_walk_is_judged_and_validates(collection: list[Path]) -> None:
    share = measure(collection, 4)
    assert (8, 0, []) == (share.walked + share.unfinished, share.unjudged, share.invalid)
    assert share.walked > 0


def test_a_walk_of_another_schema_is_told(collection: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_share, "walk", lambda *_: '{"x": 10, "name": "a"}')
    (point,) = [path for path in collection if path.stem == "point"]
    assert [(str(point), '{"x": 10, "name": "a"}')] == measure([point], 1).invalid


def test_a_walk_is_a_text_of_the_grammar() -> None:
    text = walk(compile_schema(POINT, strict=False, param="p"), random.Random(1))  # noqa: S311
    assert text is not None
    assert {"x", "name"} == set(json.loads(text))
    assert is_valid(POINT, text)


def test_decimals_are_judged_exactly() -> None:
    assert [True, False] == [is_valid({"multipleOf": 0.01}, text) for text in ("4.35", "4.355")]


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    assert [True, True, False] == [is_valid({"type": "integer"}, text) for text in ("1.0", "12e3", "1.5")]


def test_a_walk_that_is_no_json_does_not_validate(collection: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_share, "walk", lambda *_: "{")
    assert [1, 1] == [len(measure([path], 1).invalid) for path in collection[1:3]]


def test_a_number_without_end_is_not_judged(collection: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_share, "walk", lambda *_: f"[{'9' * 5000}]")
    share = measure(collection[1:2], 1)
    assert (1, []) == (share.unjudged, share.invalid)


def test_a_file_without_a_schema_is_none(collection: list[Path]) -> None:
    assert [None, COUNTS] == [read_schema(path) for path in collection[:2]]


@pytest.mark.parametrize(
    ("message", "keyword"),
    [
        ("Invalid schema for x: In context=('properties', 'a'), 'not' is not supported here.", "not"),
        ("Invalid schema for x: In context=(), the schema nests too deeply.", "the schema nests too deeply"),
    ],
)
def test_a_refusal_is_counted_by_its_keyword_or_its_reason(message: str, keyword: str) -> None:
    assert keyword == refused_by(message)


def test_the_table_tells_the_shares(capsys: pytest.CaptureFixture[str]) -> None:
    share = Share(enforced=3, walked=5, invalid=[("file", "[1]")])
    share.refused["uniqueItems"] += 1
    show(share, Console(width=120))
    said = capsys.readouterr().out
    for expected in ("4 schemas", "75.0%", "refused: uniqueItems", "25.0%", "1 do not validate", "file: [1]"):
        assert expected in said


@pytest.mark.parametrize(("texts", "status"), [(['{"x": 1, "name": "a"}'], 0), (["[]"], 1)])
def test_the_exit_status_tells_whether_a_walk_does_not_validate(
    collection: list[Path], monkeypatch: pytest.MonkeyPatch, texts: list[str], status: int
) -> None:
    folder = collection[0].parent
    for path in collection:
        path.unlink(missing_ok=path.stem == "point")
    (folder / "point.json").write_text(json.dumps(POINT))
    monkeypatch.setattr(schema_share, "walk", lambda *_: texts[0])
    monkeypatch.setattr(sys, "argv", ["schema_share", str(folder), "--walks", "1", "--sample", "1"])
    with pytest.raises(SystemExit) as caught:
        schema_share.main()
    assert status == caught.value.code
