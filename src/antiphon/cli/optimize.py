"""``antiphon models optimize``: makes a copy of a model whose weights run faster here, and says what it loses."""

from typing import Annotated

from cyclopts import Parameter

from antiphon.config import cache_dir
from antiphon.console import display
from antiphon.engine.optimizer.optimizer_jobs import BATCHES
from antiphon.model_files.hub import Hub
from antiphon.model_files.model_sources import ModelFile, find_models
from antiphon.model_files.optimized_models import OptimizedModel, OptimizedModels, Speed
from antiphon.model_files.optimizing import compare, make, measured_file

TITLES = ("type", "size", "perplexity", "prefill tokens/s", *(f"decode tokens/s, {batch}" for batch in BATCHES))


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
        copy = copies.add(copy, compare(measured_file(source.path, "the file"), measured_file(copy.path, "the copy")))
    _show(source, copy)


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
