"""Requantised copies of model files, in the folder ``optimized`` of the cache.

A copy is ``NAME-TYPE-DIGEST.gguf`` with a sidecar of the same name in JSON. The sidecar is written last. It holds the
size of the copy and the SHA-256 of the source: a copy without a valid sidecar, or of a changed source, does not count.
A process that makes a copy locks the folder, so that two servers that start at once make one. Files of a crashed
process end in ``.partial``; the next holder of the lock deletes them.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.engine.optimizer.optimizer_jobs import OptimizationError, Planned, Progress, Quantize, run
from antiphon.model_files.hub import all_parts

DEFAULT_TYPE = "Q8_0"
"""The default type of a copy's weights; docs/performance.md has the measurements."""
FAST_TYPES = frozenset({"Q4_0", "Q8_0", "IQ4_NL", "Q4_K_S", "Q4_K_M", "Q5_0"})
"""Types for which llama.cpp has fast matrix multiplication on common processors."""
SPARE = 64 << 20
"""Bytes of the disk that must stay free besides the copy, for metadata, vocabulary and other programs."""
_PARTIAL = ".partial"
_BLOCK = 1 << 20
_DIGITS = 16
"""Digits of the digest in a file's name."""

Advance = Callable[[int, int], None]
"""Called with the number of tensors that are written, and of all tensors."""


class Speed(Struct, frozen=True, kw_only=True):
    """The perplexity and speed of one file on this machine."""

    perplexity: float
    prefill: float
    """Tokens a second, for a prompt of 512 tokens."""
    decode: dict[int, float]
    """Tokens a second of all sequences together, by the number of sequences."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Source and copy, measured on the same text."""

    before: Speed
    after: Speed
    loss: float
    """Growth of the perplexity: 0.01 is 1 %."""
    standard_error: float
    """Standard error of ``loss``, from the differences token by token."""
    agreement: float
    """Share of the positions at which both files have the same most likely token."""


class Part(Struct, frozen=True):
    """The identity of a file for the system, without reading it: equal parts have equal contents."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Part":
        """Return the identity of a file."""
        stat = path.stat()
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class Sidecar(Struct, frozen=True, kw_only=True):
    """The facts about a copy that its JSON file holds."""

    name: str
    """The name under which the model is served."""
    source: str
    """The source's file name, for people."""
    source_type: str
    sha256: str
    """SHA-256 of all parts of the source, in order."""
    parts: tuple[Part, ...]
    file_type: str
    size: int
    """Bytes of the copy."""
    made_at: int
    """Unix time."""
    comparison: Comparison | None = None


class OptimizedModel(Struct, frozen=True):
    """A copy that can be served."""

    path: Path
    sidecar: Sidecar


class OptimizedModels(Struct, frozen=True):
    """The copies in one cache folder."""

    cache_dir: Path
    clock: Callable[[], float] = time.time
    """Unix time, for the order of the copies."""

    @property
    def folder(self) -> Path:
        """The folder of the copies."""
        return self.cache_dir / "optimized"

    def all(self) -> list[OptimizedModel]:
        """Return all complete copies, the newest first."""
        models = []
        for path in self.folder.glob("*.json"):
            copy = path.with_suffix(".gguf")
            try:
                sidecar = msgspec.json.decode(path.read_bytes(), type=Sidecar)
                whole = copy.stat().st_size == sidecar.size
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue
            if whole:
                models.append(OptimizedModel(copy, sidecar))
        return sorted(models, key=lambda model: model.sidecar.made_at, reverse=True)

    def find(self, source: Path, file_type: str | None = None, *, read: bool = True) -> OptimizedModel | None:
        """Return the newest copy of a file, of one type or of any, or None.

        The source is read only when a copy's source has its size and another identity: it was moved, touched or
        replaced. Without ``read`` it counts as replaced.
        """
        paths = _parts(source)
        parts = tuple(map(Part.of, paths))
        sizes = [part.size for part in parts]
        candidates = [
            model
            for model in self.all()
            if file_type in (None, model.sidecar.file_type) and sizes == [part.size for part in model.sidecar.parts]
        ]
        known = next((model for model in candidates if model.sidecar.parts == parts), None)
        if known is not None or not candidates or not read:
            return known
        sha256 = digest(paths)
        return next((model for model in candidates if model.sidecar.sha256 == sha256), None)

    def make(
        self,
        source: Path,
        file_type: str,
        *,
        name: str,
        advance: Advance = lambda _done, _total: None,
        check: Callable[[Planned], None] = lambda _: None,
        force: bool = False,
    ) -> OptimizedModel:
        """Return the copy of this type; make it when there is none, or when ``force`` is set.

        ``check`` may raise an error to refuse the plan. Raises :class:`CommandError` when the copy cannot be made.
        """
        try:
            with self._locked():
                found = None if force else self.find(source, file_type)
                return found or self._make(source, file_type, name, advance, check)
        except (OSError, OptimizationError) as error:
            raise CommandError(f"{source.name} cannot be optimised: {error}") from error

    def add(self, model: OptimizedModel, comparison: Comparison) -> OptimizedModel:
        """Store a comparison in the sidecar."""
        sidecar = msgspec.structs.replace(model.sidecar, comparison=comparison)
        _replace(model.path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(sidecar)))
        return OptimizedModel(model.path, sidecar)

    def _make(
        self, source: Path, file_type: str, name: str, advance: Advance, check: Callable[[Planned], None]
    ) -> OptimizedModel:
        paths = _parts(source)
        parts = tuple(map(Part.of, paths))
        sha256 = digest(paths)
        path = self.folder / f"{name.replace('/', '-')}-{file_type}-{sha256[:_DIGITS]}.gguf"
        partial = path.with_name(path.name + _PARTIAL)
        source_type = ""
        with closing(run(Quantize(source=str(source), target=str(partial), file_type=file_type))) as messages:
            for message in messages:
                match message:
                    case Planned():
                        check(message)
                        self._check_space(message.size)
                        source_type = message.source_type
                    case Progress():
                        advance(message.done, message.total)
        # A copy counts only with a sidecar, so the old one is deleted first and the new one is written last.
        path.with_suffix(".json").unlink(missing_ok=True)
        _sync(partial)
        partial.replace(path)
        sidecar = Sidecar(
            name=name,
            source=source.name,
            source_type=source_type,
            sha256=sha256,
            parts=parts,
            file_type=file_type,
            size=path.stat().st_size,
            made_at=int(self.clock()),
        )
        _replace(path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(sidecar)))
        return OptimizedModel(path, sidecar)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder, and delete the files of crashed processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            _lock(descriptor)
            try:
                self._sweep()
                yield
            finally:
                self._sweep()
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        for path in self.folder.glob(f"*{_PARTIAL}"):
            path.unlink(missing_ok=True)

    def _check_space(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if size + SPARE > free:
            raise CommandError(
                f"The copy needs {display.size(size)}, and {self.folder} has {display.size(free)} free.",
                "Choose another folder with ANTIPHON_CACHE_DIR, or a smaller --type.",
            )


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        display.say("Another process is making a copy; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the files' contents, in order, in hexadecimal digits."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                total.update(block)
    return total.hexdigest()


def _parts(source: Path) -> list[Path]:
    return [source.with_name(part) for part in all_parts(source.name)]


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_bytes(content)
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Write a file to the disk: otherwise its rename can reach the disk before its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
