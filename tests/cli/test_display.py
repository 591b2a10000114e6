import io
import json
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from antiphon.cli import display
from tests.scripted_engine import MODEL_INFO


def test_the_curl_line_is_one_line_that_a_shell_reads() -> None:
    line = display.curl_line("http://127.0.0.1:8000", "it's")
    command, silent, url, header, kind, data, body = shlex.split(line)
    assert ("curl", "-s", "http://127.0.0.1:8000/v1/chat/completions") == (command, silent, url)
    assert ("-H", "Content-Type: application/json", "-d") == (header, kind, data)
    assert json.loads(body)["model"] == "it's"
    assert "\n" not in line


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 (never bound)
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("example", "http://example:80"),
    ],
)
def test_the_address_can_be_reached_from_the_machine_itself(host: str, url: str) -> None:
    assert url == display.base_url(host, 80)


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(12, "12 B"), (1536, "1.5 KiB"), (96576768, "92.1 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes(n_bytes: int, text: str) -> None:
    assert text == display.size(n_bytes)


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (134_515_008, "134.5M"), (8_030_261_248, "8.0B")])
def test_counts(number: int, text: str) -> None:
    assert text == display.count(number)


def test_the_panel_says_what_runs_and_how() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(display.model_panel("[bold]", Path("m.gguf"), MODEL_INFO))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for expected in ("[bold]", "m.gguf", "scripted", "1024 tokens", "8 sequences", "1 decoding", "GPU layers", "off"):
        assert expected in text


def test_a_line_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red] :smile: " + "x" * 300
    display.print_line(text)
    assert (text + "\n", "") == tuple(capsys.readouterr())


def test_a_pipe_gets_every_character_of_an_answer() -> None:
    console = Console(file=io.StringIO())
    display.write_piece(console, "[b] :smile: \x1b[2J\n")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "[b] :smile: \x1b[2J\n"


def test_a_terminal_gets_no_control_characters_of_the_model() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    display.write_piece(console, "a\x1b]0;title\x07b\n\tc :smile:")
    assert isinstance(console.file, io.StringIO)
    assert "a]0;titleb\n" in console.file.getvalue()
    assert "c :smile:" in console.file.getvalue()


def test_errors_go_to_stderr_with_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_error("No [model].", "Name one.")
    assert ("", "Error: No [model].\nName one.\n") == tuple(capsys.readouterr())


def test_progress_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with display.progress("Loading"):
        pass
    assert ("", "Loading\n") == tuple(capsys.readouterr())
