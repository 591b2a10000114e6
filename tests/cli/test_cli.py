"""The command itself; its subcommands have files of their own."""

import subprocess
import sys

import pytest

import antiphon
from antiphon.cli import create_cli, main
from antiphon.cli.errors import CommandError
from tests.conftest import Installed


def test_the_installed_command_is_the_wheel_s(installed: Installed) -> None:
    command = [sys.executable, "-c", "import antiphon; print(antiphon.__file__)"]
    done = subprocess.run(command, env=installed.environ(), capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.startswith(str(installed.folder))


def test_the_version_is_printed(installed: Installed) -> None:
    assert installed.run("--version").stdout == f"{antiphon.__version__}\n"


def test_help_names_every_command(installed: Installed) -> None:
    done = installed.run("--help")
    assert done.returncode == 0
    for command in ("serve", "chat", "models", "ANTIPHON_CTX_SIZE"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["serve", "chat", "models"])
def test_every_option_has_help(command: str) -> None:
    arguments = create_cli()[command].assemble_argument_collection(parse_docstring=True)
    shown = [argument for argument in arguments if argument.show]
    assert shown
    assert [] == [argument.name for argument in shown if not argument.parameter.help]


@pytest.mark.parametrize(
    ("variables", "port", "flash_attn", "models"),
    [
        ({}, 8000, True, ()),
        ({"ANTIPHON_PORT": "81", "ANTIPHON_FLASH_ATTN": "false"}, 81, False, ()),
        ({"ANTIPHON_MODEL": "a.gguf b=b.gguf"}, 8000, True, ("a.gguf", "b=b.gguf")),
        ({"ANTIPHON_CACHE_DIR": "/x", "ANTIPHON_URL": "http://h"}, 8000, True, ()),
    ],
)
def test_the_environment_sets_options(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    port: int,
    flash_attn: bool,  # noqa: FBT001 (a parameter of the test)
    models: tuple[str, ...],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _, bound, _ = create_cli().parse_args(["serve"])
    server, engine = bound.arguments.get("server"), bound.arguments.get("engine")
    assert (port, flash_attn) == (server.port if server else 8000, engine.flash_attn if engine else True)
    assert models == tuple(bound.arguments.get("model", ()))


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_PORT", "81")
    _, bound, _ = create_cli().parse_args(["serve", "--port", "82"])
    assert bound.arguments["server"].port == 82


def test_what_cannot_be_done_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def models() -> None:
        raise CommandError("No.", "Try yes.")

    monkeypatch.setattr("antiphon.cli.models.models", models)
    with pytest.raises(SystemExit) as caught:
        main(["models"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "Error: No.\nTry yes.\n"


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["server"])
    assert caught.value.code == 2
    assert "server" in capsys.readouterr().err


def imported(code: str) -> set[str]:
    """Give the modules that a process has after it ran ``code``."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 (our own code)
    return set(done.stdout.split())


def test_a_command_is_imported_when_it_is_asked_for() -> None:
    modules = imported("from antiphon.cli import create_cli; create_cli()['keys']")
    assert "antiphon.cli.keys" in modules
    assert not {"antiphon.cli.serve", "antiphon.cli.chat", "antiphon.cli.bench"} & modules


def test_the_model_is_begun_to_load_before_the_server_is_imported() -> None:
    slow = {"antiphon.cli.serving", "sqlalchemy", "starlette", "numpy", "httpx2", "huggingface_hub"}
    assert not slow & imported("from antiphon.cli import create_cli; create_cli()['serve']")
