"""Which figures a report shows, under which section, with the words beside them."""

from collections.abc import Iterator

from vaelab.report.pictures.bounds import likelihood_pictures
from vaelab.report.pictures.latent import latent_pictures
from vaelab.report.pictures.picture import Picture
from vaelab.report.pictures.samples import sample_pictures
from vaelab.report.pictures.structure import structure_pictures
from vaelab.report.subject import Subject

__all__ = ["Picture", "pictures"]


def pictures(subject: Subject) -> Iterator[Picture]:
    """Draw what there is to draw, one figure at a time."""
    yield from likelihood_pictures(subject)
    yield from latent_pictures(subject)
    yield from structure_pictures(subject)
    yield from sample_pictures(subject)
