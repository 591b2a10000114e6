"""Generated pages are current, links have targets, and examples run."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from antiphon.errors import RateLimitError
from tests.conftest import ROOT, Installed, LiveServer

ADDRESS = "http://127.0.0.1:8000"
"""The address in examples, which the test replaces by the live server's."""
EXAMPLE = re.compile(r"^```(bash|python) run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A code block marked ``run`` after its language."""
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generator: ModuleType) -> None:
    assert [] == generator.stale()


def test_every_error_is_on_its_page(generator: ModuleType) -> None:
    page = generator.errors_page()
    assert f"| 429 | `rate_limit_error` | `{RateLimitError.code}` |" in page
    assert page.count("\n| ") == 2 + len(list(generator._errors(generator.APIError)))


def test_readme_lists_refused_fields(generator: ModuleType) -> None:
    assert "| Refused by name | " in generator.fields_summary()


def test_configuration_page_has_every_option(generator: ModuleType) -> None:
    page = generator.configuration_page()
    for option in ("ctx-size", "flash-attn", "cors-origin", "url", "system"):
        assert f"`--{option}`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page: Path) -> None:
    assert [] == [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]


def examples() -> list[tuple[str, str, str]]:
    return [(page.name, *example) for page in PAGES for example in EXAMPLE.findall(page.read_text())]


@pytest.mark.parametrize(("page", "language", "code"), examples())
def test_examples_run(page: str, language: str, code: str, installed: Installed, live_server: LiveServer) -> None:
    assert ADDRESS in code, page
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[language]
    path = f"{installed.folder / 'bin'}:{installed.environ()['PATH']}"
    done = subprocess.run(  # noqa: S603 (our own documentation)
        [*command, code.replace(ADDRESS, live_server.url)],
        env=installed.environ(PATH=path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (0, True) == (done.returncode, bool(done.stdout.strip())), done.stdout + done.stderr
    assert ("modalities" in code) == ('"error":' in done.stdout), "only the example of a refusal shows one"


def test_pages_with_examples_are_known() -> None:
    assert {"README.md", "faults.md", "index.md", "observability.md", "storage.md"} == {
        page for page, _, _ in examples()
    }
