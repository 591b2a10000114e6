from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from antiphon.cli import create_cli, main
from antiphon.cli.options import EngineFlags, LimitFlags, RetentionFlags, ServerFlags, StorageFlags, TelemetryFlags
from antiphon.config import ServerOptions
from antiphon.console.command_error import CommandError
from antiphon.engine.interface import EngineOptions


def test_every_engine_option_has_a_flag_with_its_default() -> None:
    assert EngineOptions(model_path="m.gguf") == EngineFlags().options("m.gguf")
    assert {"model_path", *(field.name for field in fields(EngineFlags))} == set(EngineOptions.__struct_fields__)


def test_every_server_option_has_a_flag_with_its_default() -> None:
    assert ServerOptions() == ServerFlags().options()
    assert len(ServerOptions.__struct_fields__) == len(fields(ServerFlags))


def test_engine_flags_set_engine_options() -> None:
    options = EngineFlags(ctx_size=4096, flash_attn=False, use_mlock=True).options("m.gguf")
    assert (4096, False, True) == (options.ctx_size, options.flash_attn, options.use_mlock)


def test_server_flags_set_server_options() -> None:
    assert ("http://a", "http://b") == ServerFlags(cors_origin=("http://a", "http://b")).options().cors_origins
    assert ("a", "b") == ServerFlags(ignore_field=("a", "b")).options().ignored_fields
    assert ServerFlags(strict_messages=True).options().strict_messages


def test_default_folder_of_the_database_is_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert (None, Path("/x/antiphon")) == (StorageFlags().database, StorageFlags().folder)


def test_tilde_in_the_data_folder_is_expanded() -> None:
    assert Path.home() / "data" == StorageFlags(data_dir=Path("~/data")).folder


STORAGE_VARIABLES = {
    "ANTIPHON_DATABASE": "postgresql://127.0.0.1/x",
    "ANTIPHON_DATA_DIR": "/x",
    "ANTIPHON_RETENTION_DAYS": "1.5",
    "ANTIPHON_RETENTION_COUNT": "7",
    "ANTIPHON_PROJECT_REQUESTS_PER_MINUTE": "1",
    "ANTIPHON_PROJECT_TOKENS_PER_MINUTE": "2",
    "ANTIPHON_PROJECT_CONCURRENT_REQUESTS": "3",
    "ANTIPHON_KEY_REQUESTS_PER_MINUTE": "4",
    "ANTIPHON_KEY_TOKENS_PER_MINUTE": "5",
    "ANTIPHON_KEY_CONCURRENT_REQUESTS": "6",
    "ANTIPHON_END_USER_REQUESTS_PER_MINUTE": "7",
    "ANTIPHON_END_USER_CONCURRENT_REQUESTS": "8",
}


def test_environment_sets_storage_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STORAGE_VARIABLES.items():
        monkeypatch.setenv(name, value)
    _, bound, _ = create_cli().parse_args(["serve"])
    storage = RetentionFlags(
        database="postgresql://127.0.0.1/x", data_dir=Path("/x"), retention_days=1.5, retention_count=7
    )
    assert storage == bound.arguments["storage"]
    numbers = {field.name: number for number, field in enumerate(fields(LimitFlags), 1)}
    assert LimitFlags(**numbers) == bound.arguments["limits"]


def test_environment_sets_logs_and_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LOG_LEVEL", "debug")
    monkeypatch.setenv("ANTIPHON_LOG_JSON", "true")
    monkeypatch.setenv("ANTIPHON_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318")
    _, bound, _ = create_cli().parse_args(["serve"])
    expected = TelemetryFlags(log_level="debug", log_json=True, otlp_traces_endpoint="http://127.0.0.1:4318")
    assert expected == bound.arguments["telemetry"]


def parts(hint: object) -> set[object]:
    """Return a type and all types in it."""
    return {hint}.union(*map(parts, get_args(hint)))


def numbers(kind: type) -> Iterator[str]:
    """Yield command and name of each numeric option of one kind."""
    for command in ("serve", "top", "bench", "completions"):
        app = create_cli()[command]
        for each in (app["list"],) if command == "completions" else (app,):
            for argument in each.assemble_argument_collection():
                if kind in parts(argument.hint):
                    yield f"{command}{' list' if command == 'completions' else ''} {argument.name}"


WHOLE = list(numbers(int))
DURATIONS = list(numbers(float))


def test_lists_of_numeric_options_are_complete() -> None:
    assert {"serve --ctx-size", "bench --streams", "completions list --limit"} < set(WHOLE)
    assert {"serve --retention-days", "top --interval"} < set(DURATIONS)
    assert (25, 7) == (len(WHOLE), len(DURATIONS))


def refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the error of a value that must be refused before the command runs."""
    *command, name = option.split()
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([*command, *(["http://127.0.0.1:1"] if command == ["bench"] else []), f"{name}={value}"])
    assert 2 == caught.value.code
    said = capsys.readouterr().err
    assert said.startswith("Error: Invalid value")
    assert 1 == said.count("\n")
    return said


@pytest.mark.parametrize(
    "value", ["inf", "nan", "-2", "1e400", "5.5", "1e3", "0x10", "1_0", "9" * 30, "2147483648", ""]
)
@pytest.mark.parametrize("option", WHOLE)
def test_a_count_is_a_whole_number_of_32_bits(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option.rsplit(maxsplit=1)[-1] in refused(option, value, capsys)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "1e400", "1e18", "x", ""])
@pytest.mark.parametrize("option", DURATIONS)
def test_duration_is_finite(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option.rsplit(maxsplit=1)[-1] in refused(option, value, capsys)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("serve --ctx-size", "-1"),
        ("serve --port", "65536"),
        ("serve --max-num-seqs", "0"),
        ("serve --max-num-batched-tokens", "1048577"),
        ("serve --threads", "513"),
        ("serve --heartbeat-timeout", "0"),
        ("serve --retention-days", "0"),
        ("serve --retention-days", "36501"),
        ("serve --retention-count", "-1"),
        ("serve --key-tokens-per-minute", "0"),
    ],
)
def test_values_out_of_range_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option.rsplit(maxsplit=1)[-1] in refused(option, value, capsys)


@pytest.mark.parametrize("value", ["0", "1.5", "1e3", "3153600000"])
def test_duration_within_its_bounds_is_accepted(value: str) -> None:
    _, bound, _ = create_cli().parse_args(["serve", "--drain-timeout", value])
    assert float(value) == bound.arguments["server"].drain_timeout


def test_a_step_must_hold_a_token_of_every_sequence() -> None:
    with pytest.raises(CommandError, match="--max-num-seqs 513 is more than --max-num-batched-tokens 512"):
        EngineFlags(max_num_seqs=513)
    assert 513 == EngineFlags(max_num_seqs=513, max_num_batched_tokens=513).options("m.gguf").max_num_seqs
