"""Draft tokens out of a prediction: where the answer stands in it, and how much of it is worth trying next.

Speculative decoding without a draft model (Leviathan et al. 2023, section 2, with a draft distribution that is one
token): drafts are decoded behind the newest token in one batch, and one is accepted only when it is what the model's
own sampling gives. So drafts change how fast an answer comes, and nothing of what it says.

Pure: token ids in, token ids out.
"""

from bisect import bisect_right
from typing import Final

MAX_DRAFT: Final = 32
"""Tokens of one draft: it bounds what a single mismatch wastes, and how long it holds up other streams."""
FIRST_DRAFT: Final = 4
LONGEST_GRAM: Final = 4
"""Newest tokens of the answer that are looked up to find the place again."""
LOOKED_AT_AHEAD: Final = 64
LOOKED_AT_BEHIND: Final = 16
"""Places of a token that are compared at most, so that a common one costs no more than a rare one."""
NEAR: Final = 32
"""Tokens behind the last place within which a single equal token is taken for the place."""
UNSURE_DRAFT: Final = 2
"""Tokens of a draft at a place that fewer than :data:`LONGEST_GRAM` tokens speak for."""
FORGIVEN: Final = 2
"""Drafts refused in a row after which a place that is sure ends the pause."""
MAX_PAUSE: Final = 64
"""Tokens without a draft after several drafts in a row of which nothing was accepted."""


class PredictionIndex:
    """A prediction and the places of its tokens; made once, and shared by all choices of a request."""

    def __init__(self, prediction: list[int]) -> None:
        """``prediction`` are token ids; answers are expected to begin with them."""
        self.ids: Final = prediction
        self.places: Final[dict[int, list[int]]] = {}
        """By token, the places behind it, ascending."""
        for place, token_id in enumerate(prediction, 1):
            self.places.setdefault(token_id, []).append(place)


class Drafter:
    """Follows one answer through its prediction.

    While the answer says what the prediction says, drafts grow up to :data:`MAX_DRAFT`. After a mismatch the newest
    tokens are looked up: what was inserted, deleted or replaced is passed over. Drafts that are refused as a whole make
    the next one smaller and later, so that a prediction that is of no use costs little.
    """

    def __init__(self, index: PredictionIndex) -> None:
        self._prediction: Final = index.ids
        self._places: Final = index.places
        self._newest: list[int] = []
        self._place: int | None = 0
        self._run = LONGEST_GRAM
        """How many newest tokens the prediction has before the place, as far as that was looked at."""
        self._last_place = 0
        """The last place that was sure: wrong ones must not lead away from it."""
        self._length = FIRST_DRAFT
        self._failures = 0
        self._pause = 0
        self.accepted = 0
        self.rejected = 0

    def draft(self, limit: int) -> list[int]:
        """Give up to ``limit`` tokens that may come next; none when nothing is known or nothing was of use."""
        if self._place is None or self._pause > 0:
            return []
        return self._prediction[self._place : self._place + min(limit, self._length)]

    def report(self, drafted: int, accepted: int) -> None:
        """Learn how much of a draft the model has said."""
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
        """Follow the answer by the tokens that it has gained."""
        for token_id in token_ids:
            self._pause = max(0, self._pause - 1)
            self._newest = [*self._newest[1 - LONGEST_GRAM :], token_id]
            if self._place is not None and self._prediction[self._place : self._place + 1] == [token_id]:
                self._place += 1
                self._run += 1
            else:
                self._place, self._run = self._find()
                # The place found may be a wrong one, so the next draft is short.
                sure = self._run >= LONGEST_GRAM
                self._length = min(self._length, FIRST_DRAFT if sure else UNSURE_DRAFT)
            if self._place is not None and self._run >= LONGEST_GRAM:
                self._be_sure(self._place)

    def _be_sure(self, place: int) -> None:
        self._last_place = place
        if self._failures <= FORGIVEN:
            self._pause = 0
            self._length = max(self._length, UNSURE_DRAFT)

    def _find(self) -> tuple[int | None, int]:
        """Find the place behind the newest tokens, and how many of them speak for it.

        It is where the longest run of them occurs, of such places the nearest.
        """
        places = self._places.get(self._newest[-1], [])
        ahead = bisect_right(places, self._last_place)
        nearby = places[max(0, ahead - LOOKED_AT_BEHIND) : ahead + LOOKED_AT_AHEAD]
        run, _, _, place = max(((*self._rank(place), place) for place in nearby), default=(0, 0, 0, 0))
        near = self._last_place < place <= self._last_place + NEAR
        return (place, run) if run > 1 or (run == 1 and near) else (None, 0)

    def _rank(self, place: int) -> tuple[int, bool, int]:
        """Rank a place: by the run of equal tokens that ends there, then those ahead, then the nearest."""
        run = 1
        while run < min(len(self._newest), place) and self._newest[-1 - run] == self._prediction[place - 1 - run]:
            run += 1
        return run, place > self._last_place, -abs(place - self._last_place)
