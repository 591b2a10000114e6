"""A chat template that takes more time or memory than there is when a user says the right word."""

from typing import Final

_DOUBLING: Final = "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}"


def _doubling(start: str, step: str, end: str = "") -> str:
    return _DOUBLING.replace("START", start).replace("STEP", step) + end


HOSTILE: Final = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "shared lists": _doubling("[1]", "[ns.x, ns.x]", "{{ ns.x }}"),
    "shared tuples as keys": _doubling("(1,)", "(ns.x, ns.x)", "{{ {}[ns.x] }}"),
    "doubled text": _doubling("'a'", "ns.x + ns.x"),
    "joined text": _doubling("'a'", "ns.x ~ ns.x"),
    "doubled lists": _doubling("[1]", "ns.x + ns.x"),
    "repeats": "{{ 'a' * many }}",
    "widths": "{{ 'a' | center(many) }}",
    "widths of methods": "{{ 'a'.ljust(many) }}",
    "widths of formats": "{{ ('%' ~ many ~ 'd') % 1 }}",
    "widths of the format method": "{{ ('{:>' ~ many ~ '}').format(1) }}",
    "indentation": "{{ 'a\nb' | indent(many) }}",
    "indentation of JSON": "{{ [1] | tojson(indent=many) }}",
    "batches": "{{ [1] | batch(many, 0) | list }}",
    "rounding": "{{ 1.5 | round(many // 1000, 'ceil') }}",
}
"""By the word: what the template does then. No machine has done any of it within seconds and a gigabyte."""

TEMPLATE: Final = (
    "{% set many = 999999999999 * messages | length %}"
    + "".join("{% if messages[0].content == '" + word + "' %}" + does + "{% endif %}" for word, does in HOSTILE.items())
    + "{% for message in messages %}{{ message.content }}{% endfor %}"
)
