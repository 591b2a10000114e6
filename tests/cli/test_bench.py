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


def test_one_server_is_measured(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    document = found(capsys, server.url, *SOME)
    assert [{"address": f"127.0.0.1:{server.port}", "model": MODEL}] == document["servers"]
    assert [(1, 0, None, "")] * 5 == [
        (len(line["measured"]), len(line["beside"]), line["ratio"], line["failure"]) for line in document["lines"]
    ]


def test_two_servers_are_compared(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = found(capsys, server.url, f"{server.url}/v1", "--only", "conversations")["lines"]
    assert line["ratio"] == line["measured"][0] / line["beside"][0]


def test_a_line_is_measured_in_every_round(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    bench(server.url, "--quick", "--rounds", "3", "--only", "n", "--json")
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert 3 == len(line["measured"])


def test_a_line_that_fails_is_told_and_the_others_go_on(
    server: Server, refusing: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = found(capsys, server.url, refusing.url, "--only", "n", "--only", "schema")["lines"]
    assert [True] * 2 == ["not now" in line["failure"] for line in lines]


def test_a_pipe_gets_a_table_of_tabs(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    bench(server.url, *QUICKLY, "--only", "n")
    titles, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert ["work", "measured"] == titles[:2]
    assert "n = 3, 90-token prompt" == row[0]
    assert row[1].endswith(" ms")


def test_only_standard_fields_are_sent(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert [""] == [line["failure"] for line in found(capsys, server.url, "--only", "schema")["lines"]]


def test_streams_have_a_line_each() -> None:
    works = [row.work for row in choose_rows(rows_of(QUICK, [1, 2]), ["decode"])]
    assert ["throughput, 1 stream", "throughput, 2 streams"] == works


def test_all_lines_are_measured_unless_some_are_named() -> None:
    rows = rows_of(QUICK, [1])
    assert rows == choose_rows(rows, [])
    assert ["n", "schema"] == [row.name for row in choose_rows(rows, ["schema", "n"])]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Give one address or two, not 0."),
        (("http://a", "http://b", "http://c"), "Give one address or two, not 3."),
        (("http://a", "--only", "speed"), "There is no line speed. Lines: decode, first-token"),
        (("example", "--model", "m"), "example is no address."),
        (("http://127.0.0.1:1",), "cannot be reached"),
        (("http://a", "--model", "m", "--model", "m"), "--model was given 2 times for 1 servers."),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: tuple[str, ...], said: str) -> None:
    assert said in refusal(*arguments)


@pytest.mark.anyio
async def test_a_second_model_or_key_is_the_other_server_s() -> None:
    urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    targets = await find_targets(urls, ["a", "b"], ["k"])
    assert [("a", "k", 1), ("b", "k", 2)] == [(target.model, target.api_key, target.port) for target in targets]
