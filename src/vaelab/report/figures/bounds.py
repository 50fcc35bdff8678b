"""The figures of the log-likelihood and its bounds."""

from collections.abc import Iterator

import numpy as np

from vaelab.figures import report, report_samples
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.runtime.formatting import format_number


def likelihood_figures(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw the log-likelihood, the bounds around it and the worst reconstructions."""
    yield from _worst_reconstructions(result)
    arrays, samples = result.arrays, result.value("test.nll_importance_samples") or 1
    if "nll" in arrays:
        nll = arrays["nll"]
        yield ReportFigure(
            "nll",
            "likelihood",
            report.nll_figure(nll),
            f"Histogram: half of the images lie between "
            f"{format_number(np.quantile(nll, 0.25), 3)} and "
            f"{format_number(np.quantile(nll, 0.75), 3)} nats, the mean is "
            f"{format_number(nll.mean(), 3)}.",
            "Images on the right have the lowest likelihood under the model.",
        )
    ladders = _ladders(result)
    if ladders:
        yield ReportFigure(
            "ladder",
            "bound",
            report.bound_ladder_figure(ladders),
            "; ".join(
                f"{images}: "
                + ", ".join(f"{name} {format_number(nats)}" for name, nats in steps.items())
                for images, steps in ladders.items()
            )
            + ".",
            "On average, all but the annealed lower bound are above the true value, so lower "
            "values are tighter. If the last of them agree, they are close to the true value.",
        )
    if "effective_sample_size" in arrays and samples > 1:
        sizes = arrays["effective_sample_size"]
        yield ReportFigure(
            "effective_samples",
            "bound",
            report.effective_samples_figure(sizes, round(samples)),
            f"Histogram: between {format_number(sizes.min(), 2)} and "
            f"{format_number(sizes.max(), 2)} of "
            f"{samples:.0f} samples, {format_number(sizes.mean(), 2)} on average.",
            "Images near 1 have the least certain log-likelihood: a single sample dominates it.",
        )


def _worst_reconstructions(result: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = result.arrays
    if "worst_shown" not in arrays:
        return
    values = [f"{value:.1f} dB" for value in arrays["worst_psnr_db"].tolist()]
    named = zip(result.worst_names, values, strict=True)
    yield ReportFigure(
        "worst_reconstructions",
        "likelihood",
        report_samples.worst_figure(arrays["worst_shown"], arrays["worst_reconstructions_shown"]),
        f"{len(values)} test images, each above its reconstruction, from {values[0]} on.",
        "What the model does not represent: often what is rare among training images. Line by "
        f"line: {', '.join(f'{name} {value}' for name, value in named)}. All test images, in this "
        "order, are in reconstructions.csv.",
    )


def _ladders(result: EvaluationResult) -> dict[str, dict[str, float]]:
    nll, bound = result.value("test.nll_nats"), result.value("test.neg_elbo_nats")
    change = result.value("test.nll_change_on_doubling_nats")
    samples = round(result.value("test.nll_importance_samples") or 1)
    ladders: dict[str, dict[str, float]] = {}
    if result.bound_is_of_a_part:
        change = None  # bounds of other images than the negative ELBO
    if nll is not None and bound is not None and change is not None:
        half = {f"NLL, K = {samples // 2:,}": nll - change}
        steps = {"negative ELBO": bound, **half, f"NLL, K = {samples:,}": nll}
        ladders[f"{result.info.counts['test']:,} test images"] = steps
    names = {
        "annealing.simulated_importance_weighted_nll_nats": f"NLL, K = {samples:,}",
        "annealing.simulated_nll_upper_nats": "annealed, upper",
        "annealing.simulated_nll_lower_nats": "annealed, lower",
    }
    found = {text: result.value(name) for name, text in names.items()}
    measured = {text: value for text, value in found.items() if value is not None}
    if len(measured) > 1:
        images = result.value("annealing.simulated_images") or 0
        ladders[f"{images:.0f} images sampled from the model"] = measured
    return ladders
