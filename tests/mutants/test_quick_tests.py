import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

FILE = """
from hypothesis import given, settings, strategies as st
drawn = []
@given(st.integers())
def test_property(number): drawn.append(number)
def test_example(): assert drawn == []
def test_profile(): assert (settings().derandomize, settings().database) == (True, None)
"""

DATABASES = """
import pytest
@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request): return request.param
@pytest.mark.parametrize("number", [1, 2])
def test_store(dialect, number): pass
@pytest.fixture
def small_disk(): pass
def test_disk(small_disk): pass
"""


def ran(folder: Path, name: str, text: str) -> list[list[str]]:
    """Run a file of tests; return the names of the tests in order, and what came of each."""
    (folder / name).write_text(text)
    options = ["-v", "-p", "no:cacheprovider", "-p", "mutants.quick_tests", "--rootdir", str(folder)]
    command = [sys.executable, "-m", "pytest", *options, str(folder / name)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    return [line.split("::")[1].split()[:2] for line in run.stdout.splitlines() if "::test_" in line]


def test_properties_run_last_with_the_same_examples_each_time(tmp_path: Path) -> None:
    expected = [["test_example", "PASSED"], ["test_profile", "PASSED"], ["test_property", "PASSED"]]
    assert expected == ran(tmp_path, "test_order.py", FILE)


def test_tests_on_postgresql_and_on_a_small_disk_are_left_out(tmp_path: Path) -> None:
    expected = [["test_store[sqlite-1]", "PASSED"], ["test_store[sqlite-2]", "PASSED"]]
    assert expected == sorted(ran(tmp_path, "test_databases.py", DATABASES))
