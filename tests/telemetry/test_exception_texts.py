"""Exceptions in the output of a process without our logging."""

import subprocess
import sys

import pytest

CASES = {
    "raised": "raise ValueError('confidence')",
    "caused": "try:\n  int('confidence')\nexcept ValueError as e:\n  raise KeyError('confidence') from e",
    "handled": "try:\n  int('confidence')\nfinally:\n  {}['confidence']",
    "written": "try:\n  int('confidence')\nexcept ValueError as e:\n  write_exception(e)",
    "in a thread": "threading.Thread(target=int, args=('confidence',)).start()",
    "of several lines": "raise ValueError('one\\nconfidence\\nthree')",
}
IMPORTS = "import threading\nfrom antiphon.telemetry.exception_texts import hide_exception_texts, write_exception\n"


def written(code: str) -> str:
    command = [sys.executable, "-c", IMPORTS + code]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=60).stderr  # noqa: S603


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_hidden_texts_leave_types_and_places(code: str) -> None:
    text = written(f"hide_exception_texts()\n{code}")
    assert "confidence" not in text
    assert "Error\n" in text
    assert 'File "' in text


def test_an_exception_and_its_cause_are_both_named() -> None:
    assert ["ValueError", "KeyError"] == [
        line for line in written(f"hide_exception_texts()\n{CASES['caused']}").splitlines() if not line.startswith(" ")
    ]


def test_text_is_written_unless_it_is_hidden() -> None:
    assert "confidence" in written(CASES["written"])


def test_exception_in_a_cycle_of_causes_is_written_once() -> None:
    code = "e, f = ValueError(), KeyError()\ne.__cause__, f.__cause__ = f, e\nwrite_exception(e)"
    assert "KeyError\nValueError\n" == written(f"hide_exception_texts()\n{code}")
