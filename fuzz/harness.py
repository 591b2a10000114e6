"""Runs one target under atheris, with libFuzzer's own options on the command line."""

import sys

import atheris


def run(name: str) -> None:
    """Fuzz the target called ``name``; instrumented from its import on."""
    with atheris.instrument_imports(include=["antiphon", "msgspec", "jinja2"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 (atheris instruments what is imported here)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
