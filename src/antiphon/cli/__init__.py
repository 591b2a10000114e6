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
"""The path of each command's function; only the command that runs is imported."""

HELP = """Serve the Chat Completions API from models on your own machine.

Every option can also be set in the environment: --ctx-size is ANTIPHON_CTX_SIZE. An unknown variable is an error.
Downloaded models are stored in ANTIPHON_CACHE_DIR, by default antiphon in the XDG cache folder; the database is in
--data-dir.
"""


_IN_ENVIRONMENT: Final = re.compile(r"(?<=for )\[([\w-]+)\](?:(?: provided by| from) the environment)?")
"""The words in which cyclopts names the source that :func:`set_options` gives an option."""


def create_cli(*, whole: bool = False) -> App:
    """Build the command line. A command is imported at its first use.

    ``whole`` imports all of them, as the help on all commands needs.
    """
    cli = App(name="antiphon", help=HELP, version=__version__, config=set_options, result_action="return_value")
    for name, path in COMMANDS.items():
        cli.command(path, name=name)
    for name in COMMANDS if whole else ():
        _ = cli[name]
    return cli


def set_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Set from the environment the options that the command line leaves out. Raises :class:`CommandError`."""
    try:
        values = config.option_values()
    except config.VariableError as error:
        raise CommandError(error.message, error.advice) from error
    environment = Dict(values, source="the environment", use_commands_as_keys=False, allow_unknown=True)
    environment(app, commands, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default that of the process's own arguments.

    Exits with status 1 when the command fails, and with 2 when its arguments are wrong.
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
    """Return the error in one line; an option set in the environment goes by its variable's name."""
    text = _IN_ENVIRONMENT.sub(lambda found: config.variable(found[1]), str(error))
    return " ".join(text.split())
