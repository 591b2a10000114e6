import importlib.util
import io
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_progress", ROOT / "scripts" / "build_progress.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("  [12/48] /usr/bin/c++ -O3", 0.25),
        ("[  5%] Building CXX object", 0.05),
        ("  [3/0] nonsense", 1.0),
        ("-- Detecting C compiler", None),
        ("  [notice] a new pip", None),
    ],
)
def test_share_is_read_from_ninja_and_make(script: ModuleType, line: str, share: float | None) -> None:
    assert share == script.fraction(line)


def test_progress_in_a_file_has_a_line_for_each_tenth(script: ModuleType) -> None:
    out = io.StringIO()
    lines = [
        "  Building wheel for llama-cpp-python (pyproject.toml): started\n",
        *(f"[{i}/100] c++\n" for i in range(101)),
    ]
    script.show(lines, out, 0.0)
    assert "3 to 5 minutes" in out.getvalue()
    assert 12 == out.getvalue().count("\n")


def test_cached_wheel_prints_nothing(script: ModuleType) -> None:
    out = io.StringIO()
    script.show(["  Using cached llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl\n"], out, 0.0)
    assert "" == out.getvalue()


def test_bar_shows_share_and_time(script: ModuleType) -> None:
    assert script.bar(0.5, 83.0) == f"  [{'#' * 20}{'-' * 20}]  50%  1:23"
