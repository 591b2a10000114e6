"""Runs one target under atheris; the command line has libFuzzer's options."""

import sys

import atheris


def run(name: str) -> None:
    """Fuzz a target, with its imports instrumented."""
    with atheris.instrument_imports(include=["antiphon", "msgspec", "jinja2", "PIL"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 (atheris instruments the imports of this block)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
