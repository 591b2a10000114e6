import json
from collections.abc import Iterator
from typing import Any

import pytest

from antiphon.cli import create_cli
from antiphon.cli.bench import choose_rows, find_targets, rows_of
from antiphon.console.command_error import CommandError
from antiphon.errors import RateLimitError
from antiphon.load_testing.workloads import QUICK
from tests.load_testing.test_workloads import endless
from tests.scripted_engine import ScriptedEngine
from tests.server.conftest import MODEL, Server, _quiet_log, served  # noqa: F401 (a fixture that quiets the server)

QUICKLY = ("--quick", "--rounds", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served(ScriptedEngine(endless)) as server:
        yield server


@pytest.fixture
def refusing() -> Iterator[Server]:
    with served(ScriptedEngine(refusal=RateLimitError("not now"))) as server:
        yield server


def bench(*arguments: str) -> None:
    create_cli()(["bench", *arguments])


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    bench(*arguments, *QUICKLY, "--json")
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        bench(*arguments)
    return f"{caught.value.message} {caught.value.advice}"


SOME = ("--only", "first-token", "--only", "gaps", "--only", "conversations", "--only", "n", "--only", "schema")


def test_measurement_of_one_server_has_no_baseline(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    document = found(capsys, server.url, *SOME)
    assert [{"address": f"127.0.0.1:{server.port}", "model": MODEL}] == document["servers"]
    assert [(1, 0, None, "")] * 5 == [
        (len(line["measured"]), len(line["baseline"]), line["ratio"], line["failure"]) for line in document["lines"]
    ]


def test_ratio_of_two_servers_is_first_over_second(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = found(capsys, server.url, f"{server.url}/v1", "--only", "conversations")["lines"]
    assert line["ratio"] == line["measured"][0] / line["baseline"][0]


def test_each_round_adds_one_value(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    bench(server.url, "--quick", "--rounds", "3", "--only", "n", "--json")
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert 3 == len(line["measured"])


def test_failed_line_shows_its_error_and_the_others_are_measured(
    server: Server, refusing: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = found(capsys, server.url, refusing.url, "--only", "n", "--only", "schema")["lines"]
    assert [True] * 2 == ["not now" in line["failure"] for line in lines]


def test_table_in_a_pipe_is_separated_by_tabs(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    bench(server.url, *QUICKLY, "--only", "n")
    titles, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert ["work", "measured"] == titles[:2]
    assert "n = 3, 90-token prompt" == row[0]
    assert row[1].endswith(" ms")


def test_workload_needs_only_standard_fields(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert [""] == [line["failure"] for line in found(capsys, server.url, "--only", "schema")["lines"]]


def test_each_number_of_streams_has_its_line() -> None:
    works = [row.work for row in choose_rows(rows_of(QUICK, [1, 2]), ["decode"])]
    assert ["throughput, 1 stream", "throughput, 2 streams"] == works


def test_only_limits_the_lines() -> None:
    rows = rows_of(QUICK, [1])
    assert rows == choose_rows(rows, [])
    assert ["n", "schema"] == [row.name for row in choose_rows(rows, ["schema", "n"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Name one address or two, not 0."),
        (("http://a", "http://b", "http://c"), "Name one address or two, not 3."),
        (("http://a", "--only", "speed"), "There is no line speed. Lines: decode, first-token"),
        (("example", "--model", "m"), "example is not an address."),
        (("http://127.0.0.1:1",), "cannot be reached"),
        (("http://a", "--model", "m", "--model", "m"), "--model was given 2 times for 1 servers."),
    ],
)
def test_invalid_arguments_are_refused(arguments: tuple[str, ...], message: str) -> None:
    assert message in refusal(*arguments)


@pytest.mark.anyio
async def test_second_model_belongs_to_the_second_server_and_one_key_to_both() -> None:
    urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    targets = await find_targets(urls, ["a", "b"], ["k"])
    assert [("a", "k", 1), ("b", "k", 2)] == [(target.model, target.api_key, target.port) for target in targets]
