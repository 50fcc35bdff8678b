"""The figures of samples against real images."""

from collections.abc import Iterator

from vaelab.figures import report_samples
from vaelab.figures.report_samples import Against
from vaelab.metrics import SPACES
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.figure import ReportFigure
from vaelab.runtime.formatting import format_number

MANIFOLD = ("precision", "recall", "density", "coverage")


def sample_figures(subject: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw how far samples are from real images, and samples themselves."""
    yield from _distances(subject)
    yield from _images(subject)


def _distances(subject: EvaluationResult) -> Iterator[ReportFigure]:
    distances = {
        text: found
        for space, text in SPACES.items()
        if (found := _against(subject, f"samples.{space}_frechet_distance"))
        and min(found.value, found.floor) > 0
    }
    if distances:
        yield ReportFigure(
            "distances",
            "samples",
            report_samples.distances_figure(distances),
            ", ".join(
                f"{text}: {format_number(found.value / found.floor, 2)} times the floor"
                for text, found in distances.items()
            )
            + ".",
            "The floor is the distance between training and test images: 1 cannot be beaten but "
            "by chance. Distances themselves do not compare between spaces, multiples do roughly.",
        )
    spaces = {text: _shares(subject, space) for space, text in SPACES.items()}
    full = {text: shares for text, shares in spaces.items() if len(shares) == len(MANIFOLD)}
    if full:
        yield ReportFigure(
            "manifold",
            "samples",
            report_samples.manifold_figure(full),
            "; ".join(
                f"{text}: "
                + ", ".join(f"{name} {format_number(s.value, 2)}" for name, s in shares.items())
                for text, shares in full.items()
            )
            + ".",
            "Precision and density ask whether samples are plausible, recall and coverage whether "
            "every kind of image is among them.",
        )


def _shares(subject: EvaluationResult, space: str) -> dict[str, Against]:
    found = {name: _against(subject, f"samples.{space}_{name}") for name in MANIFOLD}
    return {name: share for name, share in found.items() if share}


def _against(subject: EvaluationResult, name: str) -> Against | None:
    value, floor = subject.value(name), subject.value(f"{name}_floor")
    return None if value is None or floor is None else Against(value, floor)


def _images(subject: EvaluationResult) -> Iterator[ReportFigure]:
    arrays = subject.arrays
    if "class_shares" in arrays and "class_shares_real" in arrays:
        drawn, real = arrays["class_shares"], arrays["class_shares_real"]
        names = subject.classes or tuple(map(str, range(len(drawn))))
        rare, common = (drawn - real).argmin(), (drawn - real).argmax()
        yield ReportFigure(
            "classes",
            "samples",
            report_samples.class_shares_figure(drawn, real, names),
            f"Most too often: {names[common]}; most too seldom: {names[rare]}.",
            "As a classifier reads them. A class without a bar is one that the model forgot.",
        )
    if "samples_shown" in arrays and "nearest_shown" in arrays and len(arrays["samples_shown"]):
        yield ReportFigure(
            "nearest",
            "samples",
            report_samples.nearest_figure(arrays["samples_shown"], arrays["nearest_shown"]),
            "Pairs of a sample and the training image nearest to it.",
            f"Equal pairs would be copies. The distance is that of pixels{_drawn_afresh(subject)}.",
        )


def _drawn_afresh(subject: EvaluationResult) -> str:
    if subject.info.binarization != "fresh":
        return ""
    return ", in black and white, which is drawn from the grey image that is shown"
