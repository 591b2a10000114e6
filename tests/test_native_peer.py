"""The cache of llama.cpp's compiled server; a shell script stands for the compilation."""

import io
import tarfile
from pathlib import Path

import pytest
from rich.console import Console

from bench import native_peer
from bench.native_peer import (
    CannotBuildError,
    cached_binary,
    compile_server,
    find_cmake,
    keep,
    pinned_version,
    processor,
)
from bench.servers import Capacity, ServerError, llama_server

CMAKE = """\
#!/bin/sh
case "$1" in
-S) mkdir -p "$4/bin"; test -f "$2/CMakeLists.txt" ;;
--build) echo "[ 50%] Building"; echo "[100%] Built"; echo server > "$2/bin/llama-server" ;;
esac
"""


@pytest.fixture
def cmake(tmp_path: Path) -> str:
    path = tmp_path / "cmake"
    path.write_text(CMAKE)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "CMakeLists.txt").touch()
    return folder


def test_version_is_the_pinned_one(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("anyio==4.9\nllama-cpp-python==1.2.3\nllguidance==1\n")
    assert "1.2.3" == pinned_version(requirements)
    assert pinned_version()


def test_another_processor_has_another_server(tmp_path: Path) -> None:
    names: list[str] = []
    for flags in ("avx2", "avx2 avx512f", "avx2"):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbogomips\t: {len(names)}\n")
        names.append(processor(tmp_path / "cpuinfo"))
    assert names[0] == names[2] != names[1]


def test_another_version_has_another_server(tmp_path: Path) -> None:
    assert cached_binary("1", tmp_path) != cached_binary("2", tmp_path)
    assert cached_binary("1", tmp_path).is_relative_to(tmp_path)


def test_compilation_reports_its_progress(cmake: str, source: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    built = compile_server(cmake, source, tmp_path / "build", shares.append)
    assert ([0.5, 1.0], "server\n") == (shares, built.read_text())


def test_error_of_a_failed_compilation_has_its_last_lines(cmake: str, tmp_path: Path) -> None:
    Path(cmake).write_text("#!/bin/sh\necho no compiler; exit 1\n")
    with pytest.raises(CannotBuildError, match="cmake ended with 1:\nno compiler"):
        compile_server(cmake, tmp_path, tmp_path / "build", lambda _: None)


def test_error_names_the_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: None if name != "cc" else "/bin/cc")
    with pytest.raises(CannotBuildError, match=r"there is no cmake, c\+\+"):
        find_cmake()


def test_stored_server_is_executable(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.write_text("#!/bin/sh\n")
    built.chmod(0o755)
    place = tmp_path / "cache" / "llama-server"
    keep(built, place)
    assert ["llama-server"] == [path.name for path in place.parent.iterdir()]
    assert place.stat().st_mode & 0o100


def test_server_is_compiled_once(monkeypatch: pytest.MonkeyPatch, cmake: str, tmp_path: Path) -> None:
    """The source is an archive with llama.cpp inside, as pip downloads it."""
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(native_peer, "find_cmake", lambda: cmake)
    downloads: list[str] = []

    def give(command: list[str], told: object) -> None:
        if "download" not in command:
            run(command, told)  # type: ignore[arg-type]
            return
        downloads.append(command[-1])
        folder = Path(command[command.index("--dest") + 1])
        with tarfile.open(folder / "llama_cpp_python-1.tar.gz", "w:gz") as archive:
            member = tarfile.TarInfo("llama_cpp_python-1/vendor/llama.cpp/CMakeLists.txt")
            archive.addfile(member, io.BytesIO())

    run = native_peer._run
    monkeypatch.setattr(native_peer, "_run", give)
    console = Console(file=io.StringIO())
    places = [native_peer.find_or_build(console) for _ in range(2)]
    assert ([f"llama-cpp-python=={pinned_version()}"], places[0]) == (downloads, places[1])
    assert "server\n" == places[0].read_text()


def test_note_names_the_kind_of_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    console, capacity = Console(file=io.StringIO()), Capacity(threads=2, streams=16, ctx_size=4096)
    monkeypatch.setattr(native_peer, "find_or_build", lambda _: Path("/cache/llama-server"))
    native = llama_server("model.gguf", capacity, console)
    assert "compiled for this machine" in native.note
    assert {"--parallel", "16", "--ctx-size", "4096", "--no-webui", "--flash-attn"} <= set(native.command(80))

    def cannot(_: Console) -> Path:
        raise CannotBuildError("there is no cmake")

    monkeypatch.setattr(native_peer, "find_or_build", cannot)
    monkeypatch.setattr("bench.servers.find_spec", lambda _: object())
    wheel = llama_server("model.gguf", capacity, console)
    assert ("wheel" in wheel.note, ["80", "model.gguf", "2", "16", "4096"]) == (True, wheel.command(80)[-5:])
    monkeypatch.setattr("bench.servers.find_spec", lambda _: None)
    with pytest.raises(ServerError, match="there is no cmake"):
        llama_server("model.gguf", capacity, console)
