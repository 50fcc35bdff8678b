"""Which values become black and white, and what is said about it."""

import numpy as np
import pytest

from vaelab.config import UserError
from vaelab.data.pixel_range import FORMAT_RANGES, PixelRange, choose, measure, number_format


def auto(*images: np.ndarray) -> tuple[PixelRange, list[str]]:
    ranges, notes = choose([measure(image) for image in images], "auto")
    (chosen,) = ranges.values()
    return chosen, notes


def spread(low: float, high: float, dtype: str) -> np.ndarray:
    """Return 1,000 values, evenly from low to high."""
    return np.linspace(low, high, 1000).astype(dtype)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0, 255, "uint8", (0, 255)),
        (0, 32, "uint8", (0, 255)),  # a dark photograph
        (0, 31, "uint8", (0, 31)),  # class numbers
        (0, 1, "uint8", (0, 1)),
        (0, 0, "uint8", (0, 255)),
        (0, 65535, "uint16", (0, 65535)),
        (0, 32768, "uint16", (0, 65535)),
        (0, 32767, "uint16", (0, 32767)),
        (0, 4095, "uint16", (0, 4095)),
        (12, 10000, "uint16", (0, 10000)),
        (21000, 24000, "uint16", (21000, 24000)),  # a thermal camera
        (0, 0, "uint16", (0, 65535)),
        (-1024, 3071, "int16", (-1024, 3071)),  # Hounsfield units
        (0, 70000, "int32", (0, 70000)),
        (0, 1, "float32", (0, 1)),
        (0.125, 0.75, "float32", (0, 1)),
        (0.125, 0.375, "float32", (0, 0.375)),
        (-0.9, 0.75, "float32", (-1, 1)),
        (3, 250.5, "float32", (0, 255)),
        (3, 250, "int64", (0, 255)),
        (0, 1, "int64", (0, 1)),
        (0, 1, "bool", (0, 1)),
        (0, 255, "float64", (0, 255)),
        (-1, 1, "float16", (-1, 1)),
        (270, 310, "float32", (270, 310)),  # degrees Kelvin
        (5, 5, "float32", (5, 6)),
    ],
)
def test_auto(low, high, dtype, expected):
    chosen, notes = auto(spread(low, high, dtype))
    assert (chosen.low, chosen.high) == expected
    is_whole = chosen == FORMAT_RANGES.get(number_format(np.dtype(dtype)))
    assert is_whole or f"{chosen} becomes black to white" in notes[0]


def test_one_scale_for_all_images():
    chosen, notes = auto(*(spread(0, high, "uint16") for high in (200, 4095, 1000)))
    assert chosen == PixelRange(0, 4095)
    assert notes == [
        "the pixel values (16-bit) are 0 to 4,095: 0 to 4,095 becomes black to white in "
        "all images (data.range sets another range)"
    ]


def test_dark_photographs_stay_as_they_are_and_it_is_said():
    chosen, notes = auto(spread(3, 100, "uint8"))
    assert chosen == PixelRange(0, 255)
    assert notes == [
        "the largest pixel value is 100 of 255, and stays 100: data.range: [0, 100] uses all "
        "gray levels"
    ]
    assert auto(spread(3, 128, "uint8"))[1] == []


def test_a_hot_pixel_is_named():
    image = np.full(10_000, 300, np.uint16)
    image[:5000], image[0] = 100, 65535
    chosen, notes = auto(image)
    assert chosen == PixelRange(0, 65535)
    assert notes == [
        "in most images 99.8 % of the values lie in 100 to 300, less than a quarter of the range: "
        "data.range: [100, 300] gives them all gray levels and clips the rest"
    ]


def test_one_image_with_another_value_for_missing_ones_is_named():
    images = [spread(0, 1, "float32") for _ in range(20)]
    images[7][:200] = -9999
    chosen, notes = auto(*images)
    assert chosen == PixelRange(-9999, 1)
    assert "in most images 99.8 % of the values lie in 0.001001 to 0.998999" in notes[1]
    assert "data.range: [0.001001, 0.998999] gives them all gray levels" in notes[1]


def test_a_range_that_is_set_clips_and_says_how_many_images():
    images = [spread(0, high, "uint16") for high in (900, 1000, 1100, 5000)]
    ranges, notes = choose([measure(image) for image in images], (100, 1000))
    assert ranges["16-bit"].to_bytes(np.array([0, 100, 550, 1000, 5000])).tolist() == [
        *(0, 0, 128, 255, 255)  # 255 * 450 / 900 = 127.5, rounded to even
    ]
    assert notes == [
        "4 of 4 images have values outside data.range, which are clipped: their values are "
        "0 to 5,000, data.range is 100 to 1,000"
    ]
    assert choose([measure(images[0])], (0, 1000))[1] == []


def test_16_bits_are_rounded_exactly():
    values = np.arange(65536, dtype=np.uint16)
    # 65535 / 255 = 257, so round(v / 257), which is never halfway between two integers
    expected = (values.astype(np.int64) + 128) // 257
    np.testing.assert_array_equal(PixelRange(0, 65535).to_bytes(values), expected)


def test_integers_are_shown_with_all_digits():
    shown = PixelRange(-0.5, 2_999_958)
    assert str(shown) == "-0.5 to 2,999,958"
    assert shown.setting == "[-0.5, 2999958]"


def test_8_bits_are_not_touched():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(PixelRange(0, 255).to_bytes(values), values)


@pytest.mark.parametrize("setting", ["auto", (0, 1000)])
def test_several_formats_have_no_common_scale(setting):
    extents = [measure(spread(0, high, t)) for high, t in ((255, "uint8"), (4095, "uint16"))]
    with pytest.raises(
        UserError,
        match=r"no common scale: 1 8-bit \(a.png: values 0 to 255\), 1 16-bit "
        r"\(b.png: values 0 to 4,095\); save all of them with the same number of bits",
    ):
        choose(extents, setting, ["a.png", "b.png"])


def test_several_formats_that_keep_their_whole_range_stand_together():
    extents = [measure(spread(0, high, t)) for high, t in ((200, "uint8"), (65535, "uint16"))]
    ranges, notes = choose(extents, "auto")
    assert ranges == FORMAT_RANGES
    assert notes == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match=r"2 of its 4 values are not finite numbers"):
        measure(np.array([[0, value], [1, value]], np.float32))


def test_numbers_that_are_no_gray_values_are_refused():
    with pytest.raises(ValueError, match="its pixels are complex64 numbers; save them as"):
        measure(np.ones((2, 2), np.complex64))
