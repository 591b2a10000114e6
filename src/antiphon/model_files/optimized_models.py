"""Requantised copies of model files, in the folder ``optimized`` of the cache.

A copy is ``NAME-TYPE-DIGEST.gguf`` with a sidecar of the same name in JSON. The sidecar is written last and says how
many bytes the copy has and whose copy it is, by the SHA-256 of the source: a copy without a fitting sidecar, or of a
source that has changed since, is not there. Whoever makes a copy holds a lock on the folder, so that two servers that
start at once make one; what a crash leaves ends in ``.partial`` and is deleted by the next who holds the lock.
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
"""What a copy is made of unless told otherwise: docs/performance.md has the figures that decided it."""
FAST_TYPES = frozenset({"Q4_0", "Q8_0", "IQ4_NL", "Q4_K_S", "Q4_K_M", "Q5_0"})
"""Types whose multiplication llama.cpp has written for many columns at once on common processors."""
SPARE = 64 << 20
"""Bytes that must stay free beside a copy: metadata, vocabulary, and what others write meanwhile."""
_PARTIAL = ".partial"
_BLOCK = 1 << 20
_DIGITS = 16
"""Of the digest, in a file's name."""

Advance = Callable[[int, int], None]
"""Told that this many tensors of so many are written."""


class Speed(Struct, frozen=True, kw_only=True):
    """How a file ran on this machine."""

    perplexity: float
    prefill: float
    """Tokens a second of a prompt of 512."""
    decode: dict[int, float]
    """Tokens a second, all sequences together, by their number."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Source and copy over the same text."""

    before: Speed
    after: Speed
    loss: float
    """By how much the perplexity grew: 0.01 is 1 %."""
    standard_error: float
    """Of ``loss``, from the differences token by token."""
    agreement: float
    """Share of the places at which both hold the same token for the likeliest."""


class Part(Struct, frozen=True):
    """A file as the system knows it, without reading it: when this is the same, so is the content."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Part":
        """Ask the system."""
        stat = path.stat()
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class Sidecar(Struct, frozen=True, kw_only=True):
    """What is known of a copy."""

    name: str
    """What the model is called where it is served."""
    source: str
    """The source's file name, for people."""
    source_type: str
    sha256: str
    """Of the source: all its parts, in order."""
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
        """Where they lie."""
        return self.cache_dir / "optimized"

    def all(self) -> list[OptimizedModel]:
        """List every whole copy, the newest first."""
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
        """Give the newest copy of a file, or the newest of one type; None when there is none.

        The source is read only where its size fits a copy's source and the system does not say that it is the same:
        it was moved, or touched, or is another. Without ``read`` it counts as another then.
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
        """Give the copy of this type, made now unless it is there and ``force`` is not set.

        ``check`` may refuse what is planned by raising. Raises :class:`CommandError` when it cannot be made.
        """
        try:
            with self._locked():
                found = None if force else self.find(source, file_type)
                return found or self._make(source, file_type, name, advance, check)
        except (OSError, OptimizationError) as error:
            raise CommandError(f"{source.name} cannot be optimised: {error}") from error

    def add(self, model: OptimizedModel, comparison: Comparison) -> OptimizedModel:
        """Keep what was measured."""
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
        # The sidecar is what makes it a copy: it goes first and comes last.
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
        """Hold the folder alone; what a process that died has left is deleted."""
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
                f"The copy takes {display.size(size)}, and {self.folder} has {display.size(free)} left.",
                "Choose another folder with ANTIPHON_CACHE_DIR, or a smaller --type.",
            )


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        display.say("Another process is making a copy; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def digest(paths: Sequence[Path]) -> str:
    """Hash the contents of files, one after the other (SHA-256, hex)."""
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
    """Wait until it is on the disk: a rename can get there before the content does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
