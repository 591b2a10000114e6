import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.cli.key_commands import MAX_DURATION, parse_duration, state
from antiphon.console.command_error import CommandError
from antiphon.errors import AuthenticationError
from antiphon.store.keys import APIKey, KeyStore, Principal
from tests.cli.commands import on_database, output, refusal, run, table
from tests.conftest import Installed
from tests.databases import Site

NOW = 1_000_000


def principal(site: Site, text: str) -> Principal:
    return on_database(site, lambda database: KeyStore(database).authenticate(text))


def key(*, expires_at: int | None = None, revoked_at: int | None = None) -> APIKey:
    return APIKey(
        id="key_1",
        project_id="default",
        name="",
        scopes=("read",),
        created=1,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def test_new_key_may_read_and_write(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, site, "keys", "create", "laptop").strip()
    made = principal(site, text)
    assert ("default", ["read", "write"]) == (made.project_id, sorted(made.scopes))


def test_key_is_created_for_a_project_and_scopes(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    project = output(capsys, site, "projects", "create", "team").strip()
    text = output(capsys, site, "keys", "create", "--project", "team", "--scope", "admin", "--scope", "read").strip()
    made = principal(site, text)
    assert (project, ["admin", "read"]) == (made.project_id, sorted(made.scopes))


def test_stdout_has_only_the_key(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    run(site, "keys", "create", "laptop")
    shown = capsys.readouterr()
    assert shown.out.startswith("sk-antiphon-")
    assert 1 == shown.out.count("\n")
    assert "Not shown again" in shown.err
    assert shown.out.strip() not in shown.err


def test_keys_are_listed_without_their_texts(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, site, "keys", "create", "laptop", "--scope", "read").strip()
    (row,) = table(capsys, site, "keys", "list")
    assert ("laptop", "default", "read", "valid") == (row["name"], row["project"], row["scopes"], row["state"])
    assert text not in "".join(row.values())


def test_list_shows_the_keys_of_one_project(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    run(site, "projects", "create", "team")
    for name, project in (("mine", "default"), ("theirs", "team")):
        run(site, "keys", "create", name, "--project", project)
    assert ["theirs"] == [row["name"] for row in table(capsys, site, "keys", "list", "--project", "team")]


def test_expired_key_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, site, "keys", "create", "--expires", "0s").strip()
    with pytest.raises(AuthenticationError, match="expired"):
        principal(site, text)


def test_list_shows_the_expiry_of_a_key(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    run(site, "keys", "create", "--expires", "10w")
    (row,) = table(capsys, site, "keys", "list")
    assert time.strftime("valid until %Y-%m-%d", time.gmtime(time.time() + 10 * 7 * 86400)) == row["state"][:22]


def test_revoked_key_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, site, "keys", "create").strip()
    identifier = table(capsys, site, "keys", "list")[0]["id"]
    assert f"{identifier} is revoked.\n" == output(capsys, site, "keys", "revoke", identifier)
    with pytest.raises(AuthenticationError, match="revoked"):
        principal(site, text)


def test_rotation_replaces_the_text_of_a_key(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    old = output(capsys, site, "keys", "create").strip()
    identifier = table(capsys, site, "keys", "list")[0]["id"]
    new = output(capsys, site, "keys", "rotate", identifier).strip()
    assert identifier == principal(site, new).key_id
    with pytest.raises(AuthenticationError):
        principal(site, old)


def test_old_text_of_a_key_works_during_the_grace(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    old = output(capsys, site, "keys", "create").strip()
    identifier = table(capsys, site, "keys", "list")[0]["id"]
    run(site, "keys", "rotate", identifier, "--grace", "1d")
    assert identifier == principal(site, old).key_id


def test_a_revoked_key_cannot_be_rotated(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    run(site, "keys", "create")
    identifier = table(capsys, site, "keys", "list")[0]["id"]
    run(site, "keys", "revoke", identifier)
    assert "A key that is revoked or expired cannot be rotated." == refusal(site, "keys", "rotate", identifier)


@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_missing_key_is_not_found(command: str, site: Site) -> None:
    assert "API key with id 'key_x' not found." == refusal(site, "keys", command, "key_x")


def test_an_unknown_scope_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(site, "keys", "create", "--scope", "delete")
    assert "--scope" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("45", 45), ("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600), ("0s", 0)],
)
def test_duration_is_parsed_to_seconds(text: str, expected: int) -> None:
    assert expected == parse_duration(text)


@pytest.mark.parametrize("text", ["", "d", "-1d", "1y", "1.5d", "1 d", "1d2h", "\u0661d"])
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(0, MAX_DURATION))
def test_expiry_after_every_duration_can_be_formatted(number: int) -> None:
    end = int(time.time()) + parse_duration(f"{number // 60}m")
    assert state(key(expires_at=end), -1).startswith("valid until 2")


@pytest.mark.parametrize("text", ["36501d", "5215w", "999999999w"])
def test_duration_over_100_years_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"more than 100 years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (key(), "valid"),
        (key(expires_at=NOW + 1), "valid until 1970-01-12 13:46"),
        (key(expires_at=NOW), "expired 1970-01-12 13:46"),
        (key(expires_at=NOW, revoked_at=NOW), "revoked 1970-01-12 13:46"),
    ],
)
def test_state_of_a_key_is_valid_expired_or_revoked(shown: APIKey, expected: str) -> None:
    assert expected == state(shown, NOW)


def test_installed_command_creates_keys(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("keys", "create", "laptop", ANTIPHON_DATA_DIR=str(tmp_path), ANTIPHON_EXPIRES="1d")
    assert (0, "sk-antiphon-") == (done.returncode, done.stdout[:12])
    listed = installed.run("keys", "list", ANTIPHON_DATA_DIR=str(tmp_path))
    assert "\tlaptop\tdefault\tread write\t" in listed.stdout
    assert "\tvalid until " in listed.stdout
