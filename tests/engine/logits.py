"""Rows of logits, and a plain float64 reference of what may be drawn from them."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

from antiphon.engine.interface import SamplingParams
from antiphon.engine.sampling.row_blocks import make_row
from antiphon.engine.sampling.sampling_state import SamplingState, TokenFilter

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SIZES = st.sampled_from([1, 2, 3, 19, 20, 21, 255, 256, 257, 300, 1000])
QUICK = settings(max_examples=60, deadline=None)


def row(n: int, seed: int, scale: float = 3.0) -> Floats:
    rng = np.random.Generator(np.random.Philox(key=seed))
    return (rng.standard_normal(n) * scale).astype(np.float32)


def tied(n: int, seed: int) -> Floats:
    """Logits with a few distinct values only."""
    return np.round(row(n, seed, 1.5)).astype(np.float32)


def padded(logits: npt.NDArray[np.floating]) -> Floats:
    """Return a copy in whole blocks, as the sampler works on it."""
    blocks = make_row(logits.size)
    blocks[: logits.size] = logits
    return blocks


def state(
    prompt: list[int] | None = None,
    stream: tuple[int, int] = (1, 0),
    generated: tuple[int, ...] = (),
    token_filter: TokenFilter | None = None,
    eog_ids: tuple[int, ...] = (),
    **params: Any,  # noqa: ANN401 (any of SamplingParams' fields)
) -> SamplingState:
    made = SamplingState(SamplingParams(max_tokens=100, **params), prompt or [], stream, token_filter, eog_ids)
    for token_id in generated:
        made.observe(token_id)
    return made


class Only:
    """A filter that allows a few tokens."""

    def __init__(self, *token_ids: int) -> None:
        self._token_ids = token_ids

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        return np.isin(np.arange(n_vocab), self._token_ids)


def probabilities(logits: npt.NDArray[np.floating], **params: float) -> Doubles:
    """The naive reference: softmax, then min_p, top_k and top_p over all tokens in order; ties by id."""
    scaled = logits.astype(np.float64) / params.get("temperature", 1.0)
    p = np.exp(scaled - scaled.max())
    p[p < np.float32(params.get("min_p", 0.0))] = 0.0
    order = np.argsort(-p, kind="stable")
    top_k = int(params.get("top_k", 0))
    if top_k:
        p[order[top_k:]] = 0.0
    p /= p.sum()
    before = np.cumsum(p[order]) - p[order]
    if params.get("top_p", 1.0) < 1.0:  # 1.0 cuts nothing, though the sum may round to it before its last token
        p[order[before >= params["top_p"]]] = 0.0
    if not p.sum():
        p[order[0]] = 1.0
    kept: Doubles = p / p.sum()
    return kept


def on_the_edge(logits: Floats, params: dict[str, Any]) -> bool:
    """Whether the nucleus ends within rounding of a token's end, where float32 and float64 may differ by one token."""
    p = probabilities(logits, **{**params, "top_p": 1.0})
    ends = np.cumsum(np.sort(p)[::-1])
    return 0.0 < params["top_p"] < 1.0 and bool(np.abs(ends - params["top_p"]).min() < 1e-6)


def assert_distributed(counts: npt.NDArray[np.intp], expected: Doubles) -> None:
    """Pearson's chi-square, small cells pooled, against five standard deviations of its own."""
    n = int(counts.sum())
    assert not counts[expected == 0.0].any()
    large = expected * n >= 5
    seen = np.append(counts[large], counts[~large].sum())
    mean = np.append(expected[large], expected[~large].sum()) * n
    seen, mean = seen[mean > 0], mean[mean > 0]
    chi_square = float(((seen - mean) ** 2 / mean).sum())
    freedom = max(1, len(mean) - 1)
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom) + 5, f"{chi_square} with {freedom} degrees of freedom"
