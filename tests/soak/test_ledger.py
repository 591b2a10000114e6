import json
import random

from soak.invariants import Asked
from soak.ledger import Kept, Ledger, compare
from tests.soak.answers import DONE, PATH, asked, choice, chunk, error, reply, stream, whole

RANDOM = random.Random(0)  # noqa: S311 (nothing secret)
STORING = asked(store=True, metadata={"a": "b"})


def acknowledged() -> tuple[Ledger, Kept]:
    ledger = Ledger()
    ledger.acknowledge(STORING, whole())
    kept = ledger.borrow(RANDOM)
    assert kept is not None
    return ledger, kept


def stored(content: str = "Hi", metadata: object = None) -> bytes:
    return json.dumps({"choices": [choice(content)], "metadata": {"a": "b"} if metadata is None else metadata}).encode()


def about(kind: str, body: bytes = b"") -> Asked:
    return Asked(kind=kind, method="GET", path=PATH, body=body)


def test_only_answers_that_were_stored_and_ended_well_are_noted() -> None:
    ledger = Ledger()
    ledger.acknowledge(asked(), whole())
    ledger.acknowledge(STORING, error(503))
    ledger.acknowledge(asked(store=True, stream=True), stream(chunk("Hi")))
    assert [] == ledger.kept
    ledger.acknowledge(asked(store=True, stream=True), stream(chunk("Hi"), chunk(finish_reason="stop"), DONE))
    assert ["Hi"] == [kept.said[0].content for kept in ledger.kept]
    assert 1 == ledger.acknowledged


def test_what_is_borrowed_is_nobody_elses() -> None:
    ledger, kept = acknowledged()
    assert ledger.borrow(RANDOM) is None
    ledger.give_back(kept)
    assert [kept] == ledger.kept


def test_what_is_stored_as_it_was_said_is_not_lost() -> None:
    _, kept = acknowledged()
    assert [] == compare(kept, stored())
    assert [] == compare(kept, stored())


def test_other_words_are_a_loss() -> None:
    _, kept = acknowledged()
    assert [] != compare(kept, stored("Ho"))


def test_other_metadata_are_a_loss() -> None:
    _, kept = acknowledged()
    assert [] != compare(kept, stored(metadata={}))


def test_other_bytes_than_before_are_a_loss() -> None:
    _, kept = acknowledged()
    assert [] == compare(kept, stored())
    assert [] != compare(kept, stored() + b" ")


def test_what_is_not_found_is_lost() -> None:
    _, kept = acknowledged()
    assert [] != Ledger.follow(kept, about("retrieve"), error(404))


def test_an_update_changes_what_is_expected() -> None:
    _, kept = acknowledged()
    update = about("update", b'{"metadata": {"c": "d"}}')
    assert [] == Ledger.follow(kept, update, reply(200, stored(metadata={"c": "d"})))
    assert [] != Ledger.follow(kept, about("retrieve"), reply(200, stored()))


def test_an_update_that_is_not_there_is_a_loss() -> None:
    _, kept = acknowledged()
    assert [] != Ledger.follow(kept, about("update", b'{"metadata": {"c": "d"}}'), reply(200, stored()))


def test_an_operation_that_failed_changes_nothing() -> None:
    _, kept = acknowledged()
    assert [] == Ledger.follow(kept, about("delete"), error(503))
    assert not kept.deleted


def test_what_was_deleted_is_remembered_as_deleted() -> None:
    ledger, kept = acknowledged()
    assert [] == Ledger.follow(kept, about("delete"), reply())
    ledger.give_back(kept)
    assert ([], [kept]) == (ledger.kept, ledger.deleted)
