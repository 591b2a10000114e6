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


def test_examples_run_before_properties_whose_draws_are_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "test_order.py").write_text(FILE)
    options = ["-v", "-p", "no:cacheprovider", "-p", "mutants.quick_tests", "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_order.py")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    lines = [line.split("::")[1].split()[:2] for line in run.stdout.splitlines() if "::test_" in line]
    assert [["test_example", "PASSED"], ["test_profile", "PASSED"], ["test_property", "PASSED"]] == lines
