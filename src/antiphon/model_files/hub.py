"""Models of the Hugging Face hub: chooses a file of a repository, downloads it, and lists downloaded files.

``huggingface_hub`` reads the address, the token and offline mode (``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``),
and shows the progress bars. It is imported with its HTTP client at its first use: most starts of a server need
neither, and the import takes 0.3 s on two slow cores.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from antiphon.console.command_error import CommandError

_SPEC = re.compile(r"(?P<repo>[^/:\s]+/[^/:\s]+)(?::(?P<wanted>\S+))?")
_PART = re.compile(r"-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf$", re.IGNORECASE)
_SUFFIX = ".gguf"
TIMEOUT = 10.0
"""Seconds that the hub may take to list a repository."""


class CachedModel(Struct, frozen=True, kw_only=True):
    """A downloaded file and the ``--model`` value that names it."""

    spec: str
    path: Path


class Hub(Struct, frozen=True):
    """The hub, with one folder of downloads."""

    cache_dir: Path
    endpoint: str | None = None
    """The hub's address; None: the value of ``HF_ENDPOINT``, else the public one."""

    def download(self, spec: str) -> Path:
        """Download ``owner/repo:file-or-quant`` unless it is there, and return the path of its first part.

        Raises :class:`CommandError` when the repository, or exactly one file of it, cannot be found or downloaded.
        """
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise CommandError(f"hf:{spec} does not name a repository.", "Write --model hf:owner/repo:file-or-quant.")
        repo, wanted = match["repo"], match["wanted"] or ""
        file = wanted if wanted.lower().endswith(_SUFFIX) else choose_file(repo, self._files(repo), wanted)
        first, *_ = [self._fetch(repo, part) for part in all_parts(file)]
        return first

    def cached(self) -> list[CachedModel]:
        """Return the downloaded models."""
        models = {}
        for path in sorted(self.cache_dir.glob("models--*--*/snapshots/*/**/*.gguf")):
            _, owner, repo = path.relative_to(self.cache_dir).parts[0].split("--", 2)
            file = Path(*path.relative_to(self.cache_dir).parts[3:]).as_posix()
            if _is_first_part(file):
                models[f"hf:{owner}/{repo}:{file}"] = path
        return [CachedModel(spec=spec, path=path) for spec, path in models.items()]

    def _files(self, repo: str) -> list[str]:
        """Return the names of a repository's files, or of the downloaded ones when the hub cannot be reached."""
        from huggingface_hub import HfApi  # noqa: PLC0415 (see above)
        from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415 (see above)

        try:
            info = HfApi(endpoint=self.endpoint).model_info(repo, timeout=TIMEOUT)
            return [sibling.rfilename for sibling in info.siblings or []]
        except _failures() as error:
            prefix = f"hf:{repo}:"
            here = [model.spec.removeprefix(prefix) for model in self.cached() if model.spec.startswith(prefix)]
            if here and not isinstance(error, RepositoryNotFoundError):
                return here
            raise _failure(repo, error) from error

    def _fetch(self, repo: str, file: str) -> Path:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 (see above)
        from huggingface_hub.errors import RemoteEntryNotFoundError  # noqa: PLC0415 (see above)

        try:
            return Path(hf_hub_download(repo, file, cache_dir=self.cache_dir, endpoint=self.endpoint))
        except RemoteEntryNotFoundError as error:
            listed = "\n".join(f"  {name}" for name in _models(self._files(repo)))
            raise CommandError(f"hf:{repo} has no file {file}.", f"Its models:\n{listed}") from error
        except _failures() as error:
            raise _failure(repo, error) from error


def choose_file(repo: str, files: Iterable[str], quant: str) -> str:
    """Choose the one model whose name has the quantisation tag, in upper or lower case; an empty tag fits all names.

    ``Q4_K`` does not fit ``Q4_K_M``. Raises :class:`CommandError`, with the names, when none or several fit.
    """
    models = _models(files)
    tag = re.compile(rf"(?<![A-Za-z0-9]){re.escape(quant)}(?![A-Za-z0-9_])", re.IGNORECASE)
    fitting = [name for name in models if not quant or tag.search(name)]
    if len(fitting) == 1:
        return fitting[0]
    if not models:
        raise CommandError(f"hf:{repo} has no GGUF file.")
    number = "several models" if fitting else "no model"
    listed = "\n".join(f"  --model hf:{repo}:{name}" for name in fitting or models)
    raise CommandError(f"hf:{repo} has {number} for {quant!r}.", f"Name one of these:\n{listed}")


def all_parts(file: str) -> list[str]:
    """Return the names of all parts of a split file (``-00001-of-00003.gguf``), in order; else the file alone."""
    match = _PART.search(file)
    if match is None:
        return [file]
    stem, total = file[: match.start()], int(match["parts"])
    return [f"{stem}-{part:05}-of-{total:05}{_SUFFIX}" for part in range(1, total + 1)]


def _models(files: Iterable[str]) -> list[str]:
    """Return the models among the files, without later parts and the projectors of multimodal models."""
    models = (file for file in files if file.lower().endswith(_SUFFIX))
    return sorted(file for file in models if _is_first_part(file) and not _is_projector(file))


def _is_first_part(file: str) -> bool:
    match = _PART.search(file)
    return match is None or int(match["part"]) == 1


def _is_projector(file: str) -> bool:
    return "mmproj" in file.lower()


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of a request to the hub."""
    import httpx2  # noqa: PLC0415 (see above)
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415 (see above)

    return (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError)


def _failure(repo: str, error: Exception) -> CommandError:
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415 (see above)

    if isinstance(error, RepositoryNotFoundError):
        return CommandError(f"hf:{repo} does not exist or is private.", "A private repository needs HF_TOKEN.")
    return CommandError(f"hf:{repo} cannot be downloaded: {next(_lines(error), type(error).__name__)}")


def _lines(error: Exception) -> Iterator[str]:
    return (line.strip() for line in str(error).splitlines() if line.strip())
