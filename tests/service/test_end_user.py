import hashlib

import pytest

from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.service.end_user import end_user_name


def name(project: str = "p", *, safety_identifier: str | None = None, user: str | None = None) -> str | None:
    request = CreateChatCompletion(
        messages=[UserMessage(content="Hi")], model="m", safety_identifier=safety_identifier, user=user
    )
    return end_user_name(project, request)


def test_the_name_is_the_beginning_of_a_hash_over_project_and_identifier() -> None:
    assert hashlib.sha256(b"p\0ada@example.com").hexdigest()[:16] == name(user="ada@example.com")


def test_name_of_one_identifier_differs_between_projects() -> None:
    assert name("p", user="ada") != name("q", user="ada")


def test_safety_identifier_overrides_the_user() -> None:
    assert name(safety_identifier="ada") == name(safety_identifier="ada", user="bob") != name(user="bob")


def test_an_empty_safety_identifier_counts_as_absent() -> None:
    assert name(user="bob") == name(safety_identifier="", user="bob")


@pytest.mark.parametrize("identifier", [None, ""])
def test_without_an_identifier_there_is_no_name(identifier: str | None) -> None:
    assert name(safety_identifier=identifier, user=identifier) is None
