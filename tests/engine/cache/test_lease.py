"""A running sequence's hold on the KV memory; that its counts are the memory's is for test_kv_cache."""

from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.radix_tree import Node


def test_its_length_is_what_is_shared_and_what_it_owns() -> None:
    lease = Lease("", 1, Node(None, 0, [], None), 5)
    lease.owned, lease.reserved = 3, 7
    assert 8 == lease.length


def test_it_goes_through_every_node_above_its_own_and_no_other() -> None:
    root = Node(None, 0, [], None)
    upper = Node(root, 0, [1, 2], 1)
    lower, beside = Node(upper, 2, [3], 2), Node(upper, 2, [4], 3)
    lease = Lease("", 4, lower, 3)
    assert [True, True, False] == [lease.goes_through(node) for node in (upper, lower, beside)]
