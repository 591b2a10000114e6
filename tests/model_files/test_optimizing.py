"""The tiny model has random weights, which are really requantised; the measurements are invented."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.console.command_error import CommandError
from antiphon.engine.optimizer.optimizer_jobs import Measured
from antiphon.model_files.model_sources import ModelFile
from antiphon.model_files.optimized_models import OptimizedModel, OptimizedModels
from antiphon.model_files.optimizing import FastAlreadyError, compare, make, served_files
from tests.conftest import LiveServer
from tests.engine.tiny_gguf import write_tiny_model

Say = Callable[[], str]


def measured(losses: list[float], likeliest: list[int], speed: float = 1.0) -> Measured:
    decode = {1: speed, 4: 2 * speed, 16: 3 * speed}
    return Measured(file_type="Q8_0", losses=losses, likeliest=likeliest, prefill=10 * speed, decode=decode)


@pytest.fixture
def copies(tmp_path: Path) -> OptimizedModels:
    return OptimizedModels(tmp_path / "cache")


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return ModelFile(name="tiny", path=write_tiny_model(tmp_path / "tiny.gguf"))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    return lambda: capsys.readouterr().err


@pytest.fixture
def copy(copies: OptimizedModels, model: ModelFile, said: Say) -> OptimizedModel:
    made = make(model, copies, None)
    said()
    return made


def choose(
    model: ModelFile, copies: OptimizedModels, *, named: bool = False, optimized: bool | None = None
) -> ModelFile:
    (chosen,) = served_files([model], copies, named=named, optimized=optimized)
    assert model.name == chosen.name
    return chosen


def test_loss_is_the_growth_of_the_perplexity() -> None:
    result = compare(measured([1.0, 3.0], [1, 2]), measured([1.1, 3.3], [1, 3], speed=2.0))
    assert (math.exp(2.0), math.exp(2.2)) == pytest.approx((result.before.perplexity, result.after.perplexity))
    assert math.exp(0.2) - 1 == pytest.approx(result.loss)
    assert math.exp(0.2) * 0.1 / math.sqrt(2) == pytest.approx(result.standard_error)
    assert 0.5 == result.agreement
    assert (10.0, 20.0, {1: 2.0, 4: 4.0, 16: 6.0}) == (result.before.prefill, result.after.prefill, result.after.decode)


def test_model_of_a_fast_type_needs_force(copies: OptimizedModels, copy: OptimizedModel) -> None:
    fast = ModelFile(name="fast", path=copy.path)
    with pytest.raises(FastAlreadyError, match="fast is already Q8_0"):
        make(fast, copies, None, force=True)
    other = ModelFile(name="other", path=make(fast, copies, "Q4_0").path)
    with pytest.raises(FastAlreadyError, match="other is Q4_0, which is fast already") as caught:
        make(other, copies, None)
    assert "--force" in caught.value.advice
    assert "Q8_0" == make(other, copies, None, force=True).sidecar.file_type


def test_unknown_type_is_an_error(copies: OptimizedModels, model: ModelFile) -> None:
    with pytest.raises(CommandError, match=r"tiny\.gguf cannot be optimised: There is no type NONE"):
        make(model, copies, "none")


def test_named_model_is_served_from_its_file(model: ModelFile, copies: OptimizedModels, said: Say) -> None:
    assert model == choose(model, copies, named=True)
    assert "" == said()


def test_copy_of_a_named_model_is_mentioned(
    model: ModelFile, copies: OptimizedModels, copy: OptimizedModel, said: Say
) -> None:
    assert copy.path != choose(model, copies, named=True).path
    assert "tiny has a Q8_0 copy: --optimize serves it\n" == said()


def test_optimize_serves_the_copy(model: ModelFile, copies: OptimizedModels, copy: OptimizedModel, said: Say) -> None:
    assert copy.path == choose(model, copies, named=True, optimized=True).path
    assert "tiny is served from its Q8_0 copy" in said()


def test_optimize_makes_a_missing_copy(model: ModelFile, copies: OptimizedModels, said: Say) -> None:
    assert choose(model, copies, named=True, optimized=True).path == copies.all()[0].path
    assert "Making the Q8_0 copy of tiny" in said()


def test_optimize_makes_no_copy_of_a_fast_type(copies: OptimizedModels, copy: OptimizedModel, said: Say) -> None:
    fast = ModelFile(name="fast", path=copy.path)
    assert fast == choose(fast, copies, named=True, optimized=True)
    assert "fast is already Q8_0" in said()


def test_default_model_is_served_from_its_copy(model: ModelFile, copies: OptimizedModels) -> None:
    assert choose(model, copies).path == copies.all()[0].path


def test_default_model_is_served_from_its_file_when_no_copy_can_be_made(model: ModelFile, said: Say) -> None:
    assert model == choose(model, OptimizedModels(model.path))
    assert "tiny is served from its own file. tiny.gguf cannot be optimised: " in said()


def test_no_optimize_serves_the_file(
    model: ModelFile, copies: OptimizedModels, copy: OptimizedModel, said: Say
) -> None:
    assert copy.path.exists()
    assert model == choose(model, copies, optimized=False)
    assert "" == said()


def test_bundled_model_is_served_from_its_copy_under_its_name(live_server: LiveServer) -> None:
    assert "smollm2-135m-instruct is served from its Q8_0 copy" in live_server.log.read_text()
    assert '"model":"smollm2-135m-instruct"' in live_server.curl
