import msgspec
import pytest

from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.routing.abilities import ALL_FIELDS, HONOURED_BY_SERVICE, NEUTRAL, missing_ability

REQUEST = CreateChatCompletion(messages=[UserMessage(content="Hi")], model="m")


def test_backend_with_all_fields_lacks_none() -> None:
    assert None is missing_ability(msgspec.structs.replace(REQUEST, seed=1, logprobs=True), ALL_FIELDS)


def test_a_field_that_is_set_and_not_honoured_is_missing() -> None:
    assert "seed" == missing_ability(msgspec.structs.replace(REQUEST, seed=0), ALL_FIELDS - {"seed"})


def test_a_field_that_is_absent_is_not_missing() -> None:
    assert None is missing_ability(REQUEST, ALL_FIELDS - {"seed"})


@pytest.mark.parametrize("field", sorted(HONOURED_BY_SERVICE))
def test_field_that_the_service_honours_needs_no_ability(field: str) -> None:
    values = {"metadata": {"a": "b"}, "messages": REQUEST.messages}
    asked = msgspec.structs.replace(REQUEST, **{field: values.get(field, True)})
    assert None is missing_ability(asked, frozenset())


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in NEUTRAL for value in NEUTRAL[field]])
def test_neutral_value_needs_no_ability(field: str, value: object) -> None:
    assert None is missing_ability(msgspec.structs.replace(REQUEST, **{field: value}), frozenset())


def test_neutral_values_belong_to_fields_of_the_request() -> None:
    assert set() == (NEUTRAL.keys() | HONOURED_BY_SERVICE) - ALL_FIELDS
