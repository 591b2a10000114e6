"""The picture of README.md: what the script makes of a console; the picture itself is a recording of a real server."""

import importlib.util
from types import ModuleType

import pytest
from rich.console import Console
from rich.text import Text

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record_top", ROOT / "scripts" / "record_top.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_picture_has_the_text_and_needs_no_download(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(record=True, width=40)
    console.print(Text("running 8", "bold red"))
    svg = script.export(console, "a title")
    assert "running" in capsys.readouterr().out
    assert ["running&#160;8", "a&#160;title"] == [text for text in ("running&#160;8", "a&#160;title") if text in svg]
    assert ["http://www.w3.org/2000/svg"] == [word.split('"')[0] for word in svg.split('"') if word.startswith("http")]
    assert "url(http" not in svg


def test_recorded_picture_is_that_of_the_command() -> None:
    svg = (ROOT / "docs" / "antiphon-top.svg").read_text()
    assert ">antiphon" in svg
    assert "prefix&#160;hits" in svg
