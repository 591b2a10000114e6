"""Told from its source alone: whether a template looks into the texts of messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from antiphon.rendering.prompt import PromptEncoder
from antiphon.rendering.turns import Mask
from antiphon.templates.chat_template import CHATML, ChatTemplate
from antiphon.templates.text_reading import MAX_PLACES, reads_texts
from tests.rendering.byte_vocabulary import CONTROL_TEXTS, ByteVocabulary

ALTERNATING = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set rest = 1 %}{% else %}"
    "{% set rest = 0 %}{% endif %}{% for m in messages[rest:] %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('No.') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' ~ m['content'] | trim ~ ' [/INST]' }}"
    "{% else %}{{ (m['content'] + eos_token) if not loop.last else m.content }}{% endif %}{% endfor %}"
)
WRITING = {
    "chatml": CHATML,
    "alternating": ALTERNATING,
    "trimming": "{% for m in messages %}<s>{{ (' ' + m.content) | trim }}</s>{% endfor %}",
    "presence": "{% for m in messages %}{% if m.name is defined %}{{ m.name }}{% endif %}{{ m.content }}{% endfor %}",
    "length": "{% if messages | length > 9 %}{{ raise_exception('No.') }}{% endif %}{{ messages[0].content }}",
    "twice": "{% for m in messages %}{{ m.role }}{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}",
}
COMPILED = {name: ChatTemplate(WRITING[name], "<s>", "</s>") for name in ("chatml", "trimming", "presence", "twice")}
ENCODER = PromptEncoder(ByteVocabulary())
READING = [
    "{{ 'x' if '<' in m.content }}",
    "{{ m.content | length }}",
    "{{ m.content | tojson }}",
    "{{ m.content | trim('x') }}",
    "{{ m.content | upper }}",
    "{{ m.content.split('/')[-1] }}",
    "{{ m.content[1:] }}",
    "{{ m['con' ~ 'tent'] }}",
    "{{ m }}",
    "{{ m | items | list }}",
    "{{ 'x' if m.content }}",
    "{{ 'x' if m.content == 'y' }}",
    "{{ '%s' % m.content }}",
    "{{ m.content * 2 }}",
    "{{ {'a': 'b'}[m.content] }}",
    "{{ m.tool_calls }}",
    "{{ 'x' ~ m.tool_calls }}",
    "{% if m.tool_calls is defined %}{{ m.tool_calls | trim }}{% endif %}",
    "{{ loop.previtem.content }}",
    "{{ loop.changed(m.content) }}",
    "{{ messages[0].content }}",
    "{{ messages | map(attribute='content') | join }}",
    "{% set text = m.content %}{{ text }}",
    "{% set messages = [] %}",
    "{% for character in m.content %}{{ character }}{% endfor %}",
    "{% for other in messages %}{{ other.content }}{% endfor %}",
    "{{ raise_exception(m.content) }}",
    "{% filter upper %}{{ m.content }}{% endfilter %}",
    "{% macro told(x) %}{{ x.content }}{% endmacro %}{{ told(m) }}",
    "{{ m.content }}" * (MAX_PLACES + 1),
]
fragments = st.sampled_from(["a", " ", "\n", "<", "|", ">", "é", "\ud800", *CONTROL_TEXTS])
texts = st.lists(fragments, max_size=6).map("".join)


def reads(source: str) -> bool:
    return reads_texts(Environment(autoescape=True).parse(source))


@pytest.mark.parametrize("name", WRITING)
def test_what_only_writes_texts_reads_none(name: str) -> None:
    assert not reads(WRITING[name])


@pytest.mark.parametrize("source", READING)
def test_what_looks_into_a_text_reads_it(source: str) -> None:
    assert reads("{% for m in messages %}" + source + "{% endfor %}")


def test_what_goes_through_something_else_reads() -> None:
    assert reads("{% set all = messages %}{% for m in all %}{{ m.content }}{% endfor %}")


@pytest.mark.parametrize("name", COMPILED)
@given(contents=st.lists(texts, min_size=1, max_size=3))
def test_one_rendering_gives_what_two_give(name: str, contents: list[str]) -> None:
    template = COMPILED[name]

    def render(mask: Mask, _: Mask) -> str:
        return template.render([{"role": "user", "content": mask(content), "name": mask("n")} for content in contents])

    two = ENCODER.encode(render, lambda _: "")
    assert two.ids == ENCODER.encode(render, lambda _: "", reads_texts=False).ids
