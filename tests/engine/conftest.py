"""Models that several of the engine's tests load once."""

from pathlib import Path

import pytest

from tests.engine.tiny_gguf import write_tiny_model


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of another architecture and tokenizer, with random weights."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
