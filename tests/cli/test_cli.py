"""The command itself; its subcommands have files of their own."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from cyclopts import App

import antiphon
from antiphon import config
from antiphon.cli import create_cli, main
from antiphon.console.command_error import CommandError
from tests.conftest import Installed


def test_installed_command_runs_the_package_of_the_wheel(installed: Installed) -> None:
    command = [sys.executable, "-c", "import antiphon; print(antiphon.__file__)"]
    done = subprocess.run(command, env=installed.environ(), capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.startswith(str(installed.folder))


def test_version_is_printed(installed: Installed) -> None:
    assert installed.run("--version").stdout == f"{antiphon.__version__}\n"


def test_help_names_every_command(installed: Installed) -> None:
    done = installed.run("--help")
    assert 0 == done.returncode
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
def test_environment_sets_options(
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


def test_command_line_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_PORT", "81")
    _, bound, _ = create_cli().parse_args(["serve", "--port", "82"])
    assert 82 == bound.arguments["server"].port


def test_command_error_is_printed_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def models() -> None:
        raise CommandError("No.", "Try yes.")

    monkeypatch.setattr("antiphon.cli.models.models", models)
    with pytest.raises(SystemExit) as caught:
        main(["models"])
    assert 1 == caught.value.code
    assert "Error: No.\nTry yes.\n" == capsys.readouterr().err


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """Run a command that must exit with this status, and return its stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert status == caught.value.code
    said = capsys.readouterr()
    assert "" == said.out
    return said.err


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ('Unknown command "server". Did you mean "serve"?', ["server"]),
        ("Unknown option: --ctx-siz. Did you mean --ctx-size?", ["serve", "--ctx-siz", "1"]),
        ('Invalid value "inf" for --heartbeat-timeout.', ["serve", "--heartbeat-timeout", "inf"]),
        ('Invalid value for --ctx-size: "5.5" is not a whole number.', ["serve", "--ctx-size", "5.5"]),
        ('Invalid value "x" for --scope. Choose from: "read", "write", "admin".', ["keys", "create", "--scope", "x"]),
        ('Command "keys revoke" parameter --key-id requires an argument.', ["keys", "revoke"]),
    ],
)
def test_wrong_arguments_are_an_error_in_one_line(
    said: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    err = refusal(capsys, *arguments)
    assert err.startswith(f"Error: {said}")
    assert 1 == err.count("\n")


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ('Invalid value "inf" for ANTIPHON_HEARTBEAT_TIMEOUT.', "ANTIPHON_HEARTBEAT_TIMEOUT", "inf"),
        ('Invalid value for ANTIPHON_HEARTBEAT_TIMEOUT: unable to convert "x"', "ANTIPHON_HEARTBEAT_TIMEOUT", "x"),
        ('Invalid value for ANTIPHON_CTX_SIZE: "1e3" is not a whole number.', "ANTIPHON_CTX_SIZE", "1e3"),
        ('Invalid value for ANTIPHON_FLASH_ATTN: unable to convert "maybe"', "ANTIPHON_FLASH_ATTN", "maybe"),
        ('Invalid value "loud" for ANTIPHON_LOG_LEVEL. Choose from: "debug"', "ANTIPHON_LOG_LEVEL", "loud"),
    ],
)
def test_wrong_value_of_a_variable_is_an_error_in_one_line(
    said: str, name: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    err = refusal(capsys, "serve")
    assert err.startswith(f"Error: {said}")
    assert 1 == err.count("\n")


@pytest.mark.parametrize("command", ["serve", "chat", "models", "top"])
def test_no_command_runs_with_a_mistyped_variable(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_CTX_SIZ", "1024")
    expected = "Error: ANTIPHON_CTX_SIZ is no variable of Antiphon.\nDid you mean ANTIPHON_CTX_SIZE?\n"
    assert expected == refusal(capsys, command, status=1)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["serve", "--help"]])
def test_help_and_version_ignore_a_mistyped_variable(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_CTX_SIZ", "1024")
    main(arguments)
    assert "Error" not in capsys.readouterr().err


def every_option(app: App) -> Iterator[str]:
    for name in app:
        if not name.startswith("-"):
            yield from every_option(app[name])
    if app.default_command:
        for argument in app.assemble_argument_collection(parse_docstring=True):
            if argument.show:
                yield argument.name.lstrip("-").lower()


def test_variables_are_exactly_the_options_of_all_commands() -> None:
    assert {*every_option(create_cli(whole=True)), "cache-dir"} == config.OPTIONS


def imported(code: str) -> set[str]:
    """Return the modules of a process after it has run ``code``."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 (our own code)
    return set(done.stdout.split())


def test_only_the_command_that_runs_is_imported() -> None:
    modules = imported("from antiphon.cli import create_cli; create_cli()['keys']")
    assert "antiphon.cli.key_commands" in modules
    assert not {"antiphon.cli.serve", "antiphon.cli.chat", "antiphon.cli.bench"} & modules


def test_serve_starts_before_the_slow_imports() -> None:
    slow = {"antiphon.cli.serving", "sqlalchemy", "starlette", "numpy", "httpx2", "huggingface_hub"}
    assert not slow & imported("from antiphon.cli import create_cli; create_cli()['serve']")
