"""Tests of the lease alone; test_kv_cache_machine.py compares its counts with the memory."""

from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.radix_tree import Node


def test_length_of_a_lease_is_its_shared_and_owned_cells() -> None:
    lease = Lease("", 1, Node(None, 0, [], None), 5)
    lease.owned, lease.reserved = 3, 7
    assert 8 == lease.length


def test_lease_shares_its_node_and_every_node_above_it() -> None:
    root = Node(None, 0, [], None)
    upper = Node(root, 0, [1, 2], 1)
    lower, beside = Node(upper, 2, [3], 2), Node(upper, 2, [4], 3)
    lease = Lease("", 4, lower, 3)
    assert [True, True, False] == [lease.shares(node) for node in (upper, lower, beside)]
