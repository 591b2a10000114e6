"""The ``antiphon`` command, put together from its subcommands."""

import sys
from collections.abc import Sequence

from cyclopts import App
from cyclopts.config import Dict

from antiphon import __version__, config
from antiphon.cli.bench import bench as bench_command
from antiphon.cli.chat import chat as chat_command
from antiphon.cli.completions import completions
from antiphon.cli.database import db
from antiphon.cli.display import print_error
from antiphon.cli.errors import CommandError
from antiphon.cli.keys import keys
from antiphon.cli.models import models as models_command
from antiphon.cli.projects import projects
from antiphon.cli.serve import serve as serve_command
from antiphon.cli.top import top as top_command

HELP = """Serve the Chat Completions API from models on your own machine.

Every option can also be set in the environment: --ctx-size is ANTIPHON_CTX_SIZE. Downloaded models lie in
ANTIPHON_CACHE_DIR, by default in the antiphon folder of the XDG cache folder; the database in --data-dir.
"""


def create_cli() -> App:
    """Build the command line; the environment's options are read now."""
    environment = Dict(config.option_values(), source="the environment", use_commands_as_keys=False, allow_unknown=True)
    cli = App(name="antiphon", help=HELP, version=__version__, config=environment, result_action="return_value")
    for command in (serve_command, chat_command, models_command, top_command, completions, projects, keys, db):
        cli.command(command)
    cli.command(bench_command)
    return cli


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments (by default the process's own) name, and exit with its status."""
    try:
        create_cli()(arguments)
    except CommandError as error:
        print_error(error.message, error.advice)
        sys.exit(1)
