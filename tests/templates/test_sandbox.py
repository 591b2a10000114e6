"""A template pays for what it does: hostile ones end early, and what ordinary ones do is as Jinja does it."""

from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from antiphon.templates.sandbox import Sandbox
from antiphon.templates.template_work import TooMuchWorkError, Work

STEPS = 20_000
DOUBLING = "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}"


def doubling(start: str, step: str, end: str = "") -> str:
    return DOUBLING.replace("START", start).replace("STEP", step) + end


HOSTILE = {
    "loops": "{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}",
    "loops that skip all": "{% for i in range(999) %}{% for j in range(999) if false %}{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for i in 'ab' recursive %}{% if loop.depth < 60 %}{{ loop('ab') }}{% endif %}{% endfor %}",
    "call blocks": "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call f() %}" * 15
    + "{% endcall %}" * 15,
    "blocks": "{% for i in range(9999) %}{{ self.a() }}{% endfor %}{% block a %}{% endblock %}",
    "captured text": "{% for i in range(9999) %}{% set x %}" + "y" * 999 + "{% endset %}{% endfor %}",
    "shared lists": doubling("[1]", "[ns.x, ns.x]", "{{ ns.x }}"),
    "shared lists as JSON": doubling("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson }}"),
    "shared lists compared": doubling("[1]", "[ns.x, ns.x]", "{{ ns.x == [ns.x, ns.x] }}"),
    "shared lists searched": doubling("[1]", "[ns.x, ns.x]", "{{ ns.x in [ns.x] }}"),
    "shared tuples as keys": doubling("(1,)", "(ns.x, ns.x)", "{{ {}[ns.x] }}"),
    "shared tuples as keys of their own": doubling("(1,)", "(ns.x, ns.x)", "{{ {ns.x: 1} }}"),
    "shared dicts": doubling("{1: 1}", "{1: ns.x, 2: ns.x}", "{{ ns.x.values() }}"),
    "doubled text": doubling("'a'", "ns.x + ns.x"),
    "joined text": doubling("'a'", "ns.x ~ ns.x"),
    "doubled lists": doubling("[1]", "ns.x + ns.x"),
    "squares": doubling("7", "ns.x * ns.x"),
    "differences": "{% set ns = namespace(x=7) %}{% for i in range(9999) %}{% set ns.x = ns.x-(0-ns.x) %}{% endfor %}",
    "copies": "{% for i in range(9999) %}{% if ('a' * 9999)[1:] %}{% endif %}{% endfor %}",
    "repeats": "{{ 'a' * 99999999 }}",
    "powers": "{{ 9 ** 9999 }}",
    "widths": "{{ 'a' | center(99999999) }}",
    "widths of methods": "{{ 'a'.ljust(99999999) }}",
    "widths of formats": "{{ '%99999999d' % 1 }}",
    "widths of the format filter": "{{ '%99999999d' | format(1) }}",
    "widths of the format method": "{{ '{:>99999999}'.format(1) }}",
    "widths from elsewhere": "{{ '{a:>99999999}'.format_map({'a': 1}) }}",
    "indentation": "{{ 'a\nb' | indent(99999999) }}",
    "indentation of JSON": "{{ [1] | tojson(indent=99999999) }}",
    "batches": "{{ [1] | batch(99999999, 0) | list }}",
    "slices": "{{ [1] | slice(99999999) | list | length }}",
    "replacing": "{{ ('a' * 9999) | replace('a', 'b' * 9999) }}",
    "replacing by the method": "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
    "joining": "{{ range(9999) | join('b' * 9999) }}",
    "joining what is made item by item": "{{ range(9999) | map('string') | join('b' * 9999) }}",
    "joining by the method": "{{ ('b' * 9999).join(range(9999) | map('string')) }}",
    "sorting": "{% for i in range(9) %}{{ (range(9999) | list) | sort | length }}{% endfor %}",
    "summing": "{{ range(9999) | sum }}",
    "trimming": "{{ ('a' * 99999) | trim('b' * 9999) }}",
    "looking for addresses": "{{ ('a.' * 99999) | urlize }}",
    "rounding": "{{ 1.5 | round(99999999, 'ceil') }}",
    "translating": "{{ 'a'.translate({97: 'b'}) }}",
    "long loops for their length": "{% for i in range(99) %}{% for j in range(999) | map('abs') %}{{ loop.length }}"
    "{% break %}{% endfor %}{% endfor %}",
}


def rendered(source: str, steps: int = STEPS, **variables: object) -> str:
    sandbox = Sandbox(extensions=["jinja2.ext.loopcontrols"])
    template = sandbox.from_string(source)
    with sandbox.working(Work(steps)):
        return "".join(template.generate(**variables))


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_what_takes_too_long_ends_early(source: str) -> None:
    with pytest.raises(TooMuchWorkError):
        rendered(source)


ORDINARY = [
    "{{ 'ab' + 'c' + x + 'd' * 2 }}{{ 7 - 2 + 1 }}{{ n - n }}{{ n + n + n + n + n + n + n + n + n + n }}",
    "{{ 2 ** 10 }}{{ 7 % 4 }}{{ '%s and %05.2f' % (x, 1.5) }}{{ '{} {:>5}'.format(x, n) }}{{ '%s!' | format(x) }}",
    "{% for i in range(5) if i % 2 %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{{ i }}{% else %}none{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{{ i if i is number else loop(i) }}{% endfor %}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }}{{ f(1, 3, 4, context=5) }}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}x{% endcall %}{% block a %}block{% endblock %}",
    "{{ d['a'] }}{{ d.b[1:] }}{{ d.b[-1] }}{{ d.b[n - 4] }}{{ x[::-1] }}{{ d.items() | list }}{{ missing }}",
    "{{ 'a' in x }}{{ x in ['xyz'] }}{{ x not in d }}{{ n < 6 }}{{ d.b == [1, 2] }}{{ 1 < n < 9 }}{{ x is eq('xyz') }}",
    "{{ d.b | join(', ') }}{{ d.b | map('string') | join }}{{ [3, 1] | sort }}{{ d.b | sum }}",
    "{{ x | replace('x', 'y') }}{{ d.b | reverse | list }}",
    "{{ x | upper | title | trim('X') }}{{ 'a\nb' | indent(2) }}{{ d.b | select('odd') | list }}",
    "{{ d.b | batch(1) | list }}",
    "{{ [{'r': 1}, {'r': 2}] | selectattr('r', 'equalto', 2) | list | length }}{{ d.b | first }}",
    "{{ x ~ n ~ 'a' }}{% set y %}{{ x }}!{% endset %}{{ y }}{% filter upper %}{{ x }}{% endfilter %}{{ [1] * 2 }}",
    "{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ x.split('y') }}",
    "{{ ', '.join(d.b | map('string')) }}",
]


@pytest.mark.parametrize("source", ORDINARY)
def test_ordinary_templates_give_what_jinja_gives(source: str) -> None:
    variables: dict[str, Any] = {"x": "xyz", "n": 5, "d": {"a": 1, "b": [1, 2]}}
    expected = ImmutableSandboxedEnvironment().from_string(source).render(**variables)
    assert expected == rendered(source, **variables)


def test_a_namespace_that_holds_itself_has_a_text() -> None:
    assert "<Namespace>" == rendered("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}")


def test_filler_text_is_not_offered() -> None:
    assert "" == rendered("{{ lipsum }}")


def test_our_own_filters_pay() -> None:
    sandbox = Sandbox()
    sandbox.add_filter("same", lambda value: value)
    template = sandbox.from_string("{% if x | same %}{% endif %}")
    with pytest.raises(TooMuchWorkError), sandbox.working(Work(5)):
        template.render(x="a" * 999)


def test_a_budget_is_for_one_rendering() -> None:
    sandbox = Sandbox()
    template = sandbox.from_string("{{ x }}")
    for _ in range(3):
        with sandbox.working(Work(2)):
            assert "a" == template.render(x="a")
