"""Any image that Pillow reads becomes 8-bit grey or colour, of the size that is set."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from vaelab.data.pixels import decode, in_threads, is_grey, resize, resize_array, to_pixels

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def decoded(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    return np.asarray(decode(saved(image, kind, **options)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_lossless_grey_arrives_exactly(kind: str, random: np.random.Generator):
    pixels = random.integers(0, 256, (5, 7), dtype=np.uint8)
    image = decode(saved(Image.fromarray(pixels), kind))
    assert is_grey(image)
    np.testing.assert_array_equal(np.asarray(image.convert("L")), pixels)


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})]
)
def test_lossy_colour_arrives_nearly(kind: str, options: dict[str, int]):
    image = decode(saved(Image.new("RGB", (16, 16), (200, 100, 50)), kind, **options))
    assert image.mode == "RGB"
    assert not is_grey(image)
    np.testing.assert_allclose(np.asarray(image)[8, 8], (200, 100, 50), atol=4)


def test_16_bits_are_scaled_to_8():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    # v * 255 / 65535 = v / 257: 128 / 257 = 0.498, 129 / 257 = 0.502, 32768 / 257 = 127.5019
    expected = [[0, 0, 1, 1, 128, 255]]
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decoded(Image.fromarray(values), kind), expected)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0, 70000]], dtype=np.int32), "beyond 16 bits"),
        (np.array([[0, -1]], dtype=np.int32), "beyond 16 bits"),
        (np.array([[0, 0.5]], dtype=np.float32), "floats of unknown range"),
    ],
)
def test_pixels_of_unknown_range_are_refused(values: np.ndarray, reason: str):
    with pytest.raises(ValueError, match=f"{reason}; save it with 8 or 16 bits"):
        decoded(Image.fromarray(values), "TIFF")


def test_cmyk_becomes_rgb():
    # cyan ink and nothing else reflects green and blue
    pixel = decoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=95)[4, 4]
    np.testing.assert_allclose(pixel, (0, 255, 255), atol=6)


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([1, 0])
    np.testing.assert_array_equal(decoded(image), [[BLUE, RED]])


def test_one_bit_becomes_black_and_white():
    image = Image.new("1", (2, 1))
    image.putdata([1, 0])
    np.testing.assert_array_equal(decoded(image), [[255, 0]])


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(*RED, 255), (*RED, 0), (0, 0, 0, 51)])
    # 51 / 255 = 0.2 of black on white leaves 0.8 * 255 = 204
    np.testing.assert_array_equal(decoded(image), [[RED, WHITE, (204,) * 3]])


def test_transparent_grey_and_palettes_lie_on_white():
    grey = Image.new("LA", (2, 1))
    grey.putdata([(10, 255), (10, 0)])
    np.testing.assert_array_equal(decoded(grey)[0, :, 0], [10, 255])
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putdata([0, 1])
    np.testing.assert_array_equal(decoded(palette, transparency=1), [[RED, WHITE]])
    np.testing.assert_array_equal(decoded(palette, "GIF", transparency=1), [[RED, WHITE]])


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (2, 1))
    image.putdata([RED, BLUE])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter clockwise
    np.testing.assert_array_equal(decoded(image, exif=exif), [[RED], [BLUE]])


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, GREEN, BLUE)]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        pixels = decoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(pixels, np.full((4, 4, 3), RED))


def test_grey_is_told_by_pixels():
    image = Image.new("RGB", (9, 9), (77, 77, 77))
    assert is_grey(image)
    image.putpixel((8, 8), (77, 77, 78))
    assert not is_grey(image)
    assert is_grey(Image.new("L", (9, 9)))


def test_channels_come_first():
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    pixels = to_pixels(image, "rgb", (2, 3), "crop")
    assert pixels.shape == (3, 2, 3)
    assert pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert to_pixels(image, "grey", (2, 3), "crop").shape == (1, 2, 3)
    assert (
        to_pixels(Image.new("L", (3, 2), 9), "rgb", (2, 3), "crop").tolist() == [[[9] * 3] * 2] * 3
    )


def striped() -> Image.Image:
    """Four times as wide as high: red, green, green, blue."""
    image = Image.new("RGB", (80, 20), GREEN)
    image.paste(RED, (0, 0, 20, 20))
    image.paste(BLUE, (60, 0, 80, 20))
    return image


def test_crop_keeps_the_middle():
    pixels = np.asarray(resize(striped(), (10, 20), "crop"))
    np.testing.assert_array_equal(pixels[:, 1:-1], np.full((10, 18, 3), GREEN))
    # the filter reaches a little beyond the cut
    np.testing.assert_allclose(pixels[:, [0, -1]].astype(int), [[GREEN, GREEN]] * 10, atol=20)


def test_pad_shows_all_on_black():
    pixels = np.asarray(resize(striped(), (20, 20), "pad"))
    # 80x20 becomes 20x5, with 7 rows above it and 8 below
    assert not pixels[:7].any()
    assert not pixels[12:].any()
    assert pixels[9, 2].tolist() == list(RED)
    assert pixels[9, 10].tolist() == list(GREEN)
    assert pixels[9, 17].tolist() == list(BLUE)


def test_stretch_fills_with_all():
    pixels = np.asarray(resize(striped(), (40, 20), "stretch"))
    assert pixels[5, 2].tolist() == pixels[35, 2].tolist() == list(RED)
    assert pixels[5, 17].tolist() == pixels[35, 17].tolist() == list(BLUE)


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 1000)])
def test_every_size_becomes_every_size(how, size):
    for width, height in ((1, 1), (1000, 1), (1, 1000), (20, 80)):
        assert resize(Image.new("L", (width, height)), size, how).size == size[::-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_resized_by_channel(channels):
    levels = np.arange(1, channels + 1, dtype=np.uint8) * 50
    image = np.broadcast_to(levels[:, None, None], (channels, 4, 6))
    resized = resize_array(image, (8, 8), "crop")
    np.testing.assert_array_equal(resized, np.broadcast_to(levels[:, None, None], (channels, 8, 8)))


def bomb(width: int, height: int) -> io.BytesIO:
    """A PNG that announces many pixels and holds few."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunks)


def test_a_decompression_bomb_is_refused():
    with pytest.raises(Image.DecompressionBombError, match="exceeds limit"):
        in_threads(decode, [bomb(60_000, 60_000)])


def test_a_large_photograph_is_no_bomb():
    # above Pillow's warning at 89,478,485 pixels, below twice that; the file is truncated
    with pytest.raises(OSError, match="truncated"):
        in_threads(decode, [bomb(10_000, 9_000)])


def test_threads_keep_the_order():
    assert in_threads(lambda number: number**2, range(100)) == [n**2 for n in range(100)]
