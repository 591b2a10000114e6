"""Makes copies of models whose weights run faster here, measures them, and chooses which file is served."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from math import exp, sqrt
from pathlib import Path

from msgspec.structs import replace

from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.engine.optimizer.optimizer_jobs import Measure, Measured, OptimizationError, Planned, Progress, run
from antiphon.model_files.model_sources import ModelFile
from antiphon.model_files.optimized_models import (
    DEFAULT_TYPE,
    FAST_TYPES,
    Comparison,
    OptimizedModel,
    OptimizedModels,
    Speed,
)


class FastAlreadyError(CommandError):
    """A copy would gain nothing."""


def make(source: ModelFile, copies: OptimizedModels, file_type: str | None, *, force: bool = False) -> OptimizedModel:
    """Give the copy, with progress. Raises :class:`CommandError`, and :class:`FastAlreadyError` for a fast type."""
    wanted = (file_type or DEFAULT_TYPE).upper()

    def check(planned: Planned) -> None:
        if planned.source_type == wanted:
            raise FastAlreadyError(f"{source.name} is {wanted} already.")
        if planned.source_type in FAST_TYPES and file_type is None and not force:
            advice = f"To make a {wanted} copy nevertheless: --force. To make another: --type"
            raise FastAlreadyError(f"{source.name} is {planned.source_type}, which runs fast as it is.", advice)

    with display.tally(f"Making the {wanted} copy of {source.name}") as advance:
        return copies.make(source.path, wanted, name=source.name, advance=advance, check=check, force=force)


def served_files(
    models: Sequence[ModelFile], copies: OptimizedModels, *, named: bool, optimized: bool | None
) -> list[ModelFile]:
    """Choose between each model's file and its copy, and say which; names stay as they are.

    True takes the newest copy, making one where there is none; False takes the files. None takes the files that were
    ``named``, and of the bundled model, served since none was named, the default copy: docs/performance.md has why.
    """
    if optimized is False:
        return list(models)
    choose: Callable[[ModelFile, OptimizedModels], ModelFile] = _copy if optimized else _file if named else _bundled
    return [choose(model, copies) for model in models]


def _copy(model: ModelFile, copies: OptimizedModels) -> ModelFile:
    try:
        return _use(model, copies.find(model.path) or make(model, copies, None))
    except FastAlreadyError as error:
        display.say(error.message)
        return model


def _file(model: ModelFile, copies: OptimizedModels) -> ModelFile:
    """Only a copy that can be told without reading the file is worth a hint."""
    found = copies.find(model.path, read=False)
    if found is not None:
        display.say(f"{model.name} has a {found.sidecar.file_type} copy: --optimize serves it")
    return model


def _bundled(model: ModelFile, copies: OptimizedModels) -> ModelFile:
    """A folder that cannot be written, or a full disk, is no reason not to serve."""
    try:
        return _use(model, copies.find(model.path, DEFAULT_TYPE) or make(model, copies, DEFAULT_TYPE))
    except CommandError as error:
        display.say(f"{model.name} is served as it is. {error.message}")
        return model


def _use(model: ModelFile, copy: OptimizedModel) -> ModelFile:
    display.say(f"{model.name} is served from its {copy.sidecar.file_type} copy; --no-optimize serves the file itself")
    return replace(model, path=copy.path)


def measured_file(path: Path, what: str) -> Measured:
    """Measure a file, with progress named after ``what``. Raises :class:`CommandError`."""
    try:
        with display.tally(f"Measuring {what}") as advance, closing(run(Measure(path=str(path)))) as messages:
            for message in messages:
                match message:
                    case Progress():
                        advance(message.done, message.total)
                    case Measured():
                        return message
    except OptimizationError as error:
        raise CommandError(f"{path} cannot be measured: {error}") from error
    raise AssertionError("a measurement ends in its result")


def compare(before: Measured, after: Measured) -> Comparison:
    """Set two files of the same weights side by side, token by token."""
    differences = [b - a for a, b in zip(before.losses, after.losses, strict=True)]
    growth = exp(statistics.fmean(differences))
    same = [a == b for a, b in zip(before.likeliest, after.likeliest, strict=True)]
    return Comparison(
        before=_speed(before),
        after=_speed(after),
        loss=growth - 1,
        # The delta method: the standard deviation of exp(x) is about exp(x) times that of x.
        standard_error=growth * statistics.pstdev(differences) / sqrt(len(differences)),
        agreement=statistics.fmean(same),
    )


def _speed(measured: Measured) -> Speed:
    return Speed(
        perplexity=exp(statistics.fmean(measured.losses)), prefill=measured.prefill, decode=dict(measured.decode)
    )
