"""The ``antiphon`` command, put together from its subcommands."""

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App
from cyclopts.config import Dict

from antiphon import __version__, config
from antiphon.cli.display import print_error
from antiphon.cli.errors import CommandError

COMMANDS: Final = {
    "serve": "antiphon.cli.serve:serve",
    "chat": "antiphon.cli.chat:chat",
    "models": "antiphon.cli.models:models",
    "top": "antiphon.cli.top:top",
    "completions": "antiphon.cli.completions:completions",
    "projects": "antiphon.cli.projects:projects",
    "keys": "antiphon.cli.keys:keys",
    "db": "antiphon.cli.database:db",
    "bench": "antiphon.cli.bench:bench",
}
"""Where each command is; only the one that is given is imported."""

HELP = """Serve the Chat Completions API from models on your own machine.

Every option can also be set in the environment: --ctx-size is ANTIPHON_CTX_SIZE. Downloaded models lie in
ANTIPHON_CACHE_DIR, by default in the antiphon folder of the XDG cache folder; the database in --data-dir.
"""


def create_cli(*, whole: bool = False) -> App:
    """Build the command line; the environment's options are read now, commands when they are first asked for.

    Help on all of them needs the ``whole`` of them imported.
    """
    environment = Dict(config.option_values(), source="the environment", use_commands_as_keys=False, allow_unknown=True)
    cli = App(name="antiphon", help=HELP, version=__version__, config=environment, result_action="return_value")
    for name, path in COMMANDS.items():
        cli.command(path, name=name)
    for name in COMMANDS if whole else ():
        _ = cli[name]
    return cli


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments (by default the process's own) name, and exit with its status."""
    first = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    cli = create_cli(whole=first not in COMMANDS)
    try:
        cli(arguments)
    except CommandError as error:
        print_error(error.message, error.advice)
        sys.exit(1)
