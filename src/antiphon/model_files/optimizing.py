"""Makes copies of models whose weights run faster here, measures them, and chooses the file to serve."""

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
    """The model's own type is as fast as a copy would be."""


def make(source: ModelFile, copies: OptimizedModels, file_type: str | None, *, force: bool = False) -> OptimizedModel:
    """Make the copy, show the progress, and return it. Raises CommandError, and FastAlreadyError for a fast type."""
    wanted = (file_type or DEFAULT_TYPE).upper()

    def check(planned: Planned) -> None:
        if planned.source_type == wanted:
            raise FastAlreadyError(f"{source.name} is already {wanted}.")
        if planned.source_type in FAST_TYPES and file_type is None and not force:
            advice = f"To make a {wanted} copy anyway: --force. To make another: --type"
            raise FastAlreadyError(f"{source.name} is {planned.source_type}, which is fast already.", advice)

    with display.tally(f"Making the {wanted} copy of {source.name}") as advance:
        return copies.make(source.path, wanted, name=source.name, advance=advance, check=check, force=force)


def served_files(
    models: Sequence[ModelFile], copies: OptimizedModels, *, named: bool, optimized: bool | None
) -> list[ModelFile]:
    """Choose each model's file or its copy, and print the choice; names stay as they are.

    ``optimized`` True chooses the newest copy and makes one if there is none; False chooses the files. None chooses
    the files of ``named`` models, and the default copy of the bundled one. docs/performance.md has the reasons.
    """
    if optimized is False:
        return list(models)
    choose: Callable[[ModelFile, OptimizedModels], ModelFile] = (
        _choose_copy if optimized else _choose_file if named else _choose_bundled
    )
    return [choose(model, copies) for model in models]


def _choose_copy(model: ModelFile, copies: OptimizedModels) -> ModelFile:
    try:
        return _use(model, copies.find(model.path) or make(model, copies, None))
    except FastAlreadyError as error:
        display.say(error.message)
        return model


def _choose_file(model: ModelFile, copies: OptimizedModels) -> ModelFile:
    """Choose the file, and mention a copy that is found without reading the file."""
    found = copies.find(model.path, read=False)
    if found is not None:
        display.say(f"{model.name} has a {found.sidecar.file_type} copy: --optimize serves it")
    return model


def _choose_bundled(model: ModelFile, copies: OptimizedModels) -> ModelFile:
    """Choose the copy, or the file when the copy cannot be made, as on a full disk."""
    try:
        return _use(model, copies.find(model.path, DEFAULT_TYPE) or make(model, copies, DEFAULT_TYPE))
    except CommandError as error:
        display.say(f"{model.name} is served from its own file. {error.message}")
        return model


def _use(model: ModelFile, copy: OptimizedModel) -> ModelFile:
    display.say(f"{model.name} is served from its {copy.sidecar.file_type} copy; --no-optimize serves the file itself")
    return replace(model, path=copy.path)


def measured_file(path: Path, what: str) -> Measured:
    """Measure a file and show the progress, with ``what`` as its name. Raises :class:`CommandError`."""
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
    """Compare two files of the same weights, token by token."""
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
