import pytest

from antiphon.cli.open_database import with_storage
from antiphon.cli.options import StorageFlags
from antiphon.cli.project_commands import find_project
from antiphon.store.projects import Project
from tests.cli.commands import output, refusal, run, table
from tests.databases import Site


def found(site: Site, wanted: str) -> Project:
    flags = StorageFlags(database=site.url, data_dir=site.data_dir)
    return with_storage(flags, lambda storage: find_project(storage, wanted))


def test_created_project_is_listed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    identifier = output(capsys, site, "projects", "create", "My team").strip()
    rows = table(capsys, site, "projects", "list")
    assert [("default", "Default project"), (identifier, "My team")] == [(row["id"], row["name"]) for row in rows]


def test_project_is_found_by_id_and_by_name(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    identifier = output(capsys, site, "projects", "create", "team").strip()
    assert (identifier, identifier) == (found(site, identifier).id, found(site, "team").id)


def test_id_has_precedence_over_name(site: Site) -> None:
    run(site, "projects", "create", "default")
    assert "Default project" == found(site, "default").name


def test_name_of_two_projects_is_refused(site: Site) -> None:
    for _ in range(2):
        run(site, "projects", "create", "twin")
    assert "2 projects are called twin. Use the id: antiphon projects list" == refusal(
        site, "keys", "list", "--project", "twin"
    )


def test_error_of_a_missing_project_names_the_command_that_creates_it(site: Site) -> None:
    expected = "There is no project my team. Create it: antiphon projects create 'my team'"
    assert expected == refusal(site, "keys", "create", "--project", "my team")
