"""llama.cpp's server, compiled for this machine from the source of our llama-cpp-python.

Both servers have the same version, kernels and compiler. The server is compiled once, in about 12 minutes on two cores,
and stored in the cache folder by version and processor.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from antiphon.config import cache_dir
from scripts.build_progress import fraction

PACKAGE: Final = "llama-cpp-python"
SOURCE: Final = Path("vendor/llama.cpp")
"""The folder of llama.cpp in the package's source."""
OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
NEEDED: Final = ("cmake", "cc", "c++")
_LAST_LINES: Final = 15
_CPU: Final = re.compile(r"^(?:model name|flags|Features)\s*:.*$", re.MULTILINE)
OnProgress = Callable[[float], object]
"""Called with the completed share of the compilation."""


class CannotBuildError(Exception):
    """llama.cpp's server cannot be compiled here."""


def pinned_version(requirements: Path = Path("requirements.txt")) -> str:
    """Return the pinned version of llama-cpp-python."""
    found = re.search(rf"^{PACKAGE}==([\w.]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{requirements} does not pin {PACKAGE}"
    return found[1]


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return a name of this machine's instruction set: a binary for one processor may not run on another."""
    facts = sorted(set(_CPU.findall(cpuinfo.read_text(encoding="utf-8")))) if cpuinfo.exists() else []
    return f"{platform.machine()}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def cached_binary(version: str, cache: Path | None = None) -> Path:
    """Return the path of the compiled server."""
    return (cache or cache_dir()) / "llama-server" / f"{version}-{processor()}" / "llama-server"


def find_or_build(console: Console) -> Path:
    """Return the path of the server, after compiling it if it is missing. Raises :class:`CannotBuildError`."""
    version = pinned_version()
    binary = cached_binary(version)
    if binary.is_file():
        return binary
    cmake = find_cmake()
    console.print(f"Compiling llama.cpp's server from {PACKAGE} {version}, once: about 12 minutes on two cores.")
    with tempfile.TemporaryDirectory(prefix="llama-server-") as scratch:
        source = download(version, Path(scratch))
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("compiling llama.cpp's server", total=1)
            built = compile_server(
                cmake, source, Path(scratch) / "build", lambda done: progress.update(task, completed=done)
            )
        keep(built, binary)
    return binary


def find_cmake() -> str:
    """Return the path of cmake, of the environment or the system. Raises :class:`CannotBuildError`."""
    own = str(Path(sys.executable).parent)
    found = {name: shutil.which(name) or shutil.which(name, path=own) for name in NEEDED}
    if missing := [name for name, path in found.items() if path is None]:
        raise CannotBuildError(f"there is no {', '.join(missing)}")
    return str(found["cmake"])


def download(version: str, folder: Path) -> Path:
    """Download the package's source with pip, unpack it, and return the folder of llama.cpp."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    _run([*command, "--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={version}"], lambda _: None)
    archives = list(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise CannotBuildError(f"pip gave {len(archives)} archives of {PACKAGE}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return archives[0].with_suffix("").with_suffix("") / SOURCE


def compile_server(cmake: str, source: Path, build: Path, on_progress: OnProgress) -> Path:
    """Compile the server and return its path."""
    _run([cmake, "-S", str(source), "-B", str(build), *OPTIONS], lambda _: None)
    command = [
        cmake,
        "--build",
        str(build),
        "--target",
        "llama-server",
        "--parallel",
        str(len(os.sched_getaffinity(0))),
    ]
    _run(command, on_progress)
    return build / "bin" / "llama-server"


def keep(built: Path, binary: Path) -> None:
    """Store the server atomically."""
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_name(f"{binary.name}.partial")
    shutil.copy2(built, partial)
    partial.replace(binary)


def _run(command: list[str], on_progress: OnProgress) -> None:
    """Run a command to its end. Raises :class:`CannotBuildError` with its last lines."""
    last: list[str] = []
    with subprocess.Popen(  # noqa: S603 (our own command)
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        _follow(process.stdout, last, on_progress)
    if process.returncode != 0:
        raise CannotBuildError(f"{Path(command[0]).name} ended with {process.returncode}:\n{''.join(last)}")


def _follow(lines: Iterable[str], last: list[str], on_progress: OnProgress) -> None:
    for line in lines:
        last.append(line)
        del last[:-_LAST_LINES]
        done = fraction(line)
        if done is not None:
            on_progress(done)
