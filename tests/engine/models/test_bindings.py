import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.bindings import EngineLoadError, eog_ids, llama_cpp, model_handle
from antiphon.engine.models.tokenizer import Tokenizer


def imported(code: str) -> set[str]:
    """Return the modules that a process has imported after ``code``."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)  # noqa: S603
    return set(done.stdout.split())


def test_bindings_are_imported_without_the_high_level_classes() -> None:
    modules = imported("import antiphon.engine.models.tokenizer")
    assert {"llama_cpp", "llama_cpp.llama_cpp"} <= modules
    assert not {"llama_cpp.llama", "numpy", "jinja2"} & modules


def test_later_import_of_the_package_gives_the_same_bindings() -> None:
    modules = imported(
        "import antiphon.engine.models.bindings, llama_cpp; assert llama_cpp.llama_decode, llama_cpp.llama_cpp"
    )
    assert "llama_cpp.llama" not in modules


def test_package_that_is_already_imported_is_kept_whole() -> None:
    assert "llama_cpp.llama" in imported(
        "import llama_cpp, antiphon.engine.models.bindings as own; own.llama_cpp.Llama"
    )


def test_missing_package_is_named_in_the_error() -> None:
    path = "sys.path = [p for p in sys.path if 'site-packages' not in p]"
    code = f"import sys; {path}; import antiphon.engine.models.bindings"
    command = [sys.executable, "-c", f"import msgspec, antiphon.engine.interface; {code}"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)  # noqa: S603
    assert "No module named 'llama_cpp'" in done.stderr


def test_end_tokens_are_those_of_the_model(smollm2_path: Path) -> None:
    handle = model_handle(str(smollm2_path), vocab_only=True)
    vocab = llama_cpp.llama_model_get_vocab(handle)
    tokenizer = Tokenizer(handle, str(smollm2_path))
    assert {"<|im_end|>", "<|endoftext|>"} <= {tokenizer.token_text(token) for token in eog_ids(vocab)}
    assert tokenizer.eos_id in tokenizer.eog_ids
    tokenizer.close()


def test_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(EngineLoadError, match=r"There is no model file at .*none\.gguf"):
        model_handle(str(tmp_path / "none.gguf"), vocab_only=True)


@pytest.mark.parametrize("use_mmap", [True, False])
def test_weights_are_mapped_unless_use_mmap_is_false(smollm2_path: Path, use_mmap: bool) -> None:  # noqa: FBT001 (a parameter)
    path = str(smollm2_path.resolve())
    handle = model_handle(path, vocab_only=False, options=EngineOptions(model_path=path, use_mmap=use_mmap))
    mapped = path in Path("/proc/self/maps").read_text()
    llama_cpp.llama_model_free(handle)
    assert use_mmap == mapped
