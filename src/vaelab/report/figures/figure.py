"""A figure with its texts."""

from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from vaelab.metrics import SectionName


@dataclass(frozen=True)
class ReportFigure:
    """A figure, its alternative text of one sentence, and a caption that explains how to read it.

    Figures of the section "pictures" stand at the top of the page.
    `keep_light_background` is for figures whose colors stand for values: they are the same on a
    dark page.
    """

    name: str
    section: SectionName | Literal["pictures"]
    figure: Figure
    alternative: str
    caption: str
    keep_light_background: bool = False
