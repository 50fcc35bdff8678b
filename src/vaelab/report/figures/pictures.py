"""The figures at the top of the page: what the model makes of images, and how it was trained."""

from collections.abc import Iterator

from vaelab.figures import grids, report_samples
from vaelab.figures.curves import loss_curves
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.report.pictures import RADIUS
from vaelab.runtime.formatting import format_number


def picture_figures(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw reconstructions, samples, a traversal and the losses of the training."""
    yield from _reconstructions(result)
    yield from _samples(result)
    yield from _traversal(result)
    yield from _losses(result)


def _reconstructions(result: EvaluationResult) -> Iterator[ReportFigure]:
    originals = result.arrays.get("originals_shown")
    decoded = result.arrays.get("reconstructions_shown")
    if originals is None or decoded is None or not len(originals):
        return
    yield ReportFigure(
        "reconstructions",
        "pictures",
        report_samples.decoded_figure(originals, decoded),
        f"{len(originals)} test images, each above its reconstruction.",
        "What the latent keeps of an image. If all reconstructions look alike, it keeps nothing.",
    )


def _samples(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw samples of the sampler, if there is one, above those of the prior."""
    found = {"sampler": "sampler_samples_shown", "prior": "samples_shown"}
    shown = {name: result.arrays.get(key) for name, key in found.items()}
    images = {name: array for name, array in shown.items() if array is not None and len(array)}
    if not images:
        return
    both = len(images) == len(found)
    yield ReportFigure(
        "samples",
        "pictures",
        report_samples.sources_figure(images),
        "Samples of the fitted sampler, and below them samples of the prior."
        if both
        else f"Samples of the {next(iter(images))}.",
        "The decoder is the same. The sampler's latents are distributed as those of training "
        "images, the prior's as the model was trained to make them."
        if both
        else "New images, not reconstructions: the decoded latents are sampled.",
    )


def _traversal(result: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = result.arrays
    if "traversal_shown" not in arrays:
        return
    dimensions = arrays["traversal_dimensions"].tolist()
    names = ("reconstructions_shown", "traversal_shown")
    decoded, rows = (report_samples.to_unit(arrays[name]) for name in names)
    pair = arrays["originals_shown"][0], decoded[0]
    yield ReportFigure(
        "traversal",
        "pictures",
        grids.image_traversals_figure(*pair, rows, dimensions, RADIUS),
        f"A test image decoded with other values of z{', z'.join(map(str, dimensions))}.",
        "What a dimension means: the others stay as the image has them. A row that does not change "
        "belongs to a dimension that the decoder ignores.",
    )


def _losses(result: EvaluationResult) -> Iterator[ReportFigure]:
    history = result.history
    try:
        figure = loss_curves(history) if history else None
    except ValueError:  # no column of it is a loss
        figure = None
    if figure is None:
        return
    last = {name: column[-1] for name, column in history.items() if name.endswith(".loss")}
    values = ", ".join(f"{name} {format_number(float(v), 3)}" for name, v in last.items())
    yield ReportFigure(
        "losses",
        "pictures",
        figure,
        f"Losses of {len(next(iter(history.values())))} epochs; at the end: {values or 'unknown'}.",
        "A validation curve that still falls needs more epochs; one that rises while the training "
        "curve falls is overfitting.",
    )
