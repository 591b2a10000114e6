"""The ``antiphon`` command, put together from its subcommands."""

import re
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, ArgumentCollection, CycloptsError
from cyclopts.config import Dict

from antiphon import __version__, config
from antiphon.console.command_error import CommandError
from antiphon.console.display import print_error

COMMANDS: Final = {
    "serve": "antiphon.cli.serve:serve",
    "chat": "antiphon.cli.chat:chat",
    "models": "antiphon.cli.models:models",
    "top": "antiphon.cli.top:top",
    "completions": "antiphon.cli.completion_commands:completions",
    "projects": "antiphon.cli.project_commands:projects",
    "keys": "antiphon.cli.key_commands:keys",
    "db": "antiphon.cli.database_commands:db",
    "bench": "antiphon.cli.bench:bench",
}
"""Where each command is; only the one that is given is imported."""

HELP = """Serve the Chat Completions API from models on your own machine.

Every option can also be set in the environment: --ctx-size is ANTIPHON_CTX_SIZE; a variable that no option has is
an error. Downloaded models lie in
ANTIPHON_CACHE_DIR, by default in the antiphon folder of the XDG cache folder; the database in --data-dir.
"""


_IN_ENVIRONMENT: Final = re.compile(r"(?<=for )\[([\w-]+)\](?:(?: provided by| from) the environment)?")
"""How cyclopts calls what :func:`set_options` gave it."""


def create_cli(*, whole: bool = False) -> App:
    """Build the command line; commands are imported when they are first asked for.

    Help on all of them needs the ``whole`` of them imported.
    """
    cli = App(name="antiphon", help=HELP, version=__version__, config=set_options, result_action="return_value")
    for name, path in COMMANDS.items():
        cli.command(path, name=name)
    for name in COMMANDS if whole else ():
        _ = cli[name]
    return cli


def set_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Set the options of a command that the command line does not, from the environment. Raises CommandError."""
    try:
        values = config.option_values()
    except config.VariableError as error:
        raise CommandError(error.message, error.advice) from error
    environment = Dict(values, source="the environment", use_commands_as_keys=False, allow_unknown=True)
    environment(app, commands, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments (by default the process's own) name, and exit with its status.

    1: the command could not do its work; 2: it was not called as it is to be called.
    """
    first = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    cli = create_cli(whole=first not in COMMANDS)
    try:
        cli(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print_error(in_one_line(error))
        sys.exit(2)
    except CommandError as error:
        print_error(error.message, error.advice)
        sys.exit(1)


def in_one_line(error: CycloptsError) -> str:
    """Say what is wrong with how a command was called, by the names that the caller knows."""
    text = _IN_ENVIRONMENT.sub(lambda found: config.variable(found[1]), str(error))
    return " ".join(text.split())
