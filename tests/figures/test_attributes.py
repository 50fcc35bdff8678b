"""Figures of images edited to classes and attributes: labels, order, readability."""

import itertools

import numpy as np
import pytest

from tests.figures.factories import assert_readable, flat, random_images
from vaelab.figures.attributes import attribute_arithmetic_figure, class_arithmetic_figure


def labels_of(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_class_figure_has_an_image_a_column_and_a_target_class_a_row():
    values = np.arange(8, dtype=np.float32).reshape(2, 4) / 15
    (axes,) = class_arithmetic_figure(flat(values), ["cat", "owl"], ["cat", "an_owl"]).axes
    assert labels_of(axes.xaxis) == ["cat", "owl"]
    assert labels_of(axes.yaxis) == ["image", "decoded", "as cat", "as an owl"]
    canvas = axes.get_images()[0].get_array()
    assert canvas is not None
    for (i, x), (j, y) in itertools.product(
        enumerate(axes.get_xticks()), enumerate(axes.get_yticks())
    ):
        assert canvas[int(y), int(x), 0] == 17 * (4 * i + j)  # 255 / 15 = 17


def test_the_attribute_figure_is_labeled_with_attributes_effects_and_steps():
    added, removed = (
        random_images(6).reshape(2, 3, 1, 8, 8),
        random_images(6).reshape(2, 3, 1, 8, 8),
    )
    names = ["Wearing_Hat", "A_name_of_much_more_than_twenty_letters"]
    (axes,) = attribute_arithmetic_figure(added, removed, [0.0, 1.5], names, [2.04, -0.3]).axes
    assert labels_of(axes.xaxis) == ["image", "0", "+1.5", "image", "0", "−1.5"]
    assert labels_of(axes.yaxis) == [
        "Wearing Hat   effect 2.0",
        "A name of much more…   effect −0.3",
    ]


@pytest.mark.parametrize(("classes", "side"), [(2, 8), (10, 8), (10, 28), (10, 64)])
@pytest.mark.parametrize("name", ["{}", "a rather long name of class {}"])
def test_class_figures_are_readable(classes, side, name):
    images = random_images(classes * (classes + 2), 1, side, side)
    names = [name.format(k) for k in range(classes)]
    figure = class_arithmetic_figure(
        images.reshape(classes, classes + 2, 1, side, side), names, names
    )
    assert_readable(figure)


@pytest.mark.parametrize(("rows", "side"), [(1, 8), (8, 64), (40, 64)])
def test_attribute_figures_are_readable(rows, side):
    images = random_images(rows * 5, 3, side, side).reshape(rows, 5, 3, side, side)
    names = [f"a rather long name of attribute {k}" for k in range(rows)]
    sizes = np.linspace(9, -1, rows).tolist()
    steps = (0.0, 0.5, 1.0, 1.5)
    assert_readable(attribute_arithmetic_figure(images, images, steps, names, sizes))
