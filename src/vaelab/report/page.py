"""The page: one self-contained HTML file, without scripts and without network access."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from vaelab.metrics import MetricSpec
from vaelab.report.embed import EmbeddedFigure, embed
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures import report_figures
from vaelab.report.judgement import judge
from vaelab.report.model_summary import model_summary
from vaelab.report.not_measured import not_measured
from vaelab.report.posterior_collapse import Diagnosis, describe_collapse
from vaelab.report.rows import Row, rows, summary
from vaelab.report.sections import SECTIONS
from vaelab.report.template import render_page
from vaelab.runtime.progress_bars import with_bar

# Of every model, also of one without an encoder: no section consists of it.
SUMMARY_ONLY = "latent.dimensions"


@dataclass(frozen=True)
class PageSection:
    """A section with the metrics, figures and findings of this model."""

    name: str
    title: str
    about: str
    rows: list[Row]
    figures: list[EmbeddedFigure]
    diagnosis: Diagnosis | None


@dataclass(frozen=True)
class GlossaryEntry:
    """A metric of the glossary, and its names in the tables."""

    metric: MetricSpec
    names: list[str]


def build_page(result: EvaluationResult) -> str:
    """Return the report on a model's evaluation as HTML.

    All text from outside, such as names of classes, is escaped. The same evaluation results in the
    same page, byte for byte.
    """
    drawn = with_bar(report_figures(result), "drawing", "figures")
    figures = [embed(figure) for figure in drawn]
    sections = list(_page_sections(result, figures))
    all_rows = [row for section in sections for row in section.rows]
    return render_page(
        "page.html",
        result=result,
        facts=list(model_summary(result)),
        summary=summary(result),
        judgement=judge(result),
        pictures=[found for found in figures if found.figure.section == "pictures"],
        not_measured=list(not_measured(result)),
        sections=sections,
        glossary=list(_glossary(all_rows)),
    )


def _page_sections(
    result: EvaluationResult, figures: list[EmbeddedFigure]
) -> Iterator[PageSection]:
    bounded = result.has("test.nll_nats")
    for section in SECTIONS:
        measured = rows(result, section.metrics)
        own = [embedded for embedded in figures if embedded.figure.section == section.name]
        if own or any(row.name != SUMMARY_ONLY for row in measured):
            title, about = section.heading(bounded=bounded)
            diagnosis = describe_collapse(result) if section.name == "collapse" else None
            yield PageSection(section.name, title, about, measured, own, diagnosis)


def _glossary(all_rows: list[Row]) -> Iterator[GlossaryEntry]:
    for _, group in itertools.groupby(all_rows, key=lambda row: row.metric.title):
        same = list(group)
        yield GlossaryEntry(same[0].metric, [row.name for row in same])
