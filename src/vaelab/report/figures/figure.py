"""A figure and the words beside it."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportFigure:
    """A figure, what it says in one sentence to those who do not see it, and how to read it.

    A plate keeps its light paper in dark surroundings: its colours stand for values.
    """

    name: str
    section: str
    figure: Figure
    alternative: str
    caption: str
    keep_light_background: bool = False
