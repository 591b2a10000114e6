import os
from collections.abc import Generator
from pathlib import Path

import pytest

from antiphon.engine.optimizer import optimizer_jobs as optimization
from antiphon.engine.optimizer.optimizer_jobs import (
    Measure,
    OptimizationError,
    Planned,
    Progress,
    Quantize,
    Quantized,
    run,
)

JOB = Measure(path="/none.gguf")


def process_runs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run ``code`` instead of the optimizer."""
    monkeypatch.setattr(optimization, "_COMMAND", ("-c", code))


def test_copy_is_written_in_its_own_process(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.gguf"
    planned, *progress, quantized = run(Quantize(source=str(tiny_path), target=str(target), file_type="Q8_0"))
    assert isinstance(planned, Planned)
    assert {Progress} == {type(message) for message in progress}
    assert Quantized(size=target.stat().st_size) == quantized


def test_failure_of_a_job_is_raised() -> None:
    with pytest.raises(OptimizationError, match="There is no model file at /none"):
        list(run(JOB))


def test_death_of_the_process_is_raised_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    process_runs(monkeypatch, "import os, sys; print('GGML_ASSERT failed', file=sys.stderr, flush=True); os.abort()")
    with pytest.raises(OptimizationError, match="ended with -6: GGML_ASSERT failed"):
        list(run(JOB))


def test_process_that_ends_without_reading_its_job_is_raised_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    process_runs(monkeypatch, "import sys; sys.exit(3)")
    with pytest.raises(OptimizationError, match=r"ended with 3\."):
        list(run(Measure(path="x" * (1 << 20))))


def test_closing_the_generator_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    message = '{"type":"progress","done":%d,"total":1}'
    process_runs(monkeypatch, f"import os, time; print({message!r} % os.getpid(), flush=True); time.sleep(600)")
    messages = run(JOB)
    assert isinstance(messages, Generator)
    first = next(messages)
    assert isinstance(first, Progress)
    os.kill(first.done, 0)
    messages.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first.done, 0)
