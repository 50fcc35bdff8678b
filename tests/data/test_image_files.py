"""Files of more bits, bands and frames than a photograph."""

import io
import logging
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from vaelab.data.image_files import Frame, open_frames
from vaelab.data.pixel_range import FORMAT_RANGES, PixelRange


def read(file: io.BytesIO | Path, number: int = 0, bands: tuple[int, ...] | None = None) -> Frame:
    with open_frames(file, bands) as frames:
        return frames.read(number)


def count(file: io.BytesIO) -> int:
    with open_frames(file) as frames:
        return frames.count


def tiff(values: np.ndarray, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    file.seek(0)
    return file


def saved(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def numbers(dtype: str, *shape: int) -> np.ndarray:
    size = int(np.prod(shape))
    return (np.arange(size) * 37 % 4096).reshape(shape).astype(dtype)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize(
    "dtype", ["uint16", "int16", "uint32", "int32", "float16", "float32", "float64", "int8"]
)
def test_gray_tiffs_keep_their_numbers(dtype: str, compression: str | None) -> None:
    values = numbers(dtype, 5, 7)
    frame = read(tiff(values, photometric="minisblack", compression=compression))
    assert frame.values.dtype == values.dtype
    np.testing.assert_array_equal(frame.values, values)


def test_bytes_in_the_other_order() -> None:
    values = numbers(">u2", 5, 7)
    frame = read(tiff(values, byteorder=">"))
    assert frame.values.dtype == np.uint16
    np.testing.assert_array_equal(frame.values, values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colors_of_16_bits_keep_them(planar: str) -> None:
    values = numbers("uint16", 5, 7, 3)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    frame = read(tiff(stored, photometric="rgb", planarconfig=planar))
    np.testing.assert_array_equal(frame.values, values)


@pytest.mark.parametrize("encode", [imagecodecs.png_encode, imagecodecs.jpeg2k_encode])
def test_png_and_jpeg_2000_of_16_bit_colors_keep_them(encode: Any) -> None:
    values = numbers("uint16", 16, 16, 3)
    options = {} if encode is imagecodecs.png_encode else {"level": 0, "reversible": True}
    np.testing.assert_array_equal(read(io.BytesIO(encode(values, **options))).values, values)


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_transparency_is_opacity(channels: int) -> None:
    values = np.full((2, 3, channels), 1000, np.uint16)
    values[..., -1] = 65535
    values[0, 0, -1] = 0
    for file in (
        io.BytesIO(imagecodecs.png_encode(values)),
        tiff(
            values,
            photometric="minisblack" if channels == 2 else "rgb",
            extrasamples=["unassalpha"],
            planarconfig="contig",
        ),
    ):
        frame = read(file)
        assert frame.values.shape == (2, 3) if channels == 2 else (2, 3, 3)
        assert frame.transparent
        pixels = np.asarray(frame.to_image(PixelRange(0, 1000)))
        np.testing.assert_array_equal(pixels, np.full((2, 3, 3), 255))
        black = np.asarray(frame.to_image(PixelRange(1000, 2000)))
        assert black[0, 0].tolist() == [255, 255, 255], "white where nothing covers it"
        assert not black[1].any()


def test_where_the_largest_value_is_black() -> None:
    values = numbers("uint16", 5, 7)
    frame = read(tiff(values, photometric="miniswhite"))
    image = np.asarray(frame.to_image(PixelRange(0, 4095)))
    assert image[values == 0].tolist() == [255]
    np.testing.assert_array_equal(image, 255 - PixelRange(0, 4095).to_bytes(values))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((5, 7, 4), {"photometric": "minisblack"}, "it has 4 bands, photometric MINISBLACK"),
        ((5, 7, 8), {"photometric": "minisblack"}, "it has 8 bands, photometric MINISBLACK"),
        ((5, 7, 2), {"photometric": "minisblack"}, "it has 2 bands"),
        (
            (5, 7, 4),
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            "it has 4 bands, photometric RGB",
        ),
        ((5, 7, 5), {"photometric": "rgb", "extrasamples": [2, 0]}, "it has 5 bands"),
    ],
)
def test_bands_of_unknown_meaning_are_refused(
    dtype: str, shape: tuple[int, ...], options: dict[str, Any], reason: str
) -> None:
    file = tiff(numbers(dtype, *shape), planarconfig="contig", **options)
    with pytest.raises(ValueError, match=f"{reason}.*whose meaning is not known; choose one, or"):
        read(file)


def test_inks_of_16_bits_are_refused_and_of_8_bits_converted() -> None:
    with pytest.raises(ValueError, match="4 bands, photometric SEPARATED, whose meaning"):
        read(tiff(numbers("uint16", 5, 7, 4), photometric="separated"))
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    frame = read(saved(inks, "TIFF"))
    assert frame.converted == "CMYK"
    np.testing.assert_array_equal(frame.values[0, 0], [0, 255, 255])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_bands_are_chosen_by_number(dtype: str) -> None:
    values = numbers(dtype, 5, 7, 6)
    file = tiff(values, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read(file, bands=(4, 3, 2)).values, values[..., [3, 2, 1]])
    np.testing.assert_array_equal(read(file, bands=(6,)).values, values[..., 5])
    with pytest.raises(ValueError, match=r"it has 6 bands, and data\.bands asks for band 7"):
        read(file, bands=(7,))


def test_bands_are_chosen_as_they_are_stored() -> None:
    pixels = numbers("uint8", 4, 4, 4)
    png = saved(Image.fromarray(pixels, "RGBA"), "PNG")
    np.testing.assert_array_equal(read(png, bands=(4,)).values, pixels[..., 3])
    inks = saved(Image.fromarray(pixels, "CMYK"), "TIFF")
    np.testing.assert_array_equal(read(inks, bands=(1, 2, 3)).values, pixels[..., :3])
    palette = Image.fromarray(pixels[..., 0] % 7, "P")
    palette.putpalette([200] * 768)
    np.testing.assert_array_equal(
        read(saved(palette, "PNG"), bands=(1,)).values, pixels[..., 0] % 7
    )


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_are_read_by_number(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), (80 * n, 0, 255)) for n in range(4)]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert count(file) == 4
    for number in (3, 0, 2):
        assert read(file, number).values[3, 3].tolist() == [80 * number, 0, 255]


def test_pages_of_16_bits_are_frames() -> None:
    values = numbers("uint16", 8, 5, 7)
    file = tiff(values, photometric="minisblack")
    assert count(file) == 8
    for number in (7, 0):
        np.testing.assert_array_equal(read(file, number).values, values[number])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_smaller_versions_and_masks_of_a_page_are_no_frames(dtype: str) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number in range(2):
            writer.write(np.full((32, 32), number, dtype), photometric="minisblack")
            writer.write(np.full((16, 16), 9, dtype), photometric="minisblack", subfiletype=1)
            writer.write(np.ones((32, 32), bool), photometric="minisblack", subfiletype=4)
    assert count(file) == 2
    assert read(file, 1).values.max() == 1


def test_the_second_picture_of_a_photograph_is_no_frame() -> None:
    photograph, preview = Image.new("RGB", (16, 16)), Image.new("RGB", (8, 8))
    assert count(saved(photograph, "MPO", save_all=True, append_images=[preview])) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_has_it(orientation: int, tmp_path: Path) -> None:
    values = numbers("uint8", 5, 7)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = read(saved(Image.fromarray(values), "TIFF", exif=exif)).values
    tag = [(0x0112, "H", 1, orientation, True)]
    turned = read(tiff(values.astype(np.uint16), photometric="minisblack", extratags=tag)).values
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize("nodata", [-9999, np.nan])
@pytest.mark.parametrize("bands", [None, (1,), (3, 2, 1)])
def test_where_a_file_has_no_data_it_is_black_and_does_not_count(
    nodata: float, bands: tuple[int, ...] | None
) -> None:
    values = numbers("float32", 5, 7, 3) + 100
    values[2] = nodata
    tag = [(42113, "s", 0, str(nodata), True)]
    frame = read(tiff(values, photometric="rgb", extratags=tag), bands=bands)
    assert frame.visible.min() >= 100
    assert frame.missing is not None
    assert np.flatnonzero(frame.missing.all(axis=1)).tolist() == [2]
    pixels = np.asarray(frame.to_image(PixelRange(0, 100)))
    assert not pixels[2].any()
    assert (np.delete(pixels, 2, axis=0) == 255).all()
    values[:] = nodata
    with pytest.raises(ValueError, match=f"all of its pixels are {nodata}, which it says is no"):
        read(tiff(values, photometric="rgb", extratags=tag), bands=bands)


def test_a_tiff_that_announces_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = tiff(np.zeros((21, 10), np.uint16), photometric="minisblack")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError, match=r"\(210 pixels\) exceeds limit of 200"):
        read(file)


def test_a_volume_is_refused() -> None:
    file = tiff(numbers("uint16", 8, 16, 16), volumetric=True, tile=(8, 16, 16))
    with pytest.raises(ValueError, match="is not an image: its axes are ZYX"):
        read(file)


def test_a_broken_tiff_prints_nothing_beside_its_error(caplog: pytest.LogCaptureFixture) -> None:
    content = tiff(numbers("uint16", 50, 50), photometric="minisblack").getvalue()
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception, match=r".+"):
        read(io.BytesIO(content[:200]))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_ordinary_images_are_what_pillow_makes_of_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 4), dtype=np.uint8)
    for mode, kind in [("L", "TIFF"), ("RGB", "TIFF"), ("RGB", "PNG"), ("1", "TIFF"), ("P", "GIF")]:
        image = Image.fromarray(pixels, "RGBA").convert("RGB").convert(mode)
        shown = read(saved(image, kind)).to_image(FORMAT_RANGES["8-bit"])
        np.testing.assert_array_equal(shown.convert("RGB"), image.convert("RGB"))
    laid = Image.new("RGBA", (9, 9), "white")
    laid.alpha_composite(Image.fromarray(pixels, "RGBA"))
    for kind in ("PNG", "TIFF"):
        frame = read(saved(Image.fromarray(pixels, "RGBA"), kind))
        np.testing.assert_array_equal(frame.to_image(FORMAT_RANGES["8-bit"]), laid.convert("RGB"))
