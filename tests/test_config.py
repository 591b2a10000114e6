from pathlib import Path

import pytest

from antiphon.config import (
    OPTIONS,
    OTLP_PROTOCOL,
    ServerOptions,
    VariableError,
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
def test_a_mistyped_variable_is_an_error_that_names_the_nearest(suggested: str, name: str) -> None:
    with pytest.raises(VariableError, match=f"{name} is no variable") as caught:
        option_values({name: "1", "ANTIPHON_PORT": "1"})
    assert suggested in caught.value.advice


def test_a_mistyped_variable_without_a_value_is_absent() -> None:
    assert {} == option_values({"ANTIPHON_CTX_SIZ": ""})


def test_variables_of_the_tests_are_not_options() -> None:
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
def test_what_kubernetes_sets_for_a_service_is_no_option(name: str, value: str) -> None:
    assert {} == option_values({name: value})


@pytest.mark.parametrize("value", ["'a", 'a"', "a\\"])
def test_values_that_no_shell_reads_are_an_error_that_names_the_variable(value: str) -> None:
    with pytest.raises(VariableError, match="ANTIPHON_MODEL cannot be read"):
        option_values({"ANTIPHON_MODEL": value})


def test_no_option_takes_a_name_that_is_left_to_others() -> None:
    names = {variable(option): "1" for option in OPTIONS}
    assert OPTIONS == set(option_values(names))


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
