"""The program that counts enforced schemas, on three small schemas."""

import json
import random
import sys
from pathlib import Path

import pytest
from rich.console import Console

from antiphon.constraints.json_schema import compile_schema
from bench import schema_share
from bench.schema_share import Share, is_valid, measure, read_schemas, refused_by, show, walk

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
    """Three schemas, one of them wrapped, and a file without a schema."""
    documents = {"point": POINT, "counts": {"schema": COUNTS, "tests": []}, "tags": {"properties": {"tags": TAGS}}}
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "broken.json").write_text("{")
    return sorted(tmp_path.glob("*.json"))


def test_schemas_are_enforced_or_refused_by_keyword(collection: list[Path]) -> None:
    share = measure(collection, 4)
    assert (2, {"uniqueItems": 1}, {}, 1) == (share.enforced, share.partly, share.refused, share.unread)


def test_every_finished_text_is_valid(collection: list[Path]) -> None:
    share = measure(collection, 4)
    assert (8, 0, []) == (share.walked + share.unfinished, share.unjudged, share.invalid)
    assert share.walked > 0


def test_invalid_text_is_listed_with_its_file(collection: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_share, "walk", lambda *_: '{"x": 10, "name": "a"}')
    (point,) = [path for path in collection if path.stem == "point"]
    assert [(str(point), '{"x": 10, "name": "a"}')] == measure([point], 1).invalid


def test_walk_returns_a_text_of_the_grammar() -> None:
    text = walk(compile_schema(POINT, strict=False, param="p"), random.Random(1))  # noqa: S311
    assert text is not None
    assert {"x", "name"} == set(json.loads(text))
    assert is_valid(POINT, text)


def test_decimals_are_validated_exactly() -> None:
    assert [True, False] == [is_valid({"multipleOf": 0.01}, text) for text in ("4.35", "4.355")]


def test_whole_number_with_point_or_exponent_is_an_integer() -> None:
    assert [True, True, False] == [is_valid({"type": "integer"}, text) for text in ("1.0", "12e3", "1.5")]


def test_text_that_is_not_json_is_invalid(collection: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_share, "walk", lambda *_: "{")
    assert [1, 1] == [len(measure([path], 1).invalid) for path in collection[1:3]]


def test_number_that_is_too_large_is_not_validated(collection: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_share, "walk", lambda *_: f"[{'9' * 5000}]")
    share = measure(collection[1:2], 1)
    assert (1, []) == (share.unjudged, share.invalid)


def test_file_without_a_schema_has_none(collection: list[Path]) -> None:
    assert [[], [COUNTS]] == [read_schemas(path) for path in collection[:2]]


def test_array_of_groups_has_the_schema_of_each(tmp_path: Path) -> None:
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps([{"schema": POINT, "tests": []}, {"schema": True, "tests": []}, "no group"]))
    assert [POINT, True] == read_schemas(suite)


def test_text_of_a_pattern_that_the_validator_does_not_read_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({"type": "string", "pattern": r"^\cA$"}))
    share = measure([tmp_path / "one.json"], 1)
    assert (1, 1, []) == (share.walked, share.unjudged, share.invalid)


@pytest.mark.parametrize(
    ("message", "keyword"),
    [
        ("Invalid schema for x: In context=('properties', 'a'), 'not' is not supported here.", "not"),
        ("Invalid schema for x: In context=(), the schema nests too deeply.", "the schema nests too deeply"),
    ],
)
def test_refusal_is_counted_by_keyword_or_reason(message: str, keyword: str) -> None:
    assert keyword == refused_by(message)


def test_table_shows_the_shares(capsys: pytest.CaptureFixture[str]) -> None:
    share = Share(enforced=3, walked=5, invalid=[("file", "[1]")])
    share.partly["uniqueItems"] += 1
    show(share, Console(width=120))
    out = capsys.readouterr().out
    for expected in (
        "4 schemas",
        "75.0%",
        "partly enforced, without uniqueItems",
        "25.0%",
        "1 are invalid",
        "file: [1]",
    ):
        assert expected in out


@pytest.mark.parametrize(("texts", "status"), [(['{"x": 1, "name": "a"}'], 0), (["[]"], 1)])
def test_exit_status_is_1_when_a_text_is_invalid(
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
