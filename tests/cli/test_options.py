from dataclasses import fields
from pathlib import Path

import pytest

from antiphon.cli import create_cli
from antiphon.cli.options import EngineFlags, KeepFlags, LimitFlags, ServerFlags, StorageFlags, TelemetryFlags
from antiphon.config import ServerOptions
from antiphon.engine.interface import EngineOptions


def test_every_engine_option_is_on_the_command_line_with_its_default() -> None:
    assert EngineOptions(model_path="m.gguf") == EngineFlags().options("m.gguf")
    assert {"model_path", *(field.name for field in fields(EngineFlags))} == set(EngineOptions.__struct_fields__)


def test_every_server_option_is_on_the_command_line_with_its_default() -> None:
    assert ServerOptions() == ServerFlags().options()
    assert len(ServerOptions.__struct_fields__) == len(fields(ServerFlags))


def test_options_reach_the_engine() -> None:
    options = EngineFlags(ctx_size=4096, flash_attn=False, use_mlock=True).options("m.gguf")
    assert (4096, False, True) == (options.ctx_size, options.flash_attn, options.use_mlock)


def test_options_reach_the_server() -> None:
    assert ("http://a", "http://b") == ServerFlags(cors_origin=("http://a", "http://b")).options().cors_origins


def test_the_database_lies_in_the_data_folder_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert (None, Path("/x/antiphon")) == (StorageFlags().database, StorageFlags().folder)


def test_the_data_folder_may_be_in_the_home_folder() -> None:
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
}


def test_the_environment_says_what_is_kept_and_what_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STORAGE_VARIABLES.items():
        monkeypatch.setenv(name, value)
    _, bound, _ = create_cli().parse_args(["serve"])
    keep = KeepFlags(database="postgresql://127.0.0.1/x", data_dir=Path("/x"), retention_days=1.5, retention_count=7)
    assert keep == bound.arguments["storage"]
    numbers = {field.name: number for number, field in enumerate(fields(LimitFlags), 1)}
    assert LimitFlags(**numbers) == bound.arguments["limits"]


def test_the_environment_says_what_is_logged_and_where_traces_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_LOG_LEVEL", "debug")
    monkeypatch.setenv("ANTIPHON_LOG_JSON", "true")
    monkeypatch.setenv("ANTIPHON_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318")
    _, bound, _ = create_cli().parse_args(["serve"])
    expected = TelemetryFlags(log_level="debug", log_json=True, otlp_traces_endpoint="http://127.0.0.1:4318")
    assert expected == bound.arguments["telemetry"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ctx-size", "-1"],
        ["--port", "65536"],
        ["--max-num-seqs", "0"],
        ["--n-gpu-layers", "-2"],
        ["--threads", "x"],
        ["--retention-days", "0"],
        ["--retention-count", "-1"],
        ["--key-tokens-per-minute", "0"],
    ],
)
def test_values_out_of_range_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        create_cli()(["serve", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err
