"""In a small tree of its own, and from a process of its own, as the modules under test must not be loaded before."""

import json
import shutil
import subprocess
import sys

import pytest

from mutants.trials import COPIED
from tests.conftest import ROOT

PROGRAM = """
import json, sys
from pathlib import Path
from mutants.trials import Times, Trials
root, folder = map(Path, sys.argv[1:])
small, tests = Path("src/antiphon/small.py"), (Path("tests/test_small.py"),)
trials, found = Trials(root, folder), {}
usual = trials.unchanged(tests, 60)
found["usual"] = [usual.busy, usual.whole]
texts = {"killed": "n = 2", "survived": "n = 1 # other", "syntax": "n =", "endless": "while True: pass"}
texts["waiting"] = "import time; time.sleep(600)"
for name, text in texts.items():
    times = {"endless": Times(-0.5, 10.0), "waiting": Times(10.0, -2.5)}.get(name, Times(10.0, 10.0))
    found[name] = trials.tried(small, text, tests, times).value
found["again"] = trials.tried(small, "n = 1", tests, Times(10.0, 10.0)).value
found["left"] = (folder / "tree" / small).read_text()
try:
    trials.unchanged((Path("tests/test_broken.py"),), 60)
except ValueError as error:
    found["broken"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("trials")
    root = folder / "root"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if "." in name:
            (root / name).write_text("")
        else:
            (root / name).mkdir()
    shutil.copytree(ROOT / "mutants", root / "mutants", dirs_exist_ok=True)
    (root / "src" / "antiphon").mkdir()
    (root / "src" / "antiphon" / "small.py").write_text("n = 1")
    (root / "tests" / "test_small.py").write_text("from antiphon.small import n\ndef test_n(): assert 1 == n\n")
    (root / "tests" / "test_broken.py").write_text("def test_n(): assert 1 == 2\n")
    command = [sys.executable, "-c", PROGRAM, str(root), str(folder / "copy")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)  # noqa: S603 (Python)
    written: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return written | {"original": (root / "src/antiphon/small.py").read_text()}


def test_mutant_that_a_test_finds_is_killed(found: dict[str, object]) -> None:
    assert "killed" == found["killed"]


def test_mutant_with_an_import_error_is_killed(found: dict[str, object]) -> None:
    assert "killed" == found["syntax"]


def test_mutant_that_no_test_finds_survives(found: dict[str, object]) -> None:
    assert "survived" == found["survived"]


@pytest.mark.parametrize("kind", ["endless", "waiting"])
def test_endless_mutant_times_out(found: dict[str, object], kind: str) -> None:
    assert "timed out" == found[kind]


def test_original_file_is_restored_after_each_mutant(found: dict[str, object]) -> None:
    assert ("survived", "n = 1", "n = 1") == (found["again"], found["left"], found["original"])


def test_failure_without_a_mutant_is_an_error(found: dict[str, object]) -> None:
    assert "1 failed" in str(found["broken"])


def test_time_of_the_tests_is_measured(found: dict[str, object]) -> None:
    assert isinstance(found["usual"], list)
    assert all(0 < seconds < 60 for seconds in found["usual"])
