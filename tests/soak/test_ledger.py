import json
import random

from soak.invariants import Request
from soak.ledger import Ledger, LedgerEntry, compare
from tests.soak.answers import DONE, PATH, choice, chunk, error, reply, request, stream, whole

RANDOM = random.Random(0)  # noqa: S311 (nothing secret)
STORING = request(store=True, metadata={"a": "b"})


def acknowledged() -> tuple[Ledger, LedgerEntry]:
    ledger = Ledger()
    ledger.acknowledge(STORING, whole())
    kept = ledger.borrow(RANDOM)
    assert kept is not None
    return ledger, kept


def stored(content: str = "Hi", metadata: object = None) -> bytes:
    return json.dumps({"choices": [choice(content)], "metadata": {"a": "b"} if metadata is None else metadata}).encode()


def about(kind: str, body: bytes = b"") -> Request:
    return Request(kind=kind, method="GET", path=PATH, body=body)


def test_ledger_has_only_complete_stored_answers() -> None:
    ledger = Ledger()
    ledger.acknowledge(request(), whole())
    ledger.acknowledge(STORING, error(503))
    ledger.acknowledge(request(store=True, stream=True), stream(chunk("Hi")))
    assert [] == ledger.kept
    ledger.acknowledge(request(store=True, stream=True), stream(chunk("Hi"), chunk(finish_reason="stop"), DONE))
    assert ["Hi"] == [kept.said[0].content for kept in ledger.kept]
    assert 1 == ledger.acknowledged


def test_borrowed_completion_cannot_be_borrowed_again() -> None:
    ledger, kept = acknowledged()
    assert ledger.borrow(RANDOM) is None
    ledger.give_back(kept)
    assert [kept] == ledger.kept


def test_unchanged_completion_is_not_lost() -> None:
    _, kept = acknowledged()
    assert [] == compare(kept, stored())
    assert [] == compare(kept, stored())


def test_changed_content_is_a_loss() -> None:
    _, kept = acknowledged()
    assert [] != compare(kept, stored("Ho"))


def test_changed_metadata_is_a_loss() -> None:
    _, kept = acknowledged()
    assert [] != compare(kept, stored(metadata={}))


def test_changed_bytes_are_a_loss() -> None:
    _, kept = acknowledged()
    assert [] == compare(kept, stored())
    assert [] != compare(kept, stored() + b" ")


def test_completion_that_is_not_found_is_lost() -> None:
    _, kept = acknowledged()
    assert [] != Ledger.follow(kept, about("retrieve"), error(404))


def test_update_changes_the_expected_metadata() -> None:
    _, kept = acknowledged()
    update = about("update", b'{"metadata": {"c": "d"}}')
    assert [] == Ledger.follow(kept, update, reply(200, stored(metadata={"c": "d"})))
    assert [] != Ledger.follow(kept, about("retrieve"), reply(200, stored()))


def test_update_without_an_effect_is_a_loss() -> None:
    _, kept = acknowledged()
    assert [] != Ledger.follow(kept, about("update", b'{"metadata": {"c": "d"}}'), reply(200, stored()))


def test_failed_operation_does_not_change_the_ledger() -> None:
    _, kept = acknowledged()
    assert [] == Ledger.follow(kept, about("delete"), error(503))
    assert not kept.deleted


def test_deleted_completion_is_listed_as_deleted() -> None:
    ledger, kept = acknowledged()
    assert [] == Ledger.follow(kept, about("delete"), reply())
    ledger.give_back(kept)
    assert ([], [kept]) == (ledger.kept, ledger.deleted)
