from dataclasses import fields
from pathlib import Path

import pytest

from antiphon.cli import create_cli
from antiphon.cli.open_database import (
    end_user_limits,
    key_limits,
    project_limits,
    retention,
    with_database,
    with_storage,
)
from antiphon.cli.options import LimitFlags, RetentionFlags, StorageFlags
from antiphon.console.command_error import CommandError
from antiphon.errors import NotFoundError
from antiphon.service.maintenance import Retention
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.limits import UNLIMITED, Limits
from tests.cli.commands import on_database
from tests.databases import Site


def test_with_storage_upgrades_the_database(tmp_path: Path) -> None:
    async def problems(storage: Storage) -> list[str]:
        return await storage.database.check()

    assert [] == with_storage(StorageFlags(data_dir=tmp_path), problems)


def test_with_database_does_not_upgrade(tmp_path: Path) -> None:
    async def problems(database: Database) -> list[str]:
        return await database.check()

    (problem,) = with_database(StorageFlags(data_dir=tmp_path), problems)
    assert "The schema is missing" in problem


def test_default_folder_is_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Storage) -> None:
        pass

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with_storage(None, nothing)
    assert (tmp_path / "antiphon" / DATABASE_FILE).is_file()


def test_error_of_the_store_is_a_command_error(tmp_path: Path) -> None:
    async def refuse(_: Storage) -> None:
        raise NotFoundError("There is no such thing.")

    with pytest.raises(CommandError, match=r"^There is no such thing\.$"):
        with_storage(StorageFlags(data_dir=tmp_path), refuse)


@pytest.mark.parametrize("open_with", [with_storage, with_database])
def test_address_of_another_kind_of_database_is_refused(open_with: object) -> None:
    assert callable(open_with)
    with pytest.raises(CommandError, match="must begin with postgresql://"):
        open_with(StorageFlags(database="mysql://127.0.0.1/x"), None)


def test_database_of_a_newer_version_is_refused(site: Site) -> None:
    async def nothing(_: Storage) -> None:
        pass

    statement = "UPDATE antiphon_schema SET version_num = '9999'"
    on_database(site, lambda database: database.write(lambda connection: connection.exec_driver_sql(statement)))
    with pytest.raises(CommandError, match="newer version of Antiphon"):
        with_storage(StorageFlags(database=site.url, data_dir=site.data_dir), nothing)


@pytest.mark.parametrize(
    ("group", "command"),
    [
        *(("completions", command) for command in ("list", "show", "export")),
        *(("keys", command) for command in ("create", "list", "revoke", "rotate")),
        *(("projects", command) for command in ("create", "list")),
        *(("db", command) for command in ("upgrade", "check")),
    ],
)
def test_every_option_has_help_and_every_command_has_the_database_options(group: str, command: str) -> None:
    arguments = create_cli()[group][command].assemble_argument_collection(parse_docstring=True)
    shown = [argument for argument in arguments if argument.show]
    assert {"--database", "--data-dir"} <= {argument.name for argument in shown}
    assert [] == [argument.name for argument in shown if not argument.parameter.help]


def test_default_retention_is_unlimited() -> None:
    assert Retention() == retention(RetentionFlags())


def test_retention_days_become_seconds() -> None:
    assert Retention(max_age=43_200, max_count=0) == retention(RetentionFlags(retention_days=0.5, retention_count=0))


def test_default_has_no_rate_limits() -> None:
    assert [UNLIMITED] * 3 == [of(LimitFlags()) for of in (project_limits, key_limits, end_user_limits)]


def test_each_limit_option_sets_its_limit() -> None:
    names = [field.name for field in fields(LimitFlags)]
    flags = LimitFlags(**{name: number for number, name in enumerate(names, 1)})
    assert Limits(requests_per_minute=1, tokens_per_minute=2, concurrent_requests=3) == project_limits(flags)
    assert Limits(requests_per_minute=4, tokens_per_minute=5, concurrent_requests=6) == key_limits(flags)
    assert Limits(requests_per_minute=7, concurrent_requests=8) == end_user_limits(flags)
