from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from antiphon.cli.models import list_models
from antiphon.config import ServerOptions
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from tests.conftest import Installed, LiveServer
from tests.scripted_engine import ScriptedEngine, scripted_backend
from tests.server.conftest import running


def test_list_shows_bundled_and_downloaded_models(
    smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / "0123" / "Q4_1"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").symlink_to(smollm2_path)
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    list_models()
    out = capsys.readouterr().out
    for expected in ("smollm2-135m-instruct", "135M", "MiB", "8192", "bundled", "hf:org/tiny:Q4_1/tiny.gguf"):
        assert expected in out


def test_damaged_download_does_not_hide_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").write_bytes(b"GGUF and nothing that follows")
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    list_models()
    out = capsys.readouterr().out
    assert "smollm2-135m-instruct" in out
    assert "damaged" in out


def test_list_shows_the_models_of_a_server(installed: Installed, live_server: LiveServer) -> None:
    done = installed.run("models", "--url", live_server.url)
    assert (0, "") == (done.returncode, done.stderr)
    assert "smollm2-135m-instruct" in done.stdout
    assert "yes" in done.stdout


def test_unreachable_server_is_an_error(installed: Installed) -> None:
    done = installed.run("models", "--url", "http://127.0.0.1:9")
    assert (1, "") == (done.returncode, done.stdout)
    assert "cannot be reached" in done.stderr


def test_list_shows_the_reason_of_an_unready_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    engine.ready, engine.failure = False, "There is no model file at a.gguf."
    service = Service(Router({"a": [scripted_backend(engine)], "b": [scripted_backend()]}))
    monkeypatch.setenv("COLUMNS", "120")
    with running(create_app(service, ServerOptions())) as port:
        list_models(url=f"http://127.0.0.1:{port}")
    out = capsys.readouterr().out
    assert "no. There is no model file at a.gguf." in row(out, "a")
    assert "yes" in row(out, "b")


def row(table: str, model: str) -> str:
    """Return the line of a model without the frame."""
    lines = (line.strip(" │") for line in table.splitlines())
    return next(line for line in lines if line.split()[:1] == [model])


@pytest.mark.parametrize("health", ["", "OK", '{"status":"ok"}'])
def test_readiness_is_unknown_without_our_health_route(capsys: pytest.CaptureFixture[str], health: str) -> None:
    async def listed(_: Request) -> Response:
        return Response('{"data":[{"id":"theirs"}]}')

    async def healthy(_: Request) -> Response:
        return Response(health)

    with running(Starlette(routes=[Route("/v1/models", listed), Route("/health", healthy)])) as port:
        list_models(url=f"http://127.0.0.1:{port}")
    assert ["theirs", "│", "-"] == row(capsys.readouterr().out, "theirs").split()
