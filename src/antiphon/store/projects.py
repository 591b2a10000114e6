"""Projects: the owners of keys, stored completions and limits."""

import os
import time
from collections.abc import Callable

from msgspec import Struct
from sqlalchemy import Row, select

from antiphon.errors import NotFoundError
from antiphon.protocol.validation import shorten
from antiphon.store.database import Database
from antiphon.store.identifiers import RandomBytes, random_text
from antiphon.store.schema import projects

ID_LENGTH = 24


class Project(Struct, frozen=True, kw_only=True):
    """A project. ``created`` is in Unix seconds; several projects may have one name."""

    id: str
    name: str
    created: int


class ProjectStore:
    """The projects. Every method raises ServiceUnavailableError when the database fails."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        """``clock`` returns Unix seconds."""
        self._database = database
        self._clock = clock
        self._random_bytes = random_bytes

    async def create(self, name: str) -> Project:
        """Create a project."""
        project = Project(
            id=f"proj_{random_text(ID_LENGTH, self._random_bytes)}", name=name, created=int(self._clock())
        )
        values = {"id": project.id, "name": name, "created": project.created}
        await self._database.write(lambda connection: connection.execute(projects.insert(), values))
        return project

    async def get(self, project_id: str) -> Project:
        """Return a project. Raises NotFoundError."""
        statement = select(projects).where(projects.c.id == project_id)
        row = await self._database.read(lambda connection: connection.execute(statement).one_or_none())
        if row is None:
            raise NotFoundError(f"Project with id '{shorten(project_id)}' not found.", param="project_id")
        return _project(row)

    async def list(self) -> list[Project]:
        """Return all projects, the oldest first."""
        statement = select(projects).order_by(projects.c.created, projects.c.id)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [_project(row) for row in rows]


def _project(row: Row[*tuple[object, ...]]) -> Project:
    return Project(id=row.id, name=row.name, created=row.created)
