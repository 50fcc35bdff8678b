"""The figures of the log-likelihood and its bounds."""

from collections.abc import Iterator

import numpy as np

from vaelab.figures import report
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.runtime.formatting import format_number


def likelihood_figures(subject: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw the log-likelihood and the bounds around it."""
    arrays, samples = subject.arrays, subject.value("test.nll_importance_samples") or 1
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
            "Images on the right are those that the model finds least likely.",
        )
    ladders = _ladders(subject)
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
            "All but the annealed lower bound lie above the truth on average, so further left is "
            "tighter. Where the last steps agree, the truth is near them.",
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
            "Images near 1 rest on a single sample: their log-likelihood is the least certain.",
        )


def _ladders(subject: EvaluationResult) -> dict[str, dict[str, float]]:
    nll, bound = subject.value("test.nll_nats"), subject.value("test.neg_elbo_nats")
    change = subject.value("test.nll_change_on_doubling_nats")
    samples = round(subject.value("test.nll_importance_samples") or 1)
    ladders: dict[str, dict[str, float]] = {}
    if nll is not None and bound is not None and change is not None:
        half = {f"NLL, K = {samples // 2:,}": nll - change}
        steps = {"negative ELBO": bound, **half, f"NLL, K = {samples:,}": nll}
        ladders[f"{subject.info.counts['test']:,} test images"] = steps
    names = {
        "simulated_importance_weighted_nll_nats": f"NLL, K = {samples:,}",
        "simulated_nll_upper_nats": "annealed, upper",
        "simulated_nll_lower_nats": "annealed, lower",
    }
    found = {text: subject.value(f"annealing.{name}") for name, text in names.items()}
    drawn = {text: value for text, value in found.items() if value is not None}
    if len(drawn) > 1:
        images = subject.value("annealing.simulated_images") or 0
        ladders[f"{images:.0f} images that the model drew"] = drawn
    return ladders
