"""The rules of CONTRIBUTING.md and ARCHITECTURE.md that a machine can check, over what git tracks."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT, SCRIPTS

MAX_MODULE = 400
MAX_FUNCTION = 60
PACKAGE = Path("src/antiphon")

TESTED_ELSEWHERE = {
    "__main__.py": "tests/test_main.py",
    "cli/__init__.py": "tests/cli/test_cli.py",
    "backends/backend.py": "a Protocol and a Struct: tests/backends/test_local.py and test_router.py use them",
    "constraints/json_schema/__init__.py": "names the door: test_compiler.py goes through it",
    "rendering/render_job.py": "Structs and limits: tests/rendering/test_render_process.py sends them to processes",
    "service/__init__.py": "names the door: tests/service/test_service.py goes through it",
    "store/migrations/env.py": "tests/store/test_migration.py runs it",
    "store/migrations/versions/*.py": "tests/store/test_migration.py runs them up and down",
}
"""Modules without a test file of the same name, and where they are tested instead."""

READS_THE_ENVIRONMENT = {
    "config.py": "its task",
    "engine/optimizer/optimizer_process.py": "a process of its own, as the worker",
    "engine/worker/loop.py": "a process of its own, which sets variables for the libraries that it loads",
}

HOSTS = re.compile(
    r"(127\.0\.0\.\d+|0\.0\.0\.0|\[::1?\]|localhost|\{.*|[a-z]+|([a-z0-9-]+\.)*(example|test|invalid)(\.(com|org|net))?"
    r"|json-schema\.org|www\.w3\.org)"
)
"""Hosts that a file may name: this machine, placeholders, names without a dot, reserved ones, and the name spaces of
JSON Schema and SVG, identifiers from which nothing is fetched."""
HOSTILE_ADDRESSES = {Path("tests/media/test_fetching.py"), Path("tests/media/test_urls.py")}
"""Tests whose addresses are malformed or private; nothing is fetched from them."""
ADDRESS = re.compile(r"https?://(\[[^\]]*\]|[^\s/:\"'`)<>]+)")
DOMAIN = re.compile(r"(?<![\w.@/-])(?:[a-z0-9-]+\.)+(?:com|org|net|io|co|dev|ai)(?!\w|\.\w|[(\[-])", re.IGNORECASE)
MACHINE_PATH = re.compile(r"(?<![\w.})/])/(?:root|home|work|opt|Users)/\w")


@cache
def tracked() -> tuple[Path, ...]:
    """Give every tracked file that is here, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return tuple(Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


def modules(folder: Path = PACKAGE) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(folder)]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if path.name != "LICENSE":
            yield path, (ROOT / path).read_text(encoding="utf-8", errors="replace")


def test_modules_are_short() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert {} == {path: length for path, length in lengths.items() if length > MAX_MODULE}


def test_functions_are_short() -> None:
    lengths = {
        f"{path}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in modules()
        for node in functions(path)
    }
    assert {} == {name: length for name, length in lengths.items() if length > MAX_FUNCTION}


def test_every_module_says_what_it_is() -> None:
    assert [] == [str(path) for path in modules() if not ast.get_docstring(tree(path))]


def test_tests_mirror_the_tree() -> None:
    missing = []
    for path in modules():
        inside = path.relative_to(PACKAGE)
        empty = inside.name == "__init__.py" and len(tree(path).body) <= 1
        excused = any(inside.match(pattern) for pattern in TESTED_ELSEWHERE)
        test = Path("tests") / inside.with_name(f"test_{inside.name}")
        if not (empty or excused or path == PACKAGE / "__init__.py" or (ROOT / test).is_file()):
            missing.append(f"{path} has no {test}")
    assert [] == missing


def test_every_exception_is_still_one() -> None:
    inside = [path.relative_to(PACKAGE) for path in modules()]
    assert [] == [pattern for pattern in TESTED_ELSEWHERE if not any(path.match(pattern) for path in inside)]


def test_imports_keep_the_contracts() -> None:
    done = subprocess.run([SCRIPTS / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert 0 == done.returncode, done.stdout


def test_the_map_of_the_architecture_names_what_is_there() -> None:
    rows = re.findall(
        r"^\| [^|]+\? \| `([\w/]+\.py)` \| `(\w+)` \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 15
    assert [] == [(path, name) for path, name in rows if name not in _defined(PACKAGE / path)]


def _defined(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree(path).body if isinstance(node, kinds)} if (ROOT / path).is_file() else set()


def test_every_layer_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.relative_to(PACKAGE).parts[0] for path in modules() if len(path.relative_to(PACKAGE).parts) > 1}
    assert set() == {package for package in packages if f"`{package}`" not in text}


def test_the_environment_is_read_in_one_place() -> None:
    names = {"environ", "environb", "getenv", "getenvb"}
    found = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names})
    }
    assert set() == found - READS_THE_ENVIRONMENT.keys()


def test_nothing_is_left_to_do() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    found = {str(path): unfinished.findall((ROOT / path).read_text()) for path in modules()}
    assert {} == {path: words for path, words in found.items() if words}


def work_of_importing(package: str, *names: str, path: Path = ROOT / "src") -> list[str]:
    """Give what the code of a package does while these modules of it are imported."""
    command = [sys.executable, str(ROOT / "tests" / "watched_imports.py"), package, *names]
    environ = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)  # noqa: S603
    work: list[str] = json.loads(done.stdout)
    return work


def test_importing_the_command_line_does_no_work_and_loads_no_model_library() -> None:
    assert [] == work_of_importing("antiphon", "antiphon.cli")


def test_no_module_opens_a_file_or_starts_a_thread_a_process_or_a_socket_when_it_is_imported() -> None:
    inside = [path.relative_to(PACKAGE.parent).with_suffix("") for path in modules() if path.name != "env.py"]
    names = [".".join(path.parts).removesuffix(".__init__") for path in inside if path.name != "__main__"]
    assert ["llama_cpp"] == work_of_importing("antiphon", *names)


def test_work_at_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import os, socket, subprocess, sys, threading\n"
        "open('/dev/null').close()\n"
        "threading.Thread(target=print, args=('',), kwargs={'end': ''}).start()\n"
        "socket.socket().close()\n"
        "subprocess.run([sys.executable, '-c', ''])\n"
    )
    expected = ["open /dev/null", "threading.Thread.start", "socket.__new__", "subprocess.Popen"]
    assert expected == work_of_importing("busy", path=tmp_path)


def test_no_file_names_a_download_host() -> None:
    named = ((path, host) for path, text in texts() if path not in HOSTILE_ADDRESSES for host in ADDRESS.findall(text))
    found = [f"{path}: {host}" for path, host in named if not HOSTS.fullmatch(host)]
    found += [f"{path}: {name}" for path, text in texts() for name in DOMAIN.findall(text) if not HOSTS.fullmatch(name)]
    assert [] == found


def test_no_file_names_a_path_of_one_machine() -> None:
    assert [] == [f"{path}: {match}" for path, text in texts() for match in MACHINE_PATH.findall(text)]


def test_every_import_is_of_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    declared = {canonicalize_name(name) for name in ("opentelemetry-api", *(Requirement(line).name for line in lines))}
    owners = packages_distributions()
    undeclared = {
        f"{path}: {name}"
        for path in modules()
        for name in _imported(tree(path))
        if name not in sys.stdlib_module_names
        and name != "antiphon"
        and not declared & {canonicalize_name(owner) for owner in owners.get(name, [])}
    }
    assert undeclared == set()


def _imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_pins_are_exact_and_name_no_address(name: str) -> None:
    pin = re.compile(r"[a-z0-9-]+(\[[a-z,-]+\])?==[0-9][\w.]*( ; .+)?")
    assert [] == [line for line in (ROOT / name).read_text().splitlines() if not pin.fullmatch(line)]


def test_the_tests_use_the_versions_that_are_served() -> None:
    served = set((ROOT / "requirements.txt").read_text().splitlines())
    assert served <= set((ROOT / "requirements-test.txt").read_text().splitlines())


def test_every_direct_dependency_is_pinned_to_a_version_that_it_admits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = [
        *project["project"]["dependencies"],
        *groups["build"],
        *project["project"]["optional-dependencies"]["smollm2"],
    ]
    wanted += [line for line in groups["test"] if isinstance(line, str)]
    pins = [Requirement(line) for line in (ROOT / "requirements-test.txt").read_text().splitlines()]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    for line in wanted:
        requirement = Requirement(line)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), line
