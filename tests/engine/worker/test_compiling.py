from concurrent.futures import Future

from antiphon.engine.grammars.grammar import GrammarError, Matcher
from antiphon.engine.interface import Finished
from antiphon.engine.worker.compiling import Compilations
from tests.engine.engine_trial import request
from tests.engine.scripted_grammar import Script, ScriptedMatcher


class Compiler:
    """A compiler that ends when the test says so."""

    def __init__(self) -> None:
        self.futures: list[Future[Matcher]] = []

    def compile(self, grammar: str) -> "Future[Matcher]":
        assert grammar
        self.futures.append(Future())
        return self.futures[-1]

    def forget(self, grammar: str) -> None:
        raise AssertionError(grammar)

    def close(self) -> None:
        pass


def compilations(*names: str, n: int = 1) -> tuple[Compilations, list["Future[Matcher]"]]:
    compiler = Compiler()
    made = Compilations(compiler)
    for name in names:
        made.add(request(name, [5, 6], grammar="g", n=n))
    return made, compiler.futures


def test_request_waits_until_its_grammar_is_compiled() -> None:
    made, (first, second) = compilations("a", "b")
    second.set_result(ScriptedMatcher(Script()))
    assert ["b"] == [entry.request.request_id for entry in made.take()]
    assert ([], ["a"], True) == (made.take(), list(made), bool(made))
    first.set_exception(GrammarError("no"))
    assert ["a"] == [entry.request.request_id for entry in made.take()]
    assert not made


def test_each_choice_of_a_compiling_request_is_counted() -> None:
    made, _ = compilations("a", "b", n=3)
    made.end("a", 1, "abort")
    assert 5 == made.choices


def test_aborted_choice_is_not_among_those_of_the_compilation() -> None:
    made, (future,) = compilations("a", n=3)
    assert [Finished(request_id="a", index=1, reason="abort", prompt_tokens=2)] == made.end("a", 1, "abort")
    assert [] == made.end("a", 1, "abort")
    future.set_result(ScriptedMatcher(Script()))
    assert [[0, 2]] == [entry.indices for entry in made.take()]


def test_compilation_without_choices_is_cancelled() -> None:
    made, (future,) = compilations("a", n=2)
    made.end("a", 0, "abort")
    before = future.cancelled()
    ended = made.end("a", None, "error", "why")
    assert [(1, "error", "why")] == [(end.index, end.reason, end.message) for end in ended]
    assert (False, True, False) == (before, future.cancelled(), "a" in made)


def test_wait_ends_with_the_first_compilation() -> None:
    made, (_, second) = compilations("a", "b")
    second.set_result(ScriptedMatcher(Script()))
    made.wait(30.0)
    assert 1 == len(made.take())
