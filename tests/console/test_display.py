import io
import json
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from antiphon.console import display
from tests.scripted_engine import MODEL_INFO


def test_curl_line_is_one_valid_shell_line() -> None:
    line = display.curl_line("http://127.0.0.1:8000", "it's")
    command, silent, url, header, kind, data, body = shlex.split(line)
    assert ("curl", "-s", "http://127.0.0.1:8000/v1/chat/completions") == (command, silent, url)
    assert ("-H", "Content-Type: application/json", "-d") == (header, kind, data)
    assert "it's" == json.loads(body)["model"]
    assert "\n" not in line


def test_curl_line_sends_the_key_of_the_environment() -> None:
    line = display.curl_line("http://127.0.0.1:8000", "m", key=True)
    assert "Authorization: Bearer $ANTIPHON_API_KEY" in shlex.split(line)
    assert '"Authorization: Bearer $ANTIPHON_API_KEY"' in line, "in quotes that let a shell put the key in"


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
def test_base_url_reaches_the_server_on_its_own_machine(host: str, url: str) -> None:
    assert url == display.base_url(host, 80)


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(12, "12 B"), (1536, "1.5 KiB"), (96576768, "92.1 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_size_is_formatted_with_binary_units(n_bytes: int, text: str) -> None:
    assert text == display.size(n_bytes)


@pytest.mark.parametrize(("number", "text"), [(7, "7"), (134_515_008, "134.5M"), (8_030_261_248, "8.0B")])
def test_count_is_formatted_with_decimal_suffixes(number: int, text: str) -> None:
    assert text == display.count(number)


def test_panel_shows_the_model_and_its_settings() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(display.model_panel("[bold]", Path("m.gguf"), MODEL_INFO))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for expected in ("[bold]", "m.gguf", "scripted", "1024 tokens", "8 sequences", "1 decoding", "GPU layers", "off"):
        assert expected in text


def test_line_is_written_without_markup_and_wrapping(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red] :smile: " + "x" * 300
    display.print_line(text)
    assert (text + "\n", "") == tuple(capsys.readouterr())


def test_answer_in_a_pipe_keeps_every_character() -> None:
    console = Console(file=io.StringIO())
    display.write_piece(console, "[b] :smile: \x1b[2J\n")
    assert isinstance(console.file, io.StringIO)
    assert "[b] :smile: \x1b[2J\n" == console.file.getvalue()


def test_answer_on_a_terminal_has_no_control_characters() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    display.write_piece(console, "a\x1b]0;title\x07b\n\tc :smile:")
    assert isinstance(console.file, io.StringIO)
    assert "a]0;titleb\n" in console.file.getvalue()
    assert "c :smile:" in console.file.getvalue()


def test_error_and_advice_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_error("No [model].", "Name one.")
    assert ("", "Error: No [model].\nName one.\n") == tuple(capsys.readouterr())


def test_progress_without_a_terminal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with display.progress("Loading"):
        pass
    assert ("", "Loading\n") == tuple(capsys.readouterr())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stdout and stderr one terminal of 60 columns without colours; call it in the test, after pytest's set-up."""
    screen = Terminal()
    for name, value in (("COLUMNS", "60"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_table_in_a_pipe_has_columns_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_table(("id", "name"), [("1", "a\tb\nc"), ("2", "[red] " + "x" * 200)])
    assert ["id\tname", "1\ta b c", "2\t[red] " + "x" * 200] == capsys.readouterr().out.splitlines()


def test_empty_table_in_a_pipe_has_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_table(("id", "name"), [])
    assert "id\tname\n" == capsys.readouterr().out


def test_table_on_a_terminal_has_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    display.print_table(("id", "name"), [("1", "[red]\x1b]0;title\x07 \x9b2J")])
    assert "[red]]0;title 2J" in terminal.getvalue()


def test_ids_are_not_wrapped_and_other_columns_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    display.print_table(("id", "name"), [("x" * 40, "y" * 80)])
    assert "x" * 40 in terminal.getvalue()
    assert 80 == terminal.getvalue().count("y")


def test_moment_is_formatted_in_utc() -> None:
    assert "2026-11-21 05:30" == display.moment(1795239059.9)


def test_bar_on_a_terminal_shows_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with display.bar("Exporting", 3) as advance:
        advance()
        advance()
    assert "Exporting" in terminal.getvalue()
    assert "2/3" in terminal.getvalue()


def test_bar_without_a_terminal_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with display.bar("Exporting", 1) as advance:
        advance()
    assert ("", "") == tuple(capsys.readouterr())
