"""The figures of samples, of the sampler if there is one, compared with real images."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from vaelab.figures import report_samples
from vaelab.figures.report_samples import ValueAndFloor
from vaelab.metrics import SPACES, SPECS, MetricSpec, of_sampler
from vaelab.report.evaluation_result import Arrays, EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.runtime.formatting import format_number

FRECHET_DISTANCE = SPECS["samples.classifier_frechet_distance"]
MANIFOLD = {
    "precision": SPECS["samples.classifier_precision"],
    "recall": SPECS["samples.classifier_recall"],
    "density": SPECS["samples.classifier_density"],
    "coverage": SPECS["samples.classifier_coverage"],
}


def sample_figures(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw the distances of samples from real images, and their nearest training images."""
    yield from _distances(result)
    yield from _images(result)


def _distances(result: EvaluationResult) -> Iterator[ReportFigure]:
    distances = {
        text: found
        for space, text in SPACES.items()
        if (found := _against(result, FRECHET_DISTANCE, space))
        and min(found.value, found.floor) > 0
    }
    if distances:
        yield ReportFigure(
            "distances",
            "samples",
            report_samples.distances_figure(distances),
            ", ".join(
                f"{text}: {format_number(found.value / found.floor, 2)} times"
                for text, found in distances.items()
            )
            + " the value for training images.",
            "Relative to the distance between training and test images: values below 1 are due to "
            "chance. Between feature spaces distances are not comparable, these ratios roughly.",
        )
    spaces = {text: _shares(result, space) for space, text in SPACES.items()}
    full = {text: shares for text, shares in spaces.items() if len(shares) == len(MANIFOLD)}
    if full:
        yield ReportFigure(
            "manifold",
            "samples",
            report_samples.precision_recall_figure(full),
            "; ".join(
                f"{text}: "
                + ", ".join(f"{name} {format_number(s.value, 2)}" for name, s in shares.items())
                for text, shares in full.items()
            )
            + ".",
            "Precision and density measure whether samples are plausible, recall and coverage "
            "whether they include every kind of image.",
        )


def _shares(result: EvaluationResult, space: str) -> dict[str, ValueAndFloor]:
    found = {name: _against(result, metric, space) for name, metric in MANIFOLD.items()}
    return {name: share for name, share in found.items() if share}


def _against(result: EvaluationResult, metric: MetricSpec, space: str) -> ValueAndFloor | None:
    name, reference = metric.in_space(space)
    sampled, floor = result.value(of_sampler(name)), result.value(reference)
    value = result.value(name) if sampled is None else sampled
    return None if value is None or floor is None else ValueAndFloor(value, floor)


def _images(result: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = {**result.arrays, **_of_sampler(result)}
    if "class_shares" in arrays and "class_shares_real" in arrays:
        sampled, real = arrays["class_shares"], arrays["class_shares_real"]
        names = result.classes or tuple(map(str, range(len(sampled))))
        rare, common = (sampled - real).argmin(), (sampled - real).argmax()
        yield ReportFigure(
            "classes",
            "samples",
            report_samples.class_shares_figure(sampled, real, names),
            f"Most overrepresented: {names[common]}; most underrepresented: {names[rare]}.",
            "As predicted by the classifier. The model does not generate classes without a bar.",
        )
    if "samples_shown" in arrays and "nearest_shown" in arrays and len(arrays["samples_shown"]):
        yield ReportFigure(
            "nearest",
            "samples",
            report_samples.nearest_figure(arrays["samples_shown"], arrays["nearest_shown"]),
            "Pairs of a sample and its nearest training image.",
            f"Identical pairs would be copies. Distances are between pixels{_binarized(result)}."
            f"{_nearest_files(result, arrays)}",
        )


def _nearest_files(result: EvaluationResult, arrays: Arrays) -> str:
    if not result.train_names or "nearest_rows" not in arrays:
        return ""
    rows = arrays["nearest_rows"][: report_samples.PAIRS_SHOWN]
    names = ", ".join(result.train_names[row] for row in rows)
    return f" Files of the nearest images, line by line: {names}."


def _of_sampler(result: EvaluationResult) -> dict[str, NDArray[Any]]:
    """Return the arrays of the sampler's samples, by the names of those of the prior's."""
    prefix = "sampler_"
    return {n.removeprefix(prefix): a for n, a in result.arrays.items() if n.startswith(prefix)}


def _binarized(result: EvaluationResult) -> str:
    if result.info.binarization != "fresh":
        return ""
    return ", which are binarized at random from the gray image that is shown"
