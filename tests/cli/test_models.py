from pathlib import Path

import pytest

from antiphon.cli.models import models
from tests.conftest import Installed, LiveServer


def test_the_models_of_this_machine_are_listed(
    smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / "0123" / "Q4_1"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").symlink_to(smollm2_path)
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    models()
    out = capsys.readouterr().out
    for expected in ("smollm2-135m-instruct", "135M", "MiB", "8192", "bundled", "hf:org/tiny:Q4_1/tiny.gguf"):
        assert expected in out


def test_a_damaged_download_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").write_bytes(b"GGUF and nothing that follows")
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    models()
    out = capsys.readouterr().out
    assert "smollm2-135m-instruct" in out
    assert "damaged" in out


def test_the_models_of_a_server_are_listed(installed: Installed, live_server: LiveServer) -> None:
    done = installed.run("models", "--url", live_server.url)
    assert (0, "") == (done.returncode, done.stderr)
    assert "smollm2-135m-instruct" in done.stdout
    assert "yes" in done.stdout


def test_a_server_that_is_not_there_is_told(installed: Installed) -> None:
    done = installed.run("models", "--url", "http://127.0.0.1:9")
    assert (1, "") == (done.returncode, done.stdout)
    assert "cannot be reached" in done.stderr
