"""The size that images of several sizes get."""

import pytest

from vaelab.data.image_size import choose_size
from vaelab.data.pixels import Size


def test_images_of_one_size_keep_it():
    assert choose_size([(500, 333)] * 3) == ((500, 333), None)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        # Photographs, more of them wide than high
        ([(480, 640), (960, 1280), (600, 900), (640, 480)], (64, 84)),
        ([(1920, 1080), (960, 540), (500, 500)], (112, 64)),
        # Nearly square, and small: not enlarged
        ([(30, 29), (28, 28), (31, 35)], (28, 28)),
        ([(7, 9), (6, 6)], (6, 6)),
        ([(1, 40), (40, 1), (9, 9), (9, 8)], (1, 1)),
        # Of equally common aspects the squarest
        ([(100, 200), (100, 100)], (64, 64)),
    ],
)
def test_the_commonest_aspect_is_taken_and_nothing_enlarged(
    sizes: list[Size], expected: Size
) -> None:
    assert choose_size(sizes)[0] == expected
    assert choose_size(sizes[::-1])[0] == expected


def test_single_small_images_do_not_decide() -> None:
    sizes = [(100 + number % 10, 100) for number in range(98)] + [(8, 8), (10, 10)]
    size, note = choose_size(sizes)
    assert size == (64, 64)
    assert note is not None
    assert "its images have 12 sizes [height, width], from [8, 8] to [109, 100]" in note
    assert note.endswith("; 2 smaller images are enlarged")
