"""Write the generated parts of the documentation; with --check, only name the stale ones.

Pages: docs/fields.md, docs/errors.md, docs/cli.md, docs/configuration.md, and the table of fields in README.md.
"""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from antiphon import config
from antiphon.cli import create_cli
from antiphon.errors import APIError
from antiphon.protocol.fields import fields_markdown, fields_of

ROOT = Path(__file__).parent.parent
WIDTH = 100
MARKED = re.compile(r"(?<=<!-- fields -->\n).*?(?=<!-- /fields -->)", re.DOTALL)
NOTICE = "Written by `make docs` from the code; a test fails when this page is stale."

ERRORS = """\
# Errors

Generated from `antiphon.errors`. {notice}

Every error has the reference's shape, `{{"error": {{"message", "type", "param", "code"}}}}`. `param` is a path such as
`messages[0].role`, or null. The codes below are the defaults; a refused value has a more specific one, such as
`missing_required_parameter`, `unknown_parameter`, `invalid_type` or `context_length_exceeded`. An error after the
beginning of a stream is sent as an event with the same body, and the stream ends without `[DONE]`. A stream begins with
its first chunk, or without one after `--stream-headers-after` seconds.

| Status | `type` | `code` | When |
| --- | --- | --- | --- |
{rows}
"""
CONFIGURATION = """\
# Configuration

{notice}

Every option of the command line has a variable in the environment; the command line takes precedence. The variable of a
repeatable option has values separated by blanks, quoted as in a shell. An unknown variable that begins with `ANTIPHON_`
is an error, which names the nearest known one. The server ignores variables that begin with `ANTIPHON_TEST_`, and the
variables that Kubernetes sets for a service whose name begins with `antiphon`.

| Option | Variable | Default | Meaning | Commands |
| --- | --- | --- | --- | --- |
{rows}

Downloaded models are stored in `{cache_dir}`; default: `antiphon` in `XDG_CACHE_HOME`, else in `~/.cache`.
`huggingface_hub` reads the hub's variables (`HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`).
"""


def pages() -> dict[str, str]:
    """Return the text of every page, by its path."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return {
        "docs/fields.md": fields_markdown(),
        "docs/errors.md": errors_page(),
        "docs/cli.md": cli_page(),
        "docs/configuration.md": configuration_page(),
        "README.md": MARKED.sub(lambda _: fields_summary(), readme),
    }


def fields_summary() -> str:
    """Return the table of the request's top-level fields: honoured ones and refused ones."""
    top = [field for field in fields_of("request") if "." not in field.path and "[" not in field.path]
    rows = {
        "Honoured": [field.path for field in top if field.status == "honoured" and not field.extension],
        "Honoured extensions": [field.path for field in top if field.status == "honoured" and field.extension],
        "Refused by name": [field.path for field in top if field.status == "refused" and not field.extension],
    }
    lines = [f"| {title} | {', '.join(f'`{name}`' for name in names)} |" for title, names in rows.items() if names]
    return "\n".join(["", "| | Request fields |", "| --- | --- |", *lines, "", ""])


def errors_page() -> str:
    """Return the page of the errors."""
    rows = [f"| {error.status} | `{error.type}` | {_code(error)} | {_summary(error)} |" for error in _errors(APIError)]
    return ERRORS.format(notice=NOTICE, rows="\n".join(sorted(rows)))


def _errors(base: type[APIError]) -> Iterator[type[APIError]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


def _code(error: type[APIError]) -> str:
    return f"`{error.code}`" if error.code else "by the value"


def _summary(error: type[APIError]) -> str:
    first = (error.__doc__ or "").splitlines()[0]
    return re.sub(r" \(\d{3}.*\)(?=\.$)", "", first.replace("``", "`"))


def cli_page() -> str:
    """Return the page with the help of every command."""
    cli = create_cli(whole=True)
    sections = ["# Command line", "", NOTICE, "", "```text", _help(cli), "```"]
    for path, _ in commands(cli):
        sections += ["", f"{'#' * (len(path) + 1)} antiphon {' '.join(path)}", "", "```text", _help(cli, *path), "```"]
    return "\n".join([*sections, ""])


def commands(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Yield every command and group, with the words that call it."""
    for name in app:
        if not name.startswith("-"):
            yield (*path, name), app[name]
            yield from commands(app[name], (*path, name))


def _help(cli: App, *command: str) -> str:
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=False, color_system=None, legacy_windows=False)
    cli.help_print(command, console=console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().strip().splitlines())


def configuration_page() -> str:
    """Return the page of all options with their variables and defaults."""
    rows: dict[str, list[str]] = {}
    for path, command in commands(create_cli(whole=True)):
        for row in _option_rows(command) if command.default_command else ():
            rows.setdefault(row, []).append(" ".join(path))
    lines = [f"{row} {', '.join(names)} |" for row, names in rows.items()]
    return CONFIGURATION.format(notice=NOTICE, rows="\n".join(lines), cache_dir=config.variable("cache-dir"))


def _option_rows(command: App) -> Iterator[str]:
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show:
            help_text = " ".join((argument.parameter.help or "").split()).replace("|", "\\|").replace("``", "`")
            default = argument.field_info.default
            shown = "" if default in (None, (), "", argument.field_info.empty) else f"`{_written(default)}`"
            yield f"| `{argument.name}` | `{config.variable(argument.name)}` | {shown} | {help_text} |"


def _written(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def stale() -> list[str]:
    """Return the pages that differ from the code."""
    return [path for path, text in pages().items() if not _same(ROOT / path, text)]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main() -> None:
    """Write the stale pages; with --check, exit with their names."""
    paths = stale()
    if "--check" in sys.argv[1:]:
        sys.exit(f"Stale: {', '.join(paths)}. Run make docs." if paths else 0)
    for path, text in pages().items():
        if path in paths:
            (ROOT / path).parent.mkdir(exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
