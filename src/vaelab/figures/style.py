"""The style of all figures: palette, fonts, sizes."""

import math
import textwrap
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH = 7.0  # inches
TITLE_SIZE = 11.0  # points
LONGEST_NAME = 20  # characters, of a class or an attribute

INK, SLATE, MIST = "#1f2933", "#52606d", "#cbd2d9"
STONE = "#68747f"  # for data that MIST would draw too faintly on white
BLUE, ORANGE = "#3f90da", "#e76300"

# Ten colors that are distinguishable with color vision deficiency: Petroff 2021, arXiv:2107.02270.
CLASS_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
NATS = LinearSegmentedColormap.from_list("nats", ["#f5f7fa", "#9cc7ee", BLUE, "#1b4f8a", "#0b2545"])

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look the same everywhere
    "font.size": 8.5,
    "text.color": INK,
    "figure.titlesize": TITLE_SIZE,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": SLATE,
    "axes.labelcolor": SLATE,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.6,
    "xtick.color": SLATE,
    "ytick.color": SLATE,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}


def style() -> AbstractContextManager[None]:
    """Return a context manager that applies the style to matplotlib."""
    return matplotlib.rc_context(_STYLE)


def new_figure(title: str, height: float, width: float = WIDTH) -> Figure:
    """Create an empty figure with its title at the left; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.07)
    figure = Figure(figsize=(width, height), dpi=120, layout=layout)
    FigureCanvasAgg(figure)
    # A bold letter is about 0.65 of its size wide.
    letters = math.floor((width - 0.2) * 72 / (0.65 * TITLE_SIZE))
    figure.suptitle(textwrap.fill(title, letters), x=0.1 / width, ha="left")
    return figure


def escape_mathtext(name: str) -> str:
    """Escape a label so that matplotlib does not parse it as a formula."""
    return name.replace("$", r"\$")


def shorten_name(name: str) -> str:
    """Return the name of a class or an attribute as a short label, at most 20 characters long."""
    words = name.replace("_", " ")
    long = len(words) > LONGEST_NAME
    return escape_mathtext(f"{words[: LONGEST_NAME - 1].rstrip()}…" if long else words)


def dimension_name(index: int) -> str:
    """Return the label of a latent dimension by its array index: the first one is z₀."""
    return "z" + str(index).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def evenly_spaced(count: int, shown: int) -> range:
    """Return at most `shown` of `count` indices, evenly spaced and centered."""
    stride = max(1, math.ceil(count / max(shown, 1)))
    return range((count - 1) % stride // 2, count, stride)


def signed(value: float) -> str:
    """Return a number with one decimal and a minus sign, without one at 0."""
    return f"{value:z.1f}".replace("-", "−")
