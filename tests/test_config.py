from pathlib import Path

import pytest

from antiphon.config import (
    OTLP_PROTOCOL,
    ServerOptions,
    cache_dir,
    data_dir,
    names_collector,
    option_values,
    otlp_protocol,
    variable,
)


@pytest.mark.parametrize("option", ["ctx-size", "--ctx-size"])
def test_every_option_has_a_variable(option: str) -> None:
    assert variable(option) == "ANTIPHON_CTX_SIZE"


def test_variables_become_option_values() -> None:
    assert option_values({"ANTIPHON_CTX_SIZE": "2048", "CTX_SIZE": "1"}) == {"ctx-size": "2048"}


def test_an_empty_variable_is_absent() -> None:
    assert option_values({"ANTIPHON_PORT": ""}) == {}


def test_repeatable_options_are_split_as_a_shell_would() -> None:
    assert option_values({"ANTIPHON_MODEL": "a=x.gguf 'b=my file.gguf'"}) == {"model": ["a=x.gguf", "b=my file.gguf"]}


def test_a_lone_value_suits_an_option_that_takes_one() -> None:
    assert option_values({"ANTIPHON_MODEL": "'my file.gguf'"}) == {"model": "my file.gguf"}


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_HOST", "::1")
    assert option_values()["host"] == "::1"


def test_the_cache_lies_in_the_xdg_folder() -> None:
    assert cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/antiphon")


@pytest.mark.parametrize("relative", ["", "here"])
def test_a_relative_xdg_folder_is_ignored(relative: str) -> None:
    assert cache_dir({"XDG_CACHE_HOME": relative}) == Path.home() / ".cache" / "antiphon"


def test_the_cache_folder_can_be_chosen() -> None:
    assert cache_dir({"ANTIPHON_CACHE_DIR": "~/models", "XDG_CACHE_HOME": "/x"}) == Path.home() / "models"


def test_the_database_lies_in_the_xdg_folder() -> None:
    assert data_dir({"XDG_DATA_HOME": "/x"}) == Path("/x/antiphon")


@pytest.mark.parametrize("relative", ["", "here"])
def test_a_relative_xdg_data_folder_is_ignored(relative: str) -> None:
    assert data_dir({"XDG_DATA_HOME": relative}) == Path.home() / ".local" / "share" / "antiphon"


def test_the_process_environment_says_where_the_database_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert data_dir() == Path("/x/antiphon")


def test_filters_by_metadata_are_split_as_a_shell_would() -> None:
    assert option_values({"ANTIPHON_METADATA": "a=b 'c=d e'"}) == {"metadata": ["a=b", "c=d e"]}


def test_the_server_listens_on_loopback_without_cors_unless_told() -> None:
    options = ServerOptions()
    assert (options.host, options.cors_origins) == ("127.0.0.1", ())


@pytest.mark.parametrize(
    ("expected", "environ"),
    [
        (False, {}),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}),
        (True, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}),
        (True, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "True"}),
        (False, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}),
    ],
)
def test_traces_are_asked_for_by_naming_a_collector(*, expected: bool, environ: dict[str, str]) -> None:
    assert expected is names_collector(environ)


def test_the_narrower_variable_names_the_protocol_of_traces() -> None:
    general = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert (OTLP_PROTOCOL, "grpc") == (otlp_protocol({}), otlp_protocol(general))
    assert "http/json" == otlp_protocol(general | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"})
