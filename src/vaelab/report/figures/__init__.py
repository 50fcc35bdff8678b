"""The figures of a report: the section of each, its caption and its alternative text."""

from collections.abc import Iterator

from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.bounds import likelihood_figures
from vaelab.report.figures.figure import ReportFigure
from vaelab.report.figures.latent import latent_figures
from vaelab.report.figures.pictures import picture_figures
from vaelab.report.figures.samples import sample_figures
from vaelab.report.figures.structure import structure_figures

__all__ = ["ReportFigure", "report_figures"]


def report_figures(result: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw all figures that the evaluation has data for, one at a time."""
    yield from picture_figures(result)
    yield from likelihood_figures(result)
    yield from latent_figures(result)
    yield from structure_figures(result)
    yield from sample_figures(result)
