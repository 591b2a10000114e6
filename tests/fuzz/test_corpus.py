"""The corpus of the fuzzer goes through the functions that are fuzzed, without the fuzzer."""

from pathlib import Path

import pytest

from fuzz.targets import NOTATIONS, TARGETS
from tests.conftest import ROOT

CORPUS = ROOT / "fuzz" / "corpus"
MAX_FILE = 4096
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_input_breaks_no_invariant(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_corpus_and_a_program(name: str) -> None:
    assert [] != [path for path in FILES if path.parent.name == name]
    assert (ROOT / "fuzz" / f"fuzz_{name}.py").is_file()


def test_inputs_are_small() -> None:
    assert [] == [path for path in FILES if path.stat().st_size > MAX_FILE]


def test_every_notation_is_in_the_corpus() -> None:
    chosen = {path.read_bytes()[0] % len(NOTATIONS) for path in FILES if path.parent.name == "tool_parser"}
    assert set(range(len(NOTATIONS))) == chosen
