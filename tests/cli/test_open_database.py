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
from antiphon.cli.options import KeepFlags, LimitFlags, StorageFlags
from antiphon.console.command_error import CommandError
from antiphon.errors import NotFoundError
from antiphon.service.maintenance import Retention
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.limits import UNLIMITED, Limits
from tests.cli.commands import on_database
from tests.databases import Site


def test_a_command_gets_the_database_upgraded(tmp_path: Path) -> None:
    async def problems(storage: Storage) -> list[str]:
        return await storage.database.check()

    assert [] == with_storage(StorageFlags(data_dir=tmp_path), problems)


def test_a_command_may_get_the_database_as_it_is(tmp_path: Path) -> None:
    async def problems(database: Database) -> list[str]:
        return await database.check()

    (problem,) = with_database(StorageFlags(data_dir=tmp_path), problems)
    assert "The schema is missing" in problem


def test_the_folder_is_the_data_folder_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Storage) -> None:
        pass

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with_storage(None, nothing)
    assert (tmp_path / "antiphon" / DATABASE_FILE).is_file()


def test_what_the_store_refuses_is_told_in_a_sentence(tmp_path: Path) -> None:
    async def refuse(_: Storage) -> None:
        raise NotFoundError("There is no such thing.")

    with pytest.raises(CommandError, match=r"^There is no such thing\.$"):
        with_storage(StorageFlags(data_dir=tmp_path), refuse)


@pytest.mark.parametrize("open_with", [with_storage, with_database])
def test_an_address_of_another_database_is_refused(open_with: object) -> None:
    assert callable(open_with)
    with pytest.raises(CommandError, match="must begin with postgresql://"):
        open_with(StorageFlags(database="mysql://127.0.0.1/x"), None)


def test_a_newer_database_is_refused(site: Site) -> None:
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
def test_every_option_has_help_and_the_database_can_be_chosen(group: str, command: str) -> None:
    arguments = create_cli()[group][command].assemble_argument_collection(parse_docstring=True)
    shown = [argument for argument in arguments if argument.show]
    assert {"--database", "--data-dir"} <= {argument.name for argument in shown}
    assert [] == [argument.name for argument in shown if not argument.parameter.help]


def test_everything_is_kept_for_ever_unless_told() -> None:
    assert Retention() == retention(KeepFlags())


def test_retention_reaches_the_store_in_its_units() -> None:
    assert Retention(max_age=43_200, max_count=0) == retention(KeepFlags(retention_days=0.5, retention_count=0))


def test_there_are_no_rate_limits_unless_told() -> None:
    assert [UNLIMITED] * 3 == [of(LimitFlags()) for of in (project_limits, key_limits, end_user_limits)]


def test_rate_limits_reach_project_key_and_end_user() -> None:
    names = [field.name for field in fields(LimitFlags)]
    flags = LimitFlags(**{name: number for number, name in enumerate(names, 1)})
    assert Limits(requests_per_minute=1, tokens_per_minute=2, concurrent_requests=3) == project_limits(flags)
    assert Limits(requests_per_minute=4, tokens_per_minute=5, concurrent_requests=6) == key_limits(flags)
    assert Limits(requests_per_minute=7, concurrent_requests=8) == end_user_limits(flags)
