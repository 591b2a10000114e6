from pathlib import Path

import pytest

from antiphon.cli import create_cli
from antiphon.store import migration
from tests.cli.commands import on_database, output, refusal, run
from tests.conftest import Installed
from tests.databases import Site


def execute(site: Site, statement: str) -> None:
    on_database(site, lambda database: database.write(lambda connection: connection.exec_driver_sql(statement)))


def test_upgrade_fills_an_empty_database(empty_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"The schema is {migration.HEAD}.\n" == output(capsys, empty_site, "db", "upgrade")
    assert "The database is sound.\n" == output(capsys, empty_site, "db", "check")


def test_second_upgrade_keeps_the_rows(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    execute(site, "INSERT INTO projects (id, name, created) VALUES ('proj_1', 'Kept', 1)")
    run(site, "db", "upgrade")
    assert "proj_1\tKept\t" in output(capsys, site, "projects", "list")


def test_a_check_does_not_upgrade(empty_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    on_database(empty_site, lambda database: database.check())
    assert "Problems found: 1." == refusal(empty_site, "db", "check")
    assert f"The schema is missing; this version's is {migration.HEAD}.\n" == capsys.readouterr().out


def test_check_of_a_folder_without_a_database_fails_and_creates_none(tmp_path: Path) -> None:
    folder = tmp_path / "mistyped"
    assert f"There is no database in {folder}. Is --data-dir right?" == refusal(Site(None, folder), "db", "check")
    assert not folder.exists()


def test_check_prints_one_line_for_each_problem(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    execute(
        site,
        "INSERT INTO completions (project_id, id, created, model, status, message_count, metadata, body)"
        " VALUES ('default', 'chatcmpl-1', 1, 'tiny', 'completed', 2, '{}', 'nonsense')",
    )
    assert "Problems found: 2." == refusal(site, "db", "check")
    assert ["Completion chatcmpl-1 cannot be read.", "Completion chatcmpl-1 lacks messages."] == sorted(
        capsys.readouterr().out.splitlines()
    )


def test_a_newer_database_is_not_upgraded(site: Site) -> None:
    execute(site, "UPDATE antiphon_schema SET version_num = '9999'")
    assert "newer version of Antiphon has upgraded this database" in refusal(site, "db", "upgrade")


def test_environment_sets_the_database(
    dialect: str, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = {
        "sqlite": ("ANTIPHON_DATA_DIR", str(site.data_dir)),
        "postgresql": ("ANTIPHON_DATABASE", str(site.url)),
    }[dialect]
    execute(site, "INSERT INTO projects (id, name, created) VALUES ('proj_1', 'Seen', 1)")
    monkeypatch.setenv(name, value)
    create_cli()(["projects", "list"])
    assert "\tSeen\t" in capsys.readouterr().out


def test_installed_command_upgrades_and_checks(installed: Installed, tmp_path: Path) -> None:
    upgraded = installed.run("db", "upgrade", "--data-dir", str(tmp_path / "new"))
    assert (0, f"The schema is {migration.HEAD}.\n") == (upgraded.returncode, upgraded.stdout)
    checked = installed.run("db", "check", "--data-dir", str(tmp_path / "new"))
    assert (0, "The database is sound.\n") == (checked.returncode, checked.stdout)
