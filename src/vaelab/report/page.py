"""The page itself: one self-contained HTML file, without scripts and without a network."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vaelab.metrics import Metric
from vaelab.metrics.thresholds import BANDS
from vaelab.report.embed import Embedded, embed, png
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.figures import ReportFigure, report_figures
from vaelab.report.model_summary import model_summary
from vaelab.report.not_measured import not_measured
from vaelab.report.posterior_collapse import Diagnosis, describe_collapse
from vaelab.report.rows import Row, rows, summary
from vaelab.report.sections import SECTIONS, Section

THUMBNAILS = 16  # samples below the title
# Stands below the title too: by itself it makes no section.
SUMMARY_ONLY = "latent.dimensions"


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure, ready to stand in the page."""

    figure: ReportFigure
    image: Embedded


@dataclass(frozen=True)
class PageSection:
    """A section with what is measured in it."""

    name: str
    title: str
    about: str
    rows: list[Row]
    figures: list[EmbeddedFigure]
    diagnosis: Diagnosis | None


@dataclass(frozen=True)
class GlossaryEntry:
    """A metric of the glossary, with the thresholds that mark it."""

    metric: Metric
    names: list[str]
    thresholds: str


def build_page(subject: EvaluationResult) -> str:
    """Write the report on a model's evaluation as HTML.

    All that comes from outside, as names of classes do, is escaped. The same evaluation gives the
    same page, letter for letter.
    """
    drawn = [
        EmbeddedFigure(found, embed(found.figure, found.name, found.keep_light_background))
        for found in report_figures(subject)
    ]
    parts = list(_page_sections(subject, drawn))
    found = [row for part in parts for row in part.rows]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page: str = environment.from_string(_resource("page.html")).render(
        css=Markup(_resource("page.css")),  # noqa: S704  our own
        subject=subject,
        facts=list(model_summary(subject)),
        summary=summary(subject),
        marks=Counter(row.interpretation.rating for row in found),
        absences=list(not_measured(subject)),
        parts=parts,
        glossary=list(_glossary(found)),
        strip=thumbnails(subject),
    )
    return page


def thumbnails(subject: EvaluationResult) -> list[str]:
    """Give a few samples, each as a picture of its own."""
    return [png(image) for image in subject.arrays.get("samples_shown", ())[:THUMBNAILS]]


def _page_sections(subject: EvaluationResult, drawn: list[EmbeddedFigure]) -> Iterator[PageSection]:
    bounded = subject.has("test.nll_nats")
    for section in SECTIONS:
        measured = rows(subject, section.metrics)
        its = [shown for shown in drawn if shown.figure.section == section.name]
        if its or any(row.name != SUMMARY_ONLY for row in measured):
            heading = section.heading(bounded=bounded)
            yield PageSection(section.name, *heading, measured, its, _diagnosis(subject, section))


def _diagnosis(subject: EvaluationResult, section: Section) -> Diagnosis | None:
    if section.name != "collapse" or "active" not in subject.dimensions:
        return None
    return describe_collapse(subject.dimensions, subject.description.settings)


def _glossary(found: list[Row]) -> Iterator[GlossaryEntry]:
    for metric in dict.fromkeys(row.metric for row in found):
        names = [row.name for row in found if row.metric is metric]
        band = BANDS.get(f"{metric.group}.{metric.name}")
        yield GlossaryEntry(metric, names, "" if band is None else str(band))


def _resource(name: str) -> str:
    return (files("vaelab.report") / name).read_text(encoding="utf-8")
