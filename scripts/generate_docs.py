"""Write the generated parts of the documentation; with --check, only name the stale ones.

Pages: docs/fields.md, docs/errors.md, docs/cli.md, docs/configuration.md, docs/tool-calls.md, and the table of fields
in README.md.
"""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from antiphon import config
from antiphon.chat_formats.chat_format import ToolNotation
from antiphon.chat_formats.foreign_notations import (
    ARGUMENTS_KEYS,
    FENCES,
    ID_KEYS,
    NAME_KEYS,
    NESTING_KEYS,
    TYPE_KEY,
    foreign_notations,
    is_foreign,
)
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.cli import create_cli
from antiphon.errors import APIError
from antiphon.protocol.fields import fields_markdown, fields_of

ROOT = Path(__file__).parent.parent
WIDTH = 100
MARKED = re.compile(r"(?<=<!-- fields -->\n).*?(?=<!-- /fields -->)", re.DOTALL)
BAR = "\\|"
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
TOOL_CALLS = """\
# Tool calls

{notice}

With `tool_choice: "auto"` the model writes text or calls. Calls in the notation of its own family begin anywhere in the
text. The other notations below count only at the start of an answer, after its reasoning: weak models use them. From
the name of a declared function on, the grammar admits only the call, with arguments that its schema admits. Anything
else is text: JSON that names no declared function, JSON further down, and a call that `max_completion_tokens` cuts
before its name. The history is always written in the notation of the model's own family.

Only the own notation is read

- with `tool_choice` `required` or named, which force it, and with a JSON `response_format`,
- in calls of custom tools,
- from a model whose family marks its content, such as harmony,
- with `serve --chat-format`, which chooses the family.

A call whose name and arguments equal those of an earlier call of the same message ends the message in its place, with
`finish_reason` `tool_calls`.

| At the start of an answer | Form |
| --- | --- |
{rows}

A `MARK` is one of {marks}.

Further calls may follow a call, on a line of their own, after a comma, or in a list, unless `parallel_tool_calls` is
false. An opening of the own family begins calls in the own notation alone. The notations of these families are not read
from other models, because they write each parameter by itself or an id beside the name: {others}.

| Own notation | Families |
| --- | --- |
{families}
"""


def pages() -> dict[str, str]:
    """Return the text of every page, by its path."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return {
        "docs/fields.md": fields_markdown(),
        "docs/errors.md": errors_page(),
        "docs/cli.md": cli_page(),
        "docs/configuration.md": configuration_page(),
        "docs/tool-calls.md": tool_calls_page(),
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


def tool_calls_page() -> str:
    """Return the page of the notations of tool calls that are read."""
    found = foreign_notations(ToolNotation(shape="object", triggers=()))
    choices = [" or ".join(f"`{key}`" for key in keys) for keys in (NAME_KEYS, NESTING_KEYS, ARGUMENTS_KEYS)]
    rows = [
        ("JSON", f"`{{KEY: NAME, ARGUMENTS_KEY: {{…}}}}`. KEY is {choices[0]}; ARGUMENTS_KEY is {choices[2]}"),
        ("JSON in an object", f'`{{KEY: {{"name": NAME, ARGUMENTS_KEY: {{…}}}}}}`. KEY is {choices[1]}'),
        ("Before the name", ", ".join(f"`{key}`" for key in (TYPE_KEY, *ID_KEYS))),
        ("A list of JSON calls", "`[CALL, CALL]`"),
        ("A call or a list in a fence", ", ".join(map(_shown, FENCES))),
        ("A mark of another family", "`MARK CALL`, `MARK[CALL, CALL]`"),
        *(("A call of another family", _shown(f"{one.opening}NAME{one.name_end}{{…}}")) for one in found.named),
    ]
    read = [name for name, one in TOOL_NOTATIONS.items() if is_foreign(one)]
    return TOOL_CALLS.format(
        notice=NOTICE,
        rows="\n".join(f"| {form} | {text.replace('|', BAR)} |" for form, text in rows),
        marks=", ".join(map(_shown, found.marks)),
        others=", ".join(f"`{name}`" for name in TOOL_NOTATIONS if name not in read),
        families="\n".join(_family_rows()),
    )


def _family_rows() -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for name, one in TOOL_NOTATIONS.items():
        names.setdefault(_shown(one.triggers[0]).replace("|", BAR), []).append(name)
    return (f"| {trigger} | {', '.join(families)} |" for trigger, families in names.items())


def _shown(text: str) -> str:
    """Return the text in one line as code."""
    line = text.replace("\n", "\\n")
    return f"`` {line} ``" if "`" in line else f"`{line}`"


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
