"""Grammars without llguidance, whose masks depend on the tokens so far and are made when the test says so."""

import threading
from concurrent.futures import Future
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from antiphon.engine.grammars.grammar import GrammarCost, GrammarError, Matcher
from tests.engine.fake_model import EOG_IDS

SLOW = 1e9
"""Seconds of a piece of work after which a grammar stays slow for all of a test."""
WAIT = 30.0


class Script:
    """The behaviour of one grammar's matchers. Work waits at the ``gate`` while it is shut."""

    def __init__(self, *, slow: bool = False, forces: bool = True, length: int = 12, fails_at: int = -1) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = threading.Semaphore(0)
        """Released whenever work comes to the gate."""
        self.accept_gate = threading.Event()
        self.accept_gate.set()
        self.cost = GrammarCost()
        self.cost.observe(SLOW if slow else 0.0)
        self.forces = forces
        self.length = length
        """Tokens after which only the end is allowed."""
        self.fails_at = fails_at
        """The number of tokens after which no mask can be made."""
        self.masks = 0
        self.threads: list[str] = []
        """The threads in which masks were made, in order."""


def allows(tokens: list[int], token: int) -> bool:
    """Return whether a token is among the allowed two thirds, which the tokens so far decide; the end never is."""
    return token not in EOG_IDS and (token + sum(tokens)) % 3 != 0


class ScriptedMatcher(Matcher):
    """A matcher that forces two tokens after each fourth one, by default."""

    def __init__(self, script: Script, tokens: list[int] | None = None) -> None:
        super().__init__(cast("Any", None), script.cost)
        self.script = script
        self.tokens = tokens or []

    @property
    def finished(self) -> bool:
        return len(self.tokens) >= self.script.length

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        self.script.threads.append(threading.current_thread().name)
        self.script.at_gate.release()
        assert self.script.gate.wait(WAIT), "the test never opened the gate"
        self.script.masks += 1
        if len(self.tokens) == self.script.fails_at:
            raise GrammarError("scripted failure")
        return np.array([allows(self.tokens, token) for token in range(n_vocab)])

    def count_allowed(self, token_ids: list[int]) -> int:
        return next((i for i in range(len(token_ids)) if not self._admits(token_ids[:i], token_ids[i])), len(token_ids))

    def forced(self) -> list[int]:
        if not self.script.forces or len(self.tokens) % 4 != 1:
            return []
        first = next(token for token in range(3, 300) if allows(self.tokens, token))
        return [first, next(token for token in range(10, 300) if allows([*self.tokens, first], token))]

    def accept(self, token_ids: list[int]) -> None:
        assert self.script.accept_gate.wait(WAIT), "the test never opened the gate"
        for token in token_ids:
            if not allows(self.tokens, token):
                raise GrammarError(f"{token} after {self.tokens}")
            self.tokens.append(token)

    def copy(self) -> "ScriptedMatcher":
        return ScriptedMatcher(self.script, list(self.tokens))

    def _admits(self, before: list[int], token: int) -> bool:
        return allows([*self.tokens, *before], token)


class ScriptedCompiler:
    """A compiler whose grammars are compiled already, by name."""

    def __init__(self, **scripts: Script) -> None:
        self.scripts = scripts
        self.forgotten: list[str] = []

    def compile(self, grammar: str) -> "Future[Matcher]":
        future: Future[Matcher] = Future()
        future.set_result(ScriptedMatcher(self.scripts[grammar]))
        return future

    def forget(self, grammar: str) -> None:
        self.forgotten.append(grammar)

    def close(self) -> None:
        for script in self.scripts.values():
            script.gate.set()
            script.accept_gate.set()
