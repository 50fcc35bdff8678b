"""Random images and numbers for figures, and the check that a figure is readable."""

import itertools
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

NOISE = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return NOISE.standard_normal(shape).astype(np.float32)


def random_images(count: int, channels: int = 1, height: int = 8, width: int = 8) -> np.ndarray:
    return NOISE.random((count, channels, height, width)).astype(np.float32)


def flat(values: np.ndarray, channels: int = 1, height: int = 2, width: int = 3) -> np.ndarray:
    """Images of one value each."""
    return np.broadcast_to(values[..., None, None, None], (*values.shape, channels, height, width))


def texts(figure: Figure) -> Iterator[Text]:
    yield from figure.texts
    for legend in [*figure.legends, *(a.get_legend() for a in figure.axes)]:
        yield from () if legend is None else legend.get_texts()
    for axes in figure.axes:
        yield from (axes.xaxis.label, axes.yaxis.label, axes.title, *axes.texts)
        yield from (axes._left_title, axes._right_title)  # type: ignore[attr-defined]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = (t for t in axis.get_major_ticks() if low <= t.get_loc() <= high)
            for tick in shown:
                yield from (t for t in (tick.label1, tick.label2) if t.get_visible())


def assert_readable(figure: Figure, name: str = "") -> None:
    """Assert that no text is cut off or overlaps another."""
    figure.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent(), t) for t in texts(figure) if t.get_text()]
    width, height = figure.canvas.get_width_height()
    for text, box, _ in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{name}: {text!r} is cut off"
    # The bounding boxes of tilted texts overlap where their letters do not.
    upright = [(text, box) for text, box, t in boxes if t.get_rotation() % 90 == 0]
    for (text, box), (other, second) in itertools.combinations(upright, 2):
        apart_x = box.x1 <= second.x0 + 1 or second.x1 <= box.x0 + 1
        apart_y = box.y1 <= second.y0 + 1 or second.y1 <= box.y0 + 1
        assert apart_x or apart_y, f"{name}: {text!r} and {other!r} overlap"
