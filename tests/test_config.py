from pathlib import Path

import pytest

from antiphon.config import (
    OPTIONS,
    OTLP_PROTOCOL,
    ServerOptions,
    VariableError,
    cache_dir,
    data_dir,
    has_trace_collector,
    option_values,
    otlp_protocol,
    variable,
)


@pytest.mark.parametrize("option", ["ctx-size", "--ctx-size"])
def test_every_option_has_a_variable(option: str) -> None:
    assert "ANTIPHON_CTX_SIZE" == variable(option)


def test_variables_become_option_values() -> None:
    assert {"ctx-size": "2048"} == option_values({"ANTIPHON_CTX_SIZE": "2048", "CTX_SIZE": "1"})


def test_an_empty_variable_is_absent() -> None:
    assert {} == option_values({"ANTIPHON_PORT": ""})


def test_variable_of_a_repeatable_option_is_split_like_a_shell_command() -> None:
    assert {"model": ["a=x.gguf", "b=my file.gguf"]} == option_values({"ANTIPHON_MODEL": "a=x.gguf 'b=my file.gguf'"})


def test_single_value_of_a_repeatable_variable_is_text() -> None:
    assert {"model": "my file.gguf"} == option_values({"ANTIPHON_MODEL": "'my file.gguf'"})


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_HOST", "::1")
    assert "::1" == option_values()["host"]


def test_cache_folder_is_in_the_xdg_cache_folder() -> None:
    assert cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/antiphon")


@pytest.mark.parametrize("relative", ["", "here"])
def test_a_relative_xdg_folder_is_ignored(relative: str) -> None:
    assert cache_dir({"XDG_CACHE_HOME": relative}) == Path.home() / ".cache" / "antiphon"


def test_the_cache_folder_can_be_chosen() -> None:
    assert cache_dir({"ANTIPHON_CACHE_DIR": "~/models", "XDG_CACHE_HOME": "/x"}) == Path.home() / "models"


def test_data_folder_is_in_the_xdg_data_folder() -> None:
    assert data_dir({"XDG_DATA_HOME": "/x"}) == Path("/x/antiphon")


@pytest.mark.parametrize("relative", ["", "here"])
def test_a_relative_xdg_data_folder_is_ignored(relative: str) -> None:
    assert data_dir({"XDG_DATA_HOME": relative}) == Path.home() / ".local" / "share" / "antiphon"


def test_data_folder_comes_from_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert data_dir() == Path("/x/antiphon")


def test_filters_by_metadata_are_split_as_a_shell_would() -> None:
    assert {"metadata": ["a=b", "c=d e"]} == option_values({"ANTIPHON_METADATA": "a=b 'c=d e'"})


@pytest.mark.parametrize(
    ("suggested", "name"),
    [
        ("ANTIPHON_CTX_SIZE", "ANTIPHON_CTX_SIZ"),
        ("ANTIPHON_HEARTBEAT_TIMEOUT", "ANTIPHON_HEARTBEAT_TIMOUT"),
        ("ANTIPHON_MMAP", "ANTIPHON_USE_MMAP"),
        ("ANTIPHON_FLASH_ATTN", "ANTIPHON_NO_FLASH_ATTN"),
        ("ANTIPHON_THREADS", "ANTIPHON_THREAD"),
        ("docs/configuration.md", "ANTIPHON_XYZZY"),
        ("docs/configuration.md", "ANTIPHON_"),
    ],
)
def test_misspelt_variable_is_an_error_that_suggests_the_nearest_name(suggested: str, name: str) -> None:
    with pytest.raises(VariableError, match=f"{name} is no variable") as caught:
        option_values({name: "1", "ANTIPHON_PORT": "1"})
    assert suggested in caught.value.advice


def test_misspelt_variable_without_a_value_is_ignored() -> None:
    assert {} == option_values({"ANTIPHON_CTX_SIZ": ""})


def test_variables_for_tests_are_ignored() -> None:
    assert {"port": "1"} == option_values({"ANTIPHON_TEST_KILLS": "50", "ANTIPHON_PORT": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTIPHON_SERVICE_HOST", "10.0.0.1"),
        ("ANTIPHON_SERVICE_PORT", "8000"),
        ("ANTIPHON_SERVICE_PORT_HTTP", "8000"),
        ("ANTIPHON_PORT", "tcp://10.0.0.1:8000"),
        ("ANTIPHON_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("ANTIPHON_PORT_8000_TCP_PROTO", "tcp"),
        ("ANTIPHON_CANARY_SERVICE_HOST", "10.0.0.1"),
        ("ANTIPHON_CANARY_PORT", "udp://10.0.0.1:8000"),
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_are_ignored(name: str, value: str) -> None:
    assert {} == option_values({name: value})


@pytest.mark.parametrize("value", ["'a", 'a"', "a\\"])
def test_unbalanced_quotes_are_an_error_that_names_the_variable(value: str) -> None:
    with pytest.raises(VariableError, match="ANTIPHON_MODEL cannot be read"):
        option_values({"ANTIPHON_MODEL": value})


def test_no_option_has_a_name_that_is_ignored() -> None:
    names = {variable(option): "1" for option in OPTIONS}
    assert OPTIONS == set(option_values(names))


def test_default_is_loopback_without_cors() -> None:
    options = ServerOptions()
    assert ("127.0.0.1", ()) == (options.host, options.cors_origins)


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
def test_traces_are_requested_by_naming_a_collector(*, expected: bool, environ: dict[str, str]) -> None:
    assert expected is has_trace_collector(environ)


def test_traces_protocol_variable_overrides_the_general_one() -> None:
    general = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert (OTLP_PROTOCOL, "grpc") == (otlp_protocol({}), otlp_protocol(general))
    assert "http/json" == otlp_protocol(general | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"})
