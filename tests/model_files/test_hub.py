"""The hub is a small server on loopback, used by huggingface_hub's own client."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from antiphon.console.command_error import CommandError
from antiphon.model_files.hub import CachedModel, Hub, all_parts, choose_file

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "Tiny.Q4_K_M.gguf": b"GGUF medium",
    "Tiny.Q4_K_S.gguf": b"GGUF small",
    "Tiny-F16-00001-of-00002.gguf": b"GGUF one",
    "Tiny-F16-00002-of-00002.gguf": b"GGUF two",
    "mmproj-Tiny-F16.gguf": b"GGUF eyes",
    "README.md": b"# Tiny",
}


class FakeHub(Struct):
    """The two routes that a download needs, for one repository, and the requested paths."""

    files: dict[str, bytes]
    asked: list[str] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/models/org/tiny/{rest:path}", self.listing),
                Route("/api/models/org/tiny", self.listing),
                Route("/org/tiny/resolve/{revision}/{file:path}", self.file, methods=["GET", "HEAD"]),
                Route("/{path:path}", self.missing, methods=["GET", "HEAD"]),
            ]
        )

    async def listing(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        siblings = [{"rfilename": name} for name in self.files]
        return JSONResponse({"id": "org/tiny", "sha": REVISION, "siblings": siblings, "tags": [], "private": False})

    async def file(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        content = self.files.get(request.path_params["file"])
        headers = {"x-repo-commit": REVISION}
        if content is None:
            return Response(status_code=404, headers={**headers, "x-error-code": "EntryNotFound"})
        return Response(content, headers={**headers, "etag": f'"{hash(content) & 0xFFFFFFFF:x}"'})

    async def missing(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return JSONResponse({"error": "Repository not found"}, 404, {"x-error-code": "RepoNotFound"})


@contextmanager
def running(hub: FakeHub) -> Iterator[str]:
    """Serve the hub from a thread and yield its address."""
    config = uvicorn.Config(hub.app(), port=0, log_config=None, access_log=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def fake() -> FakeHub:
    return FakeHub(dict(FILES))


@pytest.fixture
def hub(fake: FakeHub, tmp_path: Path) -> Iterator[Hub]:
    with running(fake) as endpoint:
        yield Hub(tmp_path, endpoint)


def test_file_is_downloaded_by_name(hub: Hub) -> None:
    assert b"GGUF small" == hub.download("org/tiny:Tiny.Q4_K_S.gguf").read_bytes()


def test_file_is_downloaded_by_quantisation_in_upper_or_lower_case(hub: Hub) -> None:
    assert b"GGUF medium" == hub.download("org/tiny:q4_k_m").read_bytes()


def test_second_download_uses_the_first_file(hub: Hub, fake: FakeHub) -> None:
    first = hub.download("org/tiny:Q4_K_M")
    fake.files["Tiny.Q4_K_M.gguf"] = b"GGUF other, but the same revision"
    assert hub.download("org/tiny:Q4_K_M") == first
    assert b"GGUF medium" == first.read_bytes()


def test_all_parts_of_a_split_file_are_downloaded(hub: Hub) -> None:
    first = hub.download("org/tiny:F16")
    parts = sorted(first.parent.iterdir())
    assert [b"GGUF one", b"GGUF two"] == [part.read_bytes() for part in parts]
    assert parts[0] == first


@pytest.mark.parametrize(
    ("spec", "message", "advice"),
    [
        ("org/tiny:Q4_K", "no model for 'Q4_K'", "--model hf:org/tiny:Tiny.Q4_K_M.gguf"),
        ("org/tiny", "several models for ''", "--model hf:org/tiny:Tiny.Q4_K_S.gguf"),
        ("org/tiny:none.gguf", "has no file none.gguf", "Tiny.Q4_K_M.gguf"),
        ("org/none:Q4_K_M", "does not exist or is private", "HF_TOKEN"),
        ("tiny:Q4_K_M", "does not name a repository", "hf:owner/repo:file-or-quant"),
    ],
)
def test_error_of_an_unknown_file_has_advice(hub: Hub, spec: str, message: str, advice: str) -> None:
    with pytest.raises(CommandError) as caught:
        hub.download(spec)
    assert message in caught.value.message
    assert advice in caught.value.advice


def test_repository_without_models_is_an_error(hub: Hub, fake: FakeHub) -> None:
    fake.files.clear()
    with pytest.raises(CommandError, match="has no GGUF file"):
        hub.download("org/tiny:Q4_K_M")


def test_cached_models_have_one_entry_each(hub: Hub) -> None:
    medium, split = hub.download("org/tiny:Q4_K_M"), hub.download("org/tiny:F16")
    assert hub.cached() == [
        CachedModel(spec="hf:org/tiny:Tiny-F16-00001-of-00002.gguf", path=split),
        CachedModel(spec="hf:org/tiny:Tiny.Q4_K_M.gguf", path=medium),
    ]


def test_downloaded_file_is_found_without_the_hub(fake: FakeHub, tmp_path: Path) -> None:
    with running(fake) as endpoint:
        path = Hub(tmp_path, endpoint).download("org/tiny:Q4_K_M")
    assert Hub(tmp_path, endpoint).download("org/tiny:q4_k_m") == path


def test_unreachable_hub_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"hf:org/tiny cannot be downloaded: [^\n]+$"):
        Hub(tmp_path, "http://127.0.0.1:9").download("org/tiny:Q4_K_M")


def test_short_tag_does_not_fit_a_longer_one() -> None:
    assert "m-Q4_K.gguf" == choose_file("o/r", ["m-Q4_K_M.gguf", "m-Q4_K.gguf", "m-IQ4_K.gguf"], "q4_k")


def test_only_model_of_a_repository_needs_no_tag() -> None:
    assert "m.gguf" == choose_file("o/r", ["README.md", "m.gguf", "mmproj-m.gguf"], "")


def test_parts_are_named_in_order() -> None:
    assert all_parts("a/m-00001-of-00003.gguf") == [f"a/m-0000{part}-of-00003.gguf" for part in (1, 2, 3)]


def test_unsplit_file_is_its_only_part() -> None:
    assert ["m.gguf"] == all_parts("m.gguf")
