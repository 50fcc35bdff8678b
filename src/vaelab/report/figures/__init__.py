"""Which figures a report shows, under which section, with the words beside them."""

from collections.abc import Iterator

from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures.bounds import likelihood_figures
from vaelab.report.figures.figure import ReportFigure
from vaelab.report.figures.latent import latent_figures
from vaelab.report.figures.samples import sample_figures
from vaelab.report.figures.structure import structure_figures

__all__ = ["ReportFigure", "report_figures"]


def report_figures(subject: EvaluationResult) -> Iterator[ReportFigure]:
    """Draw what there is to draw, one figure at a time."""
    yield from likelihood_figures(subject)
    yield from latent_figures(subject)
    yield from structure_figures(subject)
    yield from sample_figures(subject)
