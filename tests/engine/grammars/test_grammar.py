import threading
from collections.abc import Iterator
from concurrent.futures import Future

import llguidance
import numpy as np
import pytest

from antiphon.engine.grammars import grammar
from antiphon.engine.grammars.grammar import COST_DECAY, SLOW, GrammarCompiler, GrammarCost, GrammarError, Matcher
from antiphon.engine.grammars.grammar_limits import LONG_GRAMMAR, MAX_GRAMMAR_TEXT

EOS = 261
N_VOCAB = 262
OBJECT = llguidance.LLMatcher.grammar_from_json_schema(
    {
        "type": "object",
        "properties": {"name": {"enum": ["ann", "bob"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
)


def byte_tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


@pytest.fixture
def compiler() -> Iterator[GrammarCompiler]:
    compiler = GrammarCompiler(byte_tokenizer)
    yield compiler
    compiler.close()


def compiled(compiler: GrammarCompiler, grammar: str) -> Matcher:
    return compiler.compile(grammar).result(10)


def allowed(matcher: Matcher) -> str:
    return "".join(chr(i) for i in np.flatnonzero(matcher.allowed(N_VOCAB)) if i < 128)


def test_mask_holds_the_tokens_that_the_grammar_allows(compiler: GrammarCompiler) -> None:
    assert "ab" == allowed(compiled(compiler, 'start: "a" | "b" "c"'))


def test_mask_has_one_entry_for_each_token(compiler: GrammarCompiler) -> None:
    assert (N_VOCAB,) == compiled(compiler, 'start: "a"').allowed(N_VOCAB).shape


def test_accepting_tokens_advances_the_matcher(compiler: GrammarCompiler) -> None:
    matcher = compiled(compiler, 'start: "a" ("x" | "y") "b"')
    matcher.accept(list(b"ay"))
    assert "b" == allowed(matcher)


def test_accepting_a_forbidden_token_raises(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError):
        compiled(compiler, 'start: "a"').accept(list(b"b"))


def test_end_token_is_allowed_where_the_grammar_may_end(compiler: GrammarCompiler) -> None:
    matcher = compiled(compiler, "start: /a+/")
    before = bool(matcher.allowed(N_VOCAB)[EOS])
    matcher.accept(list(b"aa"))
    assert (False, True) == (before, bool(matcher.allowed(N_VOCAB)[EOS]))


def test_matcher_is_finished_after_the_last_token_of_its_grammar(compiler: GrammarCompiler) -> None:
    matcher = compiled(compiler, 'start: "ab"')
    before = matcher.finished
    matcher.accept(list(b"ab"))
    assert (False, True) == (before, matcher.finished)


def test_copy_of_a_matcher_is_independent(compiler: GrammarCompiler) -> None:
    first = compiled(compiler, 'start: "a" ("x" | "y")')
    second = first.copy()
    first.accept(list(b"ax"))
    assert "a" == allowed(second)


def test_cached_grammar_gives_a_matcher_at_its_start(compiler: GrammarCompiler) -> None:
    first = compiled(compiler, OBJECT)
    first.accept(list(b'{"name'))
    assert "{" == allowed(compiled(compiler, OBJECT))


def test_grammar_with_a_missing_rule_raises(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError):
        compiled(compiler, "start: missing_rule")


def test_grammar_that_is_too_long_raises(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError):
        compiled(compiler, f'start: "{"a" * MAX_GRAMMAR_TEXT}"')


def test_failed_grammar_does_not_fail_the_next(compiler: GrammarCompiler) -> None:
    failing = compiler.compile("start: missing_rule")
    following = compiler.compile('start: "ok"')
    assert failing.exception(10) is not None
    assert "o" == allowed(following.result(10))


def test_compiling_does_not_block_the_caller() -> None:
    release = threading.Event()

    def slow_tokenizer() -> llguidance.LLTokenizer:
        release.wait(10)
        return byte_tokenizer()

    compiler = GrammarCompiler(slow_tokenizer)
    future = compiler.compile('start: "a"')
    assert not future.done()
    release.set()
    assert "a" == allowed(future.result(10))
    compiler.close()


class Slow:
    """A compiler that compiles the text "slow" until the test releases it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compiler = GrammarCompiler(byte_tokenizer)
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.compiled: list[str] = []
        compile_ = GrammarCompiler._compile

        def slow(text: str, tokenizer: "Future[llguidance.LLTokenizer]") -> Matcher:
            self.compiled.append(text)
            self.begun.release()
            if "slow" in text:
                assert self.release.wait(10)
            return compile_(text, tokenizer)

        monkeypatch.setattr(GrammarCompiler, "_compile", staticmethod(slow))

    def close(self) -> None:
        self.release.set()
        self.compiler.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow(monkeypatch)
    yield slow
    slow.close()


def test_slow_grammar_does_not_block_the_next(slow: Slow) -> None:
    first = slow.compiler.compile('start: "slow"')
    assert "o" == allowed(slow.compiler.compile('start: "ok"').result(10))
    assert not first.done()
    slow.release.set()
    assert "s" == allowed(first.result(10))


def test_grammar_that_is_being_compiled_is_not_compiled_twice(slow: Slow) -> None:
    futures = [slow.compiler.compile('start: "slow"') for _ in range(3)]
    assert slow.begun.acquire(timeout=10)
    slow.release.set()
    assert ["s"] * 3 == [allowed(future.result(10)) for future in futures]
    assert ['start: "slow"'] == slow.compiled


def test_grammar_that_failed_is_compiled_again_for_the_next_request(slow: Slow) -> None:
    for _ in range(2):
        with pytest.raises(GrammarError):
            slow.compiler.compile("start: missing_rule").result(10)
    assert 2 == len(slow.compiled)


def test_forgotten_grammar_is_compiled_again(slow: Slow) -> None:
    first = slow.compiler.compile('start: "ok"').result(10)
    slow.compiler.forget('start: "ok"')
    second = slow.compiler.compile('start: "ok"').result(10)
    assert (2, True) == (len(slow.compiled), first.cost is not second.cost)


def test_cache_drops_the_least_recently_used_grammar(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "MAX_CACHED_GRAMMARS", 2)
    for letter in "abcab":
        slow.compiler.compile(f'start: "{letter}"').result(10)
    assert 5 == len(slow.compiled)
    slow.compiler.compile('start: "a"').result(10)
    assert 5 == len(slow.compiled)


def test_copies_of_a_matcher_share_their_cost(compiler: GrammarCompiler) -> None:
    first = compiled(compiler, OBJECT)
    assert first.cost is first.copy().cost is compiled(compiler, OBJECT).cost


def test_slow_work_makes_a_grammar_slow_until_quick_work_follows() -> None:
    cost = GrammarCost()
    cost.observe(SLOW / 2)
    quick = cost.is_slow
    cost.observe(2 * SLOW)
    slow = cost.is_slow
    for _ in range(20):
        cost.observe(0.0)
    assert 2 * COST_DECAY**20 < 1
    assert (False, True, False) == (quick, slow, cost.is_slow)


@pytest.mark.parametrize(("extra", "long"), [(-20, False), (20, True)])
def test_grammar_with_a_long_text_is_long(compiler: GrammarCompiler, extra: int, long: bool) -> None:  # noqa: FBT001
    assert long == compiled(compiler, f'start: "a"\n//{" " * (LONG_GRAMMAR + extra)}').cost.is_long


def test_first_grammar_triggers_the_preparation_of_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "PREPARE_AFTER", 1e6)
    compiler = GrammarCompiler(byte_tokenizer)
    compiler.prepare()
    assert "a" == allowed(compiled(compiler, 'start: "a"'))
    compiler.close()


def test_vocabulary_is_prepared_without_a_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "PREPARE_AFTER", 0.0)
    compiler = GrammarCompiler(byte_tokenizer)
    assert isinstance(compiler.prepare().result(10), llguidance.LLTokenizer)
    compiler.close()


def test_compiler_closed_before_the_preparation_prepares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "PREPARE_AFTER", 1e6)
    made: list[llguidance.LLTokenizer] = []
    compiler = GrammarCompiler(lambda: made.append(byte_tokenizer()))
    compiler.prepare()
    compiler.close()
    assert [] == made
