"""``antiphon models optimize``: a copy of a model whose weights run faster here, and what it loses; serving it."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from math import exp, sqrt
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec.structs import replace

from antiphon.cli import display
from antiphon.cli.errors import CommandError
from antiphon.cli.hub import Hub
from antiphon.cli.model_files import ModelFile, find_models
from antiphon.cli.optimized_models import (
    DEFAULT_TYPE,
    FAST_TYPES,
    Comparison,
    OptimizedModel,
    OptimizedModels,
    Speed,
)
from antiphon.config import cache_dir
from antiphon.engine.optimization import BATCHES, Measure, Measured, OptimizationError, Planned, Progress, run

TITLES = ("type", "size", "perplexity", "prefill tokens/s", *(f"decode tokens/s, {batch}" for batch in BATCHES))


class FastAlreadyError(CommandError):
    """A copy would gain nothing."""


def optimize(
    model: Annotated[str | None, Parameter(show_default=False)] = None,
    *,
    file_type: Annotated[str | None, Parameter(name="--type")] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    measure: bool = True,
) -> None:
    """Make a copy of a model whose weights run faster on this machine, and measure both.

    The copy lies in the cache folder. Over a text of our own it is told by how much the perplexity grows, and how many
    tokens a second the bare engine prefills and decodes, with 1, 4 and 16 sequences. The copy of the bundled model is
    served by itself, others with serve --optimize.

    Parameters
    ----------
    model
        What serve --model takes. Default: the bundled model.
    file_type
        Type of the copy's weights, such as Q8_0, Q4_0 or Q4_K_M. Default: Q8_0, which loses next to nothing. Types
        that need an importance matrix cannot be made.
    force
        Make it even when it is there already, or when the model runs fast as it is.
    measure
        Measure both files, which takes a minute or more.
    """
    (source,) = find_models([model] if model else [], Hub(cache_dir()))
    copies = OptimizedModels(cache_dir())
    copy = make(source, copies, file_type, force=force)
    if measure and copy.sidecar.comparison is None:
        copy = copies.add(copy, compare(_measured(source.path, "the file"), _measured(copy.path, "the copy")))
    _show(source, copy)


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


def _measured(path: Path, what: str) -> Measured:
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


def _show(source: ModelFile, copy: OptimizedModel) -> None:
    sidecar = copy.sidecar
    size = sum(part.size for part in sidecar.parts)
    result = sidecar.comparison
    speeds = (None, None) if result is None else (result.before, result.after)
    display.print_table(
        TITLES,
        (
            (sidecar.source_type, display.size(size), *_cells(speeds[0])),
            (sidecar.file_type, display.size(sidecar.size), *_cells(speeds[1])),
        ),
    )
    if result is not None:
        display.say(
            f"The perplexity grows by {result.loss:.1%} (standard error {result.standard_error:.1%}); the likeliest "
            f"token is the same at {result.agreement:.0%} of the places."
        )
    display.say(f"The copy of {source.name} is {copy.path}")


def _cells(speed: Speed | None) -> list[str]:
    if speed is None:
        return ["-"] * (len(TITLES) - 2)
    return [f"{speed.perplexity:.2f}", f"{speed.prefill:.0f}", *(f"{speed.decode[batch]:.0f}" for batch in BATCHES)]
