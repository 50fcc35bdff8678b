"""Comparison of models: reconstructions and samples of each beside real images."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaelab.figures.image_tiles import Images, arrange, tile_images
from vaelab.figures.style import INK, SLATE, escape_mathtext, new_figure, style

_WIDTH, _LABEL = 10.0, 1.0  # inches, of the figure and of the names of its rows
_CAPTION, _HEADING = 0.25, 0.22  # inches, below and above a panel
_SCALE = 4  # pixels a side of an image's pixel: edges stay sharp


@dataclass(frozen=True)
class Panel:
    """Images [count, channel, height, width] in [0, 1], and what is written below them."""

    images: Images
    caption: str = ""


@dataclass(frozen=True)
class PanelRow:
    """A model's panels, one for each column of the figure; None where it has no such images."""

    name: str
    panels: Sequence[Panel | None]


def comparison_figure(
    headings: Sequence[str],
    rows: Sequence[PanelRow],
    title: str = "Reconstructions and samples of each model",
    columns: int = 8,
) -> Figure:
    """Draw a row a model with a panel under each heading, each of `columns` images a line."""
    count, _, height, width = next(p.images.shape for row in rows for p in row.panels if p)
    columns = min(columns, count)
    inches = (_WIDTH - _LABEL) / len(headings)
    panel = inches * 0.97 * (-(-count // columns) * height) / (columns * width)
    with style():
        figure = new_figure(title, len(rows) * (panel + _CAPTION) + _HEADING + 0.35, _WIDTH)
        figure.set_layout_engine("constrained", h_pad=0.045, w_pad=0.05, hspace=0, wspace=0)
        grid = figure.add_gridspec(
            len(rows), 1 + len(headings), width_ratios=[_LABEL, *[inches] * len(headings)]
        )
        for i, row in enumerate(rows):
            label = _empty(figure.add_subplot(grid[i, 0]))
            label.text(0, 0.6, escape_mathtext(row.name), va="center", weight="bold", color=INK)
            for j, (heading, shown) in enumerate(zip(headings, row.panels, strict=True)):
                axes = _empty(figure.add_subplot(grid[i, j + 1], anchor="NW"))
                if i == 0:
                    axes.set_title(heading)
                if shown is not None:
                    _draw(axes, shown, columns)
    return figure


def _draw(axes: Axes, panel: Panel, columns: int) -> None:
    axes.imshow(tile_images(arrange(panel.images, columns), scale=_SCALE, gap=_SCALE // 2))
    axes.set_xlabel(panel.caption, loc="left", fontsize=7.5, color=SLATE, labelpad=2)


def _empty(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes
