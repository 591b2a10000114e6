"""The tiny model's weights are random and its text is meaningless; its tensors are requantised as any others."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.models.llama import LlamaModel, fingerprint
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.optimizer.optimizer_jobs import OptimizationError
from antiphon.engine.optimizer.perplexity import own_text, predictions
from antiphon.engine.optimizer.quantization import FILE_TYPES, UNKNOWN, file_type, plan, quantize, type_name


def nothing(_done: int, _total: int) -> None:
    """Hear how far it is."""


def options(path: Path) -> EngineOptions:
    return EngineOptions(model_path=str(path), ctx_size=256, max_num_batched_tokens=256, threads=1)


@pytest.fixture(scope="module")
def copy(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("copy") / "copy.gguf"
    quantize(str(smollm2_path), str(path), "Q8_0", nothing)
    return path


@pytest.mark.parametrize("type_", ["Q8_0", "Q4_0"])
def test_a_copy_is_of_the_type_and_each_tensor_is_told(tiny_path: Path, tmp_path: Path, type_: str) -> None:
    told: list[tuple[int, int]] = []
    quantize(str(tiny_path), str(tmp_path / "copy.gguf"), type_, lambda done, total: told.append((done, total)))
    assert type_ == file_type(str(tmp_path / "copy.gguf"))
    assert [(i + 1, len(told)) for i in range(len(told))] == told


def test_a_plan_writes_nothing(smollm2_path: Path, copy: Path) -> None:
    planned = plan(str(smollm2_path), "Q8_0")
    assert "Q4_1" == planned.source_type
    assert copy.stat().st_size >= planned.size > copy.stat().st_size // 2
    assert [copy] == list(copy.parent.iterdir())


def test_a_file_need_not_state_its_type(tiny_path: Path) -> None:
    assert file_type(str(tiny_path)) == UNKNOWN


def test_types_have_the_names_that_files_use() -> None:
    assert {"Q4_0", "Q8_0", "Q4_K_M", "IQ4_NL", "F16", "BF16"} <= FILE_TYPES.keys()
    assert ["Q4_1", UNKNOWN, UNKNOWN] == [type_name(number) for number in ("3", "999", None)]


def test_a_type_that_is_not_known_is_told_with_those_that_are(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(OptimizationError, match=r"There is no type Q4_9\. Known: .*Q4_K_M"):
        quantize(str(tiny_path), str(tmp_path / "copy.gguf"), "Q4_9", nothing)


def test_a_type_that_needs_an_importance_matrix_is_refused(smollm2_path: Path, tmp_path: Path) -> None:
    with pytest.raises(OptimizationError, match="cannot be made IQ2_XXS: this quantization requires an imatrix"):
        quantize(str(smollm2_path), str(tmp_path / "copy.gguf"), "IQ2_XXS", nothing)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF and nothing that follows")
    with pytest.raises(EngineLoadError):
        plan(str(path), "Q8_0")


def test_a_copy_of_the_bundled_model_predicts_as_the_file_does(smollm2_path: Path, copy: Path) -> None:
    """8 bits hold what 4 bits said: the perplexity of the copy is within a few per cent of the file's."""
    tokenizer = Tokenizer.open(str(copy))
    ids = tokenizer.encode(own_text())[:32]
    tokenizer.close()
    losses = []
    for path in (smollm2_path, copy):
        model = LlamaModel.open(options(path))
        losses.append(predictions(model, ids, window=64)[0])
        model.close()
    assert abs(np.mean(losses[1] - losses[0])) < 0.05


def test_a_copy_has_another_fingerprint(smollm2_path: Path, copy: Path) -> None:
    assert fingerprint(options(smollm2_path), "engine") != fingerprint(options(copy), "engine")
