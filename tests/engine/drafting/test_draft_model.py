"""Drafts of a draft model equal greedy decoding, and its cells do not leak."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.drafting.draft_model import DraftModel
from tests.engine.fake_model import EOG_IDS, FakeModel, logits_after

TEXTS = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=12), min_size=1, max_size=4)


def new(cells: int = 200, ids: int = 4, batch: int = 7, eog_ids: frozenset[int] = frozenset()) -> DraftModel:
    return DraftModel(FakeModel(cells, eog_ids=eog_ids), n_cells=cells, n_seq_ids=ids, max_batch=batch)


def greedy(tokens: list[int], n: int, eog_ids: frozenset[int] = frozenset()) -> list[int]:
    said: list[int] = []
    while len(said) < n:
        token_id = int(logits_after(tokens + said).argmax())
        if token_id in eog_ids:
            break
        said.append(token_id)
    return said


def held(drafts: DraftModel) -> int:
    assert isinstance(drafts._model, FakeModel)
    return len(drafts._model.cells)


@given(TEXTS, st.lists(st.integers(1, 5), min_size=4, max_size=4))
def test_drafts_of_several_sequences_equal_greedy_decoding(texts: list[list[int]], limits: list[int]) -> None:
    wanted = dict(enumerate(zip(texts, limits, strict=False)))
    expected = {key: greedy(tokens, n) for key, (tokens, n) in wanted.items()}
    assert expected == new().draft(dict(wanted.items()))


@given(st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=6), min_size=1, max_size=8))
def test_draft_follows_a_sequence_that_refused_its_earlier_draft(gains: list[list[int]]) -> None:
    drafts, tokens = new(), [9]
    for gained in gains:
        tokens = tokens + gained
        assert {"a": greedy(tokens, 3)} == drafts.draft({"a": (tokens, 3)})


def test_draft_ends_before_an_end_of_generation_token() -> None:
    text = next([i] for i in range(3, 300) if len(greedy([i], 9, EOG_IDS)) < 9)
    assert {"a": greedy(text, 9, EOG_IDS)} == new(eog_ids=EOG_IDS).draft({"a": (text, 9)})


def test_sequence_without_room_gets_no_draft() -> None:
    drafts = new(cells=10)
    assert {"b": greedy([4], 2)} == drafts.draft({"a": ([3] * 12, 2), "b": ([4], 2)})


def test_sequence_that_does_not_draft_gives_its_cells_up() -> None:
    drafts = new(cells=12, ids=1)
    drafts.draft({"a": ([3] * 8, 2)})
    assert {"b": greedy([4] * 8, 2)} == drafts.draft({"b": ([4] * 8, 2)})
    assert {"a": greedy([3] * 8, 2)} == drafts.draft({"a": ([3] * 8, 2)})


def test_forgotten_sequence_holds_no_cells_and_no_id() -> None:
    drafts = new()
    drafts.draft({"a": ([3] * 8, 2), "b": ([4], 1)})
    drafts.forget("a")
    drafts.forget("b")
    drafts.forget("never seen")
    assert (0, 4) == (held(drafts), len(drafts._free_ids))
