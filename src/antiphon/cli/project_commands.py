"""``antiphon projects``: creates and lists the owners of keys and stored completions."""

import shlex

from cyclopts import App

from antiphon.cli.open_database import with_storage
from antiphon.cli.options import StorageFlags
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.service.storage import Storage
from antiphon.store.projects import Project, ProjectStore

projects = App(name="projects", help="Create and list projects.")


@projects.command
def create(name: str, *, storage: StorageFlags | None = None) -> None:
    """Create a project and print its id.

    Parameters
    ----------
    name
        A name for people.
    """
    project = with_storage(storage, lambda opened: ProjectStore(opened.database).create(name))
    display.print_line(project.id)


@projects.command(name="list")
def list_projects(*, storage: StorageFlags | None = None) -> None:
    """List the projects, the oldest first."""
    rows = with_storage(storage, lambda opened: ProjectStore(opened.database).list())
    display.print_table(("id", "name", "created"), [(row.id, row.name, display.moment(row.created)) for row in rows])


async def find_project(storage: Storage, wanted: str) -> Project:
    """Find a project by its id, or by its name if no other has the same. Raises :class:`CommandError`."""
    found = await ProjectStore(storage.database).list()
    matches = [row for row in found if row.id == wanted] or [row for row in found if row.name == wanted]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise CommandError(f"{len(matches)} projects are called {wanted}.", "Use the id: antiphon projects list")
    raise CommandError(f"There is no project {wanted}.", f"Create it: antiphon projects create {shlex.quote(wanted)}")
