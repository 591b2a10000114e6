from pathlib import Path

import pytest

from antiphon.cli import create_cli, optimize
from antiphon.model_files.model_sources import ModelFile
from tests.engine.tiny_gguf import write_tiny_model
from tests.model_files.test_optimizing import measured


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return ModelFile(name="tiny", path=write_tiny_model(tmp_path / "tiny.gguf"))


def test_optimize_makes_a_copy_and_prints_both_measurements(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(
        optimize, "measured_file", lambda path, _what: measured([1.0 if path == model.path else 1.5], [7])
    )
    for _ in range(2):
        create_cli()(["models", "optimize", str(model.path), "--type", "q4_0"])
        out, err = capsys.readouterr()
        titles, before, after = (line.split("\t") for line in out.splitlines())
        assert ["type", "perplexity"] == titles[::2][:2]
        assert ["unknown", "Q4_0"] == [before[0], after[0]]
        assert ["2.72", "4.48"] == [before[2], after[2]]
        assert "grows by 64.9%" in err
        assert "same at 100% of the positions" in err
    create_cli()(["models"])
    assert "Q4_0" in capsys.readouterr().out


def test_no_measure_leaves_the_figures_out(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path / "cache"))
    create_cli()(["models", "optimize", str(model.path), "--no-measure"])
    assert ["-"] * 5 == capsys.readouterr().out.splitlines()[-1].split("\t")[2:]
