"""Drafts tokens from a prediction: finds the answer's place in it and the number of tokens to try next.

Speculative decoding without a draft model (Leviathan et al. 2023, section 2, with a draft distribution that is one
token): the drafted tokens are decoded after the newest token in one batch, and the model accepts those that its own
sampling gives, too.

This module is pure: token ids in, token ids out.
"""

from bisect import bisect_right
from typing import Final

MAX_DRAFT: Final = 32
"""Tokens of one draft; they bound the waste of a mismatch and the delay of other streams."""
FIRST_DRAFT: Final = 4
LONGEST_GRAM: Final = 4
"""Newest tokens of the answer that are compared to find its place in the prediction."""
MAX_PLACES_AHEAD: Final = 64
MAX_PLACES_BEFORE: Final = 16
"""Places of a token that are compared at most, which bounds the cost of a common token."""
NEAR_TOKENS: Final = 32
"""Tokens after the last confirmed place within which one equal token suffices to find a place."""
UNCERTAIN_DRAFT: Final = 2
"""Tokens of a draft at a place where fewer than :data:`LONGEST_GRAM` tokens match."""
MAX_FORGIVEN_REFUSALS: Final = 2
"""Drafts refused in a row up to which a confirmed place ends the pause."""
MAX_PAUSE: Final = 64
"""Tokens without a draft, at most, after several drafts in a row that were refused whole."""


class PredictionIndex:
    """A prediction and the places of its tokens. All choices of a request share one."""

    def __init__(self, prediction: list[int]) -> None:
        """Index the token ids ``prediction``, with which answers are expected to begin."""
        self.ids: Final = prediction
        self.places: Final[dict[int, list[int]]] = {}
        """The places directly after each occurrence of a token, ascending, by token."""
        for place, token_id in enumerate(prediction, 1):
            self.places.setdefault(token_id, []).append(place)


class PredictionDrafter:
    """Follows one answer through its prediction.

    While the answer equals the prediction, drafts grow up to :data:`MAX_DRAFT`. After a mismatch the newest tokens are
    searched in the prediction, which skips inserted, deleted and replaced tokens. A draft that is refused whole makes
    the next one shorter and later, so a useless prediction costs little.
    """

    def __init__(self, index: PredictionIndex) -> None:
        self._prediction: Final = index.ids
        self._places: Final = index.places
        self._newest: list[int] = []
        self._place: int | None = 0
        self._matched_tokens = LONGEST_GRAM
        """Number of newest tokens that equal the tokens before the place, as far as they were compared."""
        self._confirmed_place = 0
        """The last place where :data:`LONGEST_GRAM` tokens matched; the search for the next place starts from it."""
        self._length = FIRST_DRAFT
        self._failures = 0
        self._pause = 0
        self.accepted = 0
        self.rejected = 0

    def draft(self, limit: int) -> list[int]:
        """Return up to ``limit`` tokens that may come next; none without a place or during a pause."""
        if self._place is None or self._pause > 0:
            return []
        return self._prediction[self._place : self._place + min(limit, self._length)]

    def report(self, drafted: int, accepted: int) -> None:
        """Record how many tokens of a draft the model has accepted."""
        if not drafted:
            return
        self.accepted += accepted
        self.rejected += drafted - accepted
        if accepted == drafted:
            self._length = min(2 * self._length, MAX_DRAFT)
        else:
            self._length = max(1, min(self._length, accepted))
        self._failures = 0 if accepted else self._failures + 1
        if self._failures > 1:
            self._pause = min(2 ** (self._failures + 1), MAX_PAUSE)

    def observe(self, token_ids: list[int]) -> None:
        """Record the tokens that the answer has gained."""
        for token_id in token_ids:
            self._pause = max(0, self._pause - 1)
            self._newest = [*self._newest[1 - LONGEST_GRAM :], token_id]
            if self._place is not None and self._prediction[self._place : self._place + 1] == [token_id]:
                self._place += 1
                self._matched_tokens += 1
            else:
                self._place, self._matched_tokens = self._find_place()
                # The place may be wrong, so the next draft is short.
                certain = self._matched_tokens >= LONGEST_GRAM
                self._length = min(self._length, FIRST_DRAFT if certain else UNCERTAIN_DRAFT)
            if self._place is not None and self._matched_tokens >= LONGEST_GRAM:
                self._confirm_place(self._place)

    def _confirm_place(self, place: int) -> None:
        self._confirmed_place = place
        if self._failures <= MAX_FORGIVEN_REFUSALS:
            self._pause = 0
            self._length = max(self._length, UNCERTAIN_DRAFT)

    def _find_place(self) -> tuple[int | None, int]:
        """Return the place after the newest tokens, or None, and the number of matching tokens before it.

        The place is the one with the most matching tokens, of equals the nearest.
        """
        places = self._places.get(self._newest[-1], [])
        ahead = bisect_right(places, self._confirmed_place)
        nearby = places[max(0, ahead - MAX_PLACES_BEFORE) : ahead + MAX_PLACES_AHEAD]
        run, _, _, place = max(((*self._rank_place(place), place) for place in nearby), default=(0, 0, 0, 0))
        near = self._confirmed_place < place <= self._confirmed_place + NEAR_TOKENS
        return (place, run) if run > 1 or (run == 1 and near) else (None, 0)

    def _rank_place(self, place: int) -> tuple[int, bool, int]:
        """Return the sort key of a place: matching tokens before it, then whether it lies ahead, then its nearness."""
        run = 1
        while run < min(len(self._newest), place) and self._newest[-1 - run] == self._prediction[place - 1 - run]:
            run += 1
        return run, place > self._confirmed_place, -abs(place - self._confirmed_place)
