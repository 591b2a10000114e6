"""The folder of copies, with a quantiser that writes the source backwards instead of llama.cpp."""

import fcntl
import os
import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.engine.optimizer.optimizer_jobs import (
    Job,
    OptimizationError,
    Planned,
    Progress,
    Quantize,
    Quantized,
    Result,
)
from antiphon.model_files import optimized_models
from antiphon.model_files.optimized_models import Comparison, OptimizedModel, OptimizedModels, Speed, digest

SPEED = Speed(perplexity=20.0, prefill=100.0, decode={1: 10.0})
COMPARISON = Comparison(before=SPEED, after=SPEED, loss=0.0, standard_error=0.0, agreement=1.0)


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Quantize]:
    """The jobs that ran."""
    jobs: list[Quantize] = []

    def quantise(job: Job) -> Generator[Planned | Progress | Result, None, None]:
        assert isinstance(job, Quantize)
        yield Planned(source_type="Q4_1", size=10)
        Path(job.target).write_bytes(b"half")
        yield Progress(1, 1)
        Path(job.target).write_bytes(Path(job.source).read_bytes()[::-1])
        jobs.append(job)
        yield Quantized(size=1)

    monkeypatch.setattr(optimized_models, "run", quantise)
    return jobs


@pytest.fixture
def copies(tmp_path: Path) -> OptimizedModels:
    return OptimizedModels(tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF weights")
    return path


def make(copies: OptimizedModels, source: Path, file_type: str = "Q8_0", *, force: bool = False) -> OptimizedModel:
    return copies.make(source, file_type, name="org/tiny", force=force)


def test_made_copy_is_found_with_its_sidecar(copies: OptimizedModels, source: Path) -> None:
    copy = make(copies, source)
    assert b"sthgiew FUGG" == copy.path.read_bytes()
    assert f"org-tiny-Q8_0-{digest([source])[:16]}.gguf" == copy.path.name
    assert ("tiny.gguf", "Q4_1", "Q8_0") == (copy.sidecar.source, copy.sidecar.source_type, copy.sidecar.file_type)
    assert copy == copies.find(source)
    assert [copy] == copies.all()


def test_a_copy_is_made_once(copies: OptimizedModels, source: Path, made: list[Quantize]) -> None:
    assert make(copies, source) == make(copies, source)
    assert 1 == len(made)


def test_force_makes_the_copy_again(copies: OptimizedModels, source: Path, made: list[Quantize]) -> None:
    make(copies, source)
    make(copies, source, force=True)
    assert 2 == len(made)


def test_a_source_that_was_moved_or_touched_keeps_its_copy(copies: OptimizedModels, source: Path) -> None:
    copy = make(copies, source)
    moved = Path(shutil.copy(source, source.with_name("moved.gguf")))
    os.utime(source, (1, 1))
    assert [copy, copy] == [copies.find(moved), copies.find(source)]
    assert [None, None] == [copies.find(moved, read=False), copies.find(source, read=False)]


def test_changed_source_has_no_copy(copies: OptimizedModels, source: Path) -> None:
    make(copies, source)
    for content in (b"GGUF wEights", b"GGUF more weights"):
        source.write_bytes(content)
        assert copies.find(source) is None


def test_change_in_any_part_of_a_split_source_counts(copies: OptimizedModels, tmp_path: Path) -> None:
    first, second = (tmp_path / f"big-0000{part}-of-00002.gguf" for part in (1, 2))
    first.write_bytes(b"GGUF a")
    second.write_bytes(b"GGUF b")
    copy = make(copies, first)
    assert copy == copies.find(first)
    second.write_bytes(b"GGUF c")
    assert copies.find(first) is None


def test_copy_is_found_by_type_and_the_newest_first(tmp_path: Path, source: Path) -> None:
    times = iter((100.0, 200.0))
    copies = OptimizedModels(tmp_path / "cache", lambda: next(times))
    older, newer = make(copies, source, "Q8_0"), make(copies, source, "Q4_0")
    assert [newer, older] == copies.all()
    assert [newer, older, None] == [copies.find(source, type_) for type_ in (None, "Q8_0", "Q5_0")]


@pytest.mark.parametrize("damage", ["no copy", "half a copy", "no sidecar", "half a sidecar", "another's sidecar"])
def test_incomplete_copy_does_not_count(copies: OptimizedModels, source: Path, damage: str) -> None:
    path = make(copies, source).path
    match damage:
        case "no copy":
            path.unlink()
        case "half a copy":
            path.write_bytes(b"sthgie")
        case "no sidecar":
            path.with_suffix(".json").unlink()
        case "half a sidecar":
            path.with_suffix(".json").write_bytes(b'{"name": "\xff')
        case _:
            path.with_suffix(".json").write_bytes(b"{}")
    assert copies.find(source) is None
    assert [] == copies.all()
    assert make(copies, source) == copies.find(source)


def test_failure_leaves_no_files(copies: OptimizedModels, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(job: Job) -> Generator[Planned, None, None]:
        assert isinstance(job, Quantize)
        Path(job.target).write_bytes(b"half")
        yield Planned(source_type="Q4_1", size=10)
        raise OptimizationError("The process died.")

    monkeypatch.setattr(optimized_models, "run", die)
    with pytest.raises(CommandError, match=r"tiny\.gguf cannot be optimised: The process died\."):
        make(copies, source)
    assert [] == list(copies.folder.iterdir())


def test_files_of_a_crash_are_deleted_before_the_next_copy(copies: OptimizedModels, source: Path) -> None:
    copies.folder.mkdir(parents=True)
    left = copies.folder / "tiny-Q8_0-0123.gguf.partial"
    left.write_bytes(b"half")
    assert [] == copies.all()
    make(copies, source)
    assert not left.exists()


def test_failure_to_replace_a_copy_keeps_the_old_one(
    copies: OptimizedModels, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = make(copies, source)
    monkeypatch.setattr(optimized_models, "SPARE", 1 << 80)
    with pytest.raises(CommandError, match=r"needs 10 B, and .* free"):
        make(copies, source, force=True)
    assert copy == copies.find(source)


def test_second_process_waits_for_the_lock(
    copies: OptimizedModels, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    monkeypatch.setattr(display, "say", lambda _: waiting.set())
    copies.folder.mkdir(parents=True)
    other = os.open(copies.folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    second = threading.Thread(target=make, args=(copies, source))
    second.start()
    assert waiting.wait(30)
    assert [] == copies.all()
    os.close(other)
    second.join(30)
    assert 1 == len(copies.all())


def test_comparison_is_stored_in_the_sidecar(copies: OptimizedModels, source: Path) -> None:
    copies.add(make(copies, source), COMPARISON)
    found = copies.find(source)
    assert found is not None
    assert COMPARISON == found.sidecar.comparison


def test_folder_that_cannot_be_created_is_an_error(source: Path) -> None:
    with pytest.raises(CommandError, match="Not a directory"):
        make(OptimizedModels(source), source)
