"""Requantised copies of the bundled model, and of the tiny model, whose weights are random."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.models.llama import LlamaModel, fingerprint
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.optimizer.optimizer_jobs import OptimizationError
from antiphon.engine.optimizer.perplexity import packaged_text, predictions
from antiphon.engine.optimizer.quantization import FILE_TYPES, UNKNOWN, file_type, plan, quantize, type_name


def ignore_progress(_done: int, _total: int) -> None:
    """Ignore the progress."""


def options(path: Path) -> EngineOptions:
    return EngineOptions(model_path=str(path), ctx_size=256, max_num_batched_tokens=256, threads=1)


@pytest.fixture(scope="module")
def copy(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("copy") / "copy.gguf"
    quantize(str(smollm2_path), str(path), "Q8_0", ignore_progress)
    return path


@pytest.mark.parametrize("type_", ["Q8_0", "Q4_0"])
def test_copy_has_the_type_and_each_tensor_is_reported(tiny_path: Path, tmp_path: Path, type_: str) -> None:
    reports: list[tuple[int, int]] = []
    quantize(str(tiny_path), str(tmp_path / "copy.gguf"), type_, lambda done, total: reports.append((done, total)))
    assert type_ == file_type(str(tmp_path / "copy.gguf"))
    assert [(i + 1, len(reports)) for i in range(len(reports))] == reports


def test_plan_writes_nothing(smollm2_path: Path, copy: Path) -> None:
    planned = plan(str(smollm2_path), "Q8_0")
    assert "Q4_1" == planned.source_type
    assert copy.stat().st_size >= planned.size > copy.stat().st_size // 2
    assert [copy] == list(copy.parent.iterdir())


def test_file_without_a_type_has_an_unknown_type(tiny_path: Path) -> None:
    assert UNKNOWN == file_type(str(tiny_path))


def test_types_have_their_names_in_files() -> None:
    assert {"Q4_0", "Q8_0", "Q4_K_M", "IQ4_NL", "F16", "BF16"} <= FILE_TYPES.keys()
    assert ["Q4_1", UNKNOWN, UNKNOWN] == [type_name(number) for number in ("3", "999", None)]


def test_unknown_type_is_refused_with_the_known_types(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(OptimizationError, match=r"There is no type Q4_9\. Known: .*Q4_K_M"):
        quantize(str(tiny_path), str(tmp_path / "copy.gguf"), "Q4_9", ignore_progress)


def test_type_that_needs_an_importance_matrix_is_refused(smollm2_path: Path, tmp_path: Path) -> None:
    with pytest.raises(OptimizationError, match="converted to IQ2_XXS: this quantization requires an imatrix"):
        quantize(str(smollm2_path), str(tmp_path / "copy.gguf"), "IQ2_XXS", ignore_progress)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF and nothing that follows")
    with pytest.raises(EngineLoadError):
        plan(str(path), "Q8_0")


def test_copy_of_the_bundled_model_predicts_like_the_original(smollm2_path: Path, copy: Path) -> None:
    """8 bits keep the precision of 4: the mean loss of the copy is within 0.05 nats of that of the file."""
    tokenizer = Tokenizer.open(str(copy))
    ids = tokenizer.encode(packaged_text())[:32]
    tokenizer.close()
    losses = []
    for path in (smollm2_path, copy):
        model = LlamaModel.open(options(path))
        losses.append(predictions(model, ids, window=64)[0])
        model.close()
    assert abs(np.mean(losses[1] - losses[0])) < 0.05


def test_copy_has_another_fingerprint(smollm2_path: Path, copy: Path) -> None:
    assert fingerprint(options(smollm2_path), "engine") != fingerprint(options(copy), "engine")
