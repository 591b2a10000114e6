"""Tests of the radix tree against a plain list of prefixes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.cache.radix_tree import Node, RadixTree, common_length

WORDS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12)
WORD = st.lists(st.integers(0, 2), max_size=9)


def insert(tree: RadixTree, salt: str, tokens: list[int], seq_id: int) -> Node:
    """Add ``tokens`` as the KV cache does: match, cut where the match ends, add the rest."""
    path, length = tree.match(salt, tokens, len(tokens))
    node = path[-1] if path else tree.root(salt)
    if path and length < node.end:
        tree.split(node, length - node.start, seq_id + 1)
    return tree.add(node, tokens[length:], seq_id) if length < len(tokens) else node


def build(words: list[list[int]], salt: str = "") -> RadixTree:
    tree = RadixTree()
    for i, word in enumerate(words):
        insert(tree, salt, word, 2 * i)
    return tree


def prefix_of(node: Node) -> list[int]:
    return [] if node.parent is None else prefix_of(node.parent) + node.tokens


@given(WORDS, WORD, st.integers(0, 9))
def test_match_finds_the_longest_cached_prefix_within_its_limit(
    words: list[list[int]], word: list[int], limit: int
) -> None:
    limit = min(limit, len(word))
    expected = max((common_length(held, word, 0, limit) for held in words), default=0)
    path, length = build(words).match("", word, limit)
    assert expected == length
    assert [word[: min(node.end, length)] for node in path] == [prefix_of(node)[:length] for node in path]
    assert all(node.parent is above for above, node in itertools.pairwise(path))


@given(WORDS)
def test_every_node_starts_where_its_parent_ends_and_siblings_differ_at_once(words: list[list[int]]) -> None:
    tree = build(words)
    prefixes = {tuple(word[: i + 1]) for word in words for i in range(len(word))}
    assert len(prefixes) == sum(len(node.tokens) for node in tree.nodes())
    for node in tree.nodes():
        assert node.parent is not None
        assert node.parent.end == node.start
        assert node.parent.children[node.tokens[0]] is node
        assert tuple(prefix_of(node)) in prefixes


@given(WORDS, WORD)
def test_salt_finds_no_prefix_of_another_salt(words: list[list[int]], word: list[int]) -> None:
    assert ([], 0) == build(words, "a").match("b", word, len(word))


@given(WORDS, st.lists(st.integers(0, 11), max_size=12))
def test_references_count_the_locked_paths_through_a_node(words: list[list[int]], picks: list[int]) -> None:
    tree = build(words)
    nodes = list(tree.nodes())
    locked = [nodes[pick % len(nodes)] for pick in picks if nodes]
    for node in locked:
        tree.lock(node)
    for node in nodes:
        assert sum(prefix_of(each)[: node.end] == prefix_of(node) for each in locked) == node.ref_count
    for node in locked:
        tree.unlock(node)
    assert all(node.ref_count == 0 for node in nodes)


@given(WORDS, WORD)
def test_leaves_are_removed_least_recently_used_first_until_the_tree_is_empty(
    words: list[list[int]], used: list[int]
) -> None:
    tree = build(words)
    path, _ = tree.match("", used, len(used))
    if path:
        tree.lock(path[-1])
        tree.unlock(path[-1])
    order = []
    while tree.unused_resident:
        tree.check()
        order.append(next(iter(tree.unused_resident)))
        tree.remove(order[-1])
    assert [] == list(tree.nodes())
    assert path[:1] == order[-1:] or not path
    assert ({}, 0) == (tree._roots, tree.unused_cells)


def test_locked_leaf_is_not_among_the_unused_nodes() -> None:
    tree = build([[1, 2], [1, 3]])
    path, _ = tree.match("", [1, 2], 2)
    tree.lock(path[-1])
    assert [[1, 3]] == [prefix_of(node) for node in tree.unused_resident]
    tree.remove(next(iter(tree.unused_resident)))
    assert {} == tree.unused_resident


def test_split_keeps_children_and_references() -> None:
    tree = build([[1, 2, 3, 4], [1, 2, 3, 4, 5]])
    (node, leaf), _ = tree.match("", [1, 2, 3, 4, 5], 5)
    tree.lock(leaf)
    lower = tree.split(node, 3, 9)
    assert ([1, 2, 3], [4], 9) == (node.tokens, lower.tokens, lower.seq_id)
    assert leaf.parent is lower
    assert [1, 1, 1] == [each.ref_count for each in (node, lower, leaf)]


def test_both_parts_of_a_split_node_keep_its_last_cell() -> None:
    tree = build([[1, 2, 3]])
    (node,), _ = tree.match("", [1, 2, 3], 3)
    node.last_cell = 7
    assert [7, 7] == [tree.split(node, 2, 9).last_cell, node.last_cell]


def test_offloaded_node_still_matches_and_counts_no_cells() -> None:
    tree = build([[1, 2, 3]])
    (node,), _ = tree.match("", [1, 2, 3], 3)
    node.copy = b""
    tree.mark_offloaded(node)
    assert (0, {node: None}, ([node], 3)) == (tree.unused_cells, tree.unused_copies, tree.match("", [1, 2, 3], 3))
    tree.mark_resident(node, 5)
    assert (3, {}, 5) == (tree.unused_cells, tree.unused_copies, node.seq_id)


@pytest.mark.parametrize("length", [0, 2, 3])
def test_split_into_an_empty_node_fails_an_assertion(length: int) -> None:
    node = insert(RadixTree(), "", [1, 2], 0)
    with pytest.raises(AssertionError):
        RadixTree().split(node, length, 1)


def test_removing_an_inner_or_locked_node_fails_an_assertion() -> None:
    tree = build([[1], [1, 2]])
    (upper, leaf), _ = tree.match("", [1, 2], 2)
    with pytest.raises(AssertionError):
        tree.remove(upper)
    tree.lock(leaf)
    with pytest.raises(AssertionError):
        tree.remove(leaf)


def test_unlocking_an_unlocked_node_fails_an_assertion() -> None:
    with pytest.raises(AssertionError):
        RadixTree().unlock(Node(None, 0, [], -1))


def test_root_of_a_salt_is_dropped_once_it_has_no_children_and_no_references() -> None:
    tree = RadixTree()
    tree.lock(tree.root("a"))
    tree.drop_empty_root("a")
    assert ["a"] == list(tree._roots)
    tree.unlock(tree.root("a"))
    tree.drop_empty_root("a")
    assert {} == tree._roots


@given(WORD, WORD, st.integers(0, 9), st.integers(0, 9))
def test_common_length_counts_the_equal_tokens_at_the_start(
    segment: list[int], tokens: list[int], offset: int, limit: int
) -> None:
    limit = min(limit, len(tokens))
    offset = min(offset, limit)
    pairs = list(zip(segment, tokens[offset:limit], strict=False))
    expected = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    assert expected == common_length(segment, tokens, offset, limit)
