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


def test_a_project_is_made_and_listed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    identifier = output(capsys, site, "projects", "create", "My team").strip()
    rows = table(capsys, site, "projects", "list")
    assert [("default", "Default project"), (identifier, "My team")] == [(row["id"], row["name"]) for row in rows]


def test_a_project_is_found_by_its_id_and_by_its_name(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    identifier = output(capsys, site, "projects", "create", "team").strip()
    assert (identifier, identifier) == (found(site, identifier).id, found(site, "team").id)


def test_an_id_goes_before_a_name(site: Site) -> None:
    run(site, "projects", "create", "default")
    assert "Default project" == found(site, "default").name


def test_a_name_that_two_projects_have_is_refused(site: Site) -> None:
    for _ in range(2):
        run(site, "projects", "create", "twin")
    assert "2 projects are called twin. Give the id: antiphon projects list" == refusal(
        site, "keys", "list", "--project", "twin"
    )


def test_a_project_that_is_not_there_is_told_with_the_command_that_makes_it(site: Site) -> None:
    expected = "There is no project my team. Make it: antiphon projects create 'my team'"
    assert expected == refusal(site, "keys", "create", "--project", "my team")
