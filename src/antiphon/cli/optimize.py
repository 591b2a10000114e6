"""``antiphon models optimize``: makes a copy of a model whose weights run faster here, and measures its loss."""

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

    The copy is stored in the cache folder. The measurement uses a built-in text. It gives the growth of the
    perplexity, and the tokens a second that the bare engine prefills and decodes with 1, 4 and 16 sequences. serve
    uses the copy of the bundled model by default, and others with --optimize.

    Parameters
    ----------
    model
        As in serve --model. Default: the bundled model.
    file_type
        Type of the copy's weights, such as Q8_0, Q4_0 or Q4_K_M. Default: Q8_0. Types that need an importance matrix
        are not supported.
    force
        Make the copy even if there is one already, or if the model's own type is fast.
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
            f"The perplexity grows by {result.loss:.1%} (standard error {result.standard_error:.1%}); the most likely "
            f"token is the same at {result.agreement:.0%} of the positions."
        )
    display.say(f"The copy of {source.name} is {copy.path}")


def _cells(speed: Speed | None) -> list[str]:
    if speed is None:
        return ["-"] * (len(TITLES) - 2)
    return [f"{speed.perplexity:.2f}", f"{speed.prefill:.0f}", *(f"{speed.decode[batch]:.0f}" for batch in BATCHES)]
