import json

from antiphon.protocol.requests import Metadata
from antiphon.protocol.stored import decode_update
from antiphon.server.stored_operations import stored_paths


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for methods in stored_paths().values() for operation in methods.values()]
    assert 5 == len(names) == len(set(names))


def test_the_parameters_in_the_path_are_described() -> None:
    for path, methods in stored_paths().items():
        for operation in methods.values():
            in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert ({"completion_id"} if "{completion_id}" in path else set()) == in_path


def test_the_example_of_an_update_is_one() -> None:
    operation = stored_paths()["/v1/chat/completions/{completion_id}"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    expected: Metadata = {"topic": "colours"}
    assert expected == decode_update(json.dumps(example).encode()).metadata
