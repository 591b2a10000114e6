"""``antiphon db``: upgrades the database's schema, and checks the database for damage."""

from cyclopts import App

from antiphon.cli.open_database import with_database
from antiphon.cli.options import StorageFlags
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.store import migration
from antiphon.store.engines import DATABASE_FILE

db = App(name="db", help="Upgrade and check the database.")


@db.command
def upgrade(*, storage: StorageFlags | None = None) -> None:
    """Upgrade an empty or older database to this version's schema. ``serve`` does the same."""
    with display.progress("Upgrading the database"):
        with_database(storage, lambda database: database.upgrade())
    display.print_line(f"The schema is {migration.HEAD}.")


@db.command
def check(*, storage: StorageFlags | None = None) -> None:
    """Check the schema, the file and the references between rows. Fails when it finds damage."""
    _require_database(storage or StorageFlags())
    with display.progress("Checking the database"):
        problems = with_database(storage, lambda database: database.check())
    for problem in problems:
        display.print_line(problem)
    if problems:
        raise CommandError(f"Problems found: {len(problems)}.")
    display.print_line("The database is sound.")


def _require_database(storage: StorageFlags) -> None:
    """Raise CommandError for a folder without a database: opening it would create a sound, empty one."""
    if storage.database is None and not (storage.folder / DATABASE_FILE).is_file():
        raise CommandError(f"There is no database in {storage.folder}.", "Is --data-dir right?")
