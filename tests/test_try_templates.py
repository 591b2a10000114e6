"""The script that tries chat templates says which render every conversation whole."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from antiphon.templates.chat_template import CHATML
from tests.conftest import ROOT

TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.reasoning_content or '' }}"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}\n{% endfor %}"
)
FORGETFUL = "{% for m in messages %}{{ m.content if loop.length < 3 or m.role != 'user' }}{% endfor %}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("try_templates", ROOT / "scripts" / "try_templates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tried(script: ModuleType, folder: Path, **sources: str) -> int:
    """Return the exit status for a folder of these templates."""
    for name, source in sources.items():
        (folder / f"{name}.jinja").write_text(source, encoding="utf-8")
    status: int = script.main(str(folder))
    return status


def test_templates_that_render_every_conversation_pass(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == tried(script, tmp_path, plain=CHATML, tools=TOOLS)
    printed = capsys.readouterr().out
    assert "plain.jinja: chatml; system anywhere" in printed
    assert (
        "tools.jinja: chatml; system anywhere, tools, calls and results, parallel calls, reasoning_content" in printed
    )
    assert "2 of 2 templates" in printed


def test_a_template_that_drops_a_message_fails_with_the_missing_word(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == tried(script, tmp_path, forgetful=FORGETFUL, plain=CHATML)
    printed = capsys.readouterr().out
    assert "failed: system messages anywhere: 'Falcon?' is missing" in printed
    assert "1 of 2 templates" in printed


def test_a_template_that_refuses_a_conversation_fails_with_its_message(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = "{% if messages | length > 3 %}{{ raise_exception('Too many.') }}{% endif %}" + CHATML
    assert 1 == tried(script, tmp_path, refusing=refusing)
    assert "Too many." in capsys.readouterr().out


def test_a_file_that_is_no_template_fails(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == tried(script, tmp_path, broken="{% for %}")
    assert "broken.jinja: cannot be used" in capsys.readouterr().out


def test_a_folder_without_templates_fails(script: ModuleType, tmp_path: Path) -> None:
    assert 1 == tried(script, tmp_path)
