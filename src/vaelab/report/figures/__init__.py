"""Which figures a report shows, under which section, with the words beside them."""

from collections.abc import Iterator

from vaelab.report.evaluation_result import Subject
from vaelab.report.figures.bounds import likelihood_pictures
from vaelab.report.figures.figure import Picture
from vaelab.report.figures.latent import latent_pictures
from vaelab.report.figures.samples import sample_pictures
from vaelab.report.figures.structure import structure_pictures

__all__ = ["Picture", "pictures"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """Draw what there is to draw, one figure at a time."""
    yield from likelihood_pictures(subject)
    yield from latent_pictures(subject)
    yield from structure_pictures(subject)
    yield from sample_pictures(subject)
