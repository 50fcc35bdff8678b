"""Missing pixels by `data.missing`: which are, what is stored of them, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from pipeline.artifacts import build_batches
from tests.data.test_folder import images, put, read, refused
from vaelab.config import DataSettings, UserError
from vaelab.data.dataset import SPLITS, PreparedData, SplitName
from vaelab.data.prepare import prepare
from vaelab.data.source import Source, from_array
from vaelab.runtime.random_streams import rng_stream

MAGENTA = "#ff00ff"
COUNT, SHAPE = 200, (3, 6, 5)
HALVES = {"test_fraction": 0.25, "validation_fraction": 0.2}


def made(levels: int = 256) -> Source:
    pixels = np.random.default_rng(0).integers(1, 256, (COUNT, *SHAPE), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(COUNT)  # numbers the image
    return Source("made", "this test", levels, from_array(pixels, None, DataSettings()))


def prepared(folder: Path, **settings: object) -> PreparedData:
    chosen = DataSettings.model_validate(HALVES | settings)
    prepare(made(), chosen, folder)
    return PreparedData.load(folder)


def gaps(data: PreparedData, split: SplitName) -> np.ndarray:
    found = data.missing(split)
    assert found is not None
    return found


def observed(source: Source) -> list[int]:
    """Return the values of the pixels of training images that are not missing."""
    found = images(source)
    assert isinstance(found, np.ma.MaskedArray)
    return [int(value) for value in found.compressed()]


def masks(source: Source) -> np.ndarray:
    """Return where pixels of the training images are missing, [images, height, width]."""
    found = images(source)
    assert isinstance(found, np.ma.MaskedArray)
    mask = np.ma.getmaskarray(found)
    assert (mask == mask[:, :1]).all()
    return mask[:, 0]


# --- a share, hidden at random


def test_a_share_is_hidden_of_training_and_validation_images_and_none_of_test(tmp_path):
    data, whole = prepared(tmp_path / "a", missing=0.3), prepared(tmp_path / "b")
    assert set(data.info.missing) == {"train", "validation"}
    splits: tuple[SplitName, ...] = ("train", "validation")
    for split in splits:
        hidden = gaps(data, split)
        assert hidden.shape == (data.info.counts[split], 1, *SHAPE[1:])
        assert data.info.missing[split] == hidden.mean()
        tolerance = 6 * (0.3 * 0.7 / hidden.size) ** 0.5
        assert hidden.mean() == pytest.approx(0.3, abs=tolerance)
        expected = np.where(hidden, 0, whole.images(split))
        np.testing.assert_array_equal(data.images(split), expected)
    assert data.missing("test") is None
    np.testing.assert_array_equal(data.images("test"), whole.images("test"))
    assert data.info.notes == (
        f"missing pixels: {data.info.missing['train']:.1%} of train, "
        f"{data.info.missing['validation']:.1%} of validation; the test images are whole",
    )
    assert whole.info.missing == {}
    assert "missing" not in (tmp_path / "b" / "dataset.json").read_text()


def test_what_is_hidden_depends_on_the_seed_alone(tmp_path, monkeypatch):
    first = prepared(tmp_path / "a", missing=0.5)
    monkeypatch.setattr("vaelab.data.prepare._CHUNK_BYTES", 7 * np.prod(SHAPE))
    again, other = prepared(tmp_path / "b", missing=0.5), prepared(tmp_path / "c", missing=0.5)
    np.testing.assert_array_equal(gaps(first, "train"), gaps(again, "train"))
    assert first.info.sha256 == again.info.sha256 == other.info.sha256
    assert "train_missing.npy" in first.info.sha256
    changed = prepared(tmp_path / "d", missing=0.5, seed=1)
    assert not np.array_equal(gaps(first, "train"), gaps(changed, "train"))


def test_the_loader_returns_nan_there_and_the_pixels_elsewhere(tmp_path, monkeypatch):
    data = prepared(tmp_path, missing=0.5)
    hidden = torch.from_numpy(np.array(gaps(data, "train")))
    whole = torch.from_numpy(np.array(data.images("train"))) / 255
    expected = whole.masked_fill(hidden, torch.nan)
    for fits in (True, False):
        monkeypatch.setattr("vaelab.data.loader._fits", lambda *_, fits=fits: fits)
        loader = build_batches(data, "train", False, torch.device("cpu"))
        assert isinstance(loader.array, np.memmap), "nothing is loaded that does not fit"
        found = torch.cat([b.images for b in loader.sequential(32, rng_stream(0, "noise"))])
        torch.testing.assert_close(found, expected, equal_nan=True)
        rows = torch.tensor([17, 3, 90])
        found = loader.gather(rows, rng_stream(0, "noise"))
        torch.testing.assert_close(found, expected[rows], equal_nan=True)


def test_binary_pixels_are_sampled_as_without_missing_ones(tmp_path):
    data = prepared(tmp_path / "a", missing=0.5, binarization="fixed")
    whole = prepared(tmp_path / "b", binarization="fixed")
    expected = np.where(gaps(data, "train"), 0, whole.images("train"))
    np.testing.assert_array_equal(data.images("train"), expected)


def test_a_share_that_hides_nothing_is_refused(tmp_path):
    message = "^data.missing: 1e-09: no pixel was hidden; set a larger share$"
    with pytest.raises(UserError, match=message):
        prepared(tmp_path / "a", missing=1e-9)
    assert not (tmp_path / "a").exists()


# --- files that mark what is missing


def picture(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def marked_pixels(marked: np.ndarray, mode: str) -> np.ndarray:
    """Return a picture of mode RGB with magenta, or RGBA with transparency, where marked."""
    pixels = np.random.default_rng(1).integers(0, 200, (*marked.shape, 3), dtype=np.uint8)
    pixels[marked] = (255, 0, 255)
    if mode == "RGB":
        return pixels
    return np.dstack([pixels, np.where(marked, 0, 255).astype(np.uint8)])


@pytest.mark.parametrize(("mode", "missing"), [("RGB", MAGENTA), ("RGBA", "marked")])
def test_files_mark_pixels_by_a_color_or_by_transparency(tmp_path, mode, missing):
    marked = np.random.default_rng(0).random((4, 5, 6)) < 0.3
    for number, where in enumerate(marked):
        picture(tmp_path / f"{number}.png", marked_pixels(where, mode))
    source = read(tmp_path, missing=missing)
    np.testing.assert_array_equal(masks(source), marked)
    pixels = marked_pixels(marked[0], "RGB").transpose(2, 0, 1)
    np.testing.assert_array_equal(
        np.ma.getdata(images(source))[0][:, ~marked[0]], pixels[:, ~marked[0]]
    )
    assert not any("put on white" in note for note in source.notes)


def test_a_pixel_is_missing_below_half_its_opacity(tmp_path):
    pixels = np.full((2, 3, 4), 90, np.uint8)
    pixels[..., 3] = [[0, 127, 128], [255, 255, 255]]
    picture(tmp_path / "a.png", pixels)
    source = read(tmp_path, missing="marked")
    assert masks(source)[0].tolist() == [[True, True, False], [False, False, False]]
    assert observed(source) == [90] * 4
    assert source.train.shape[0] == 1, "the colors of missing pixels do not count"


def test_gray_images_marked_by_a_color_stay_gray(tmp_path):
    pixels = np.full((4, 4, 3), 80, np.uint8)
    pixels[0, 1] = (255, 0, 255)
    picture(tmp_path / "a.png", pixels)
    source = read(tmp_path, missing=MAGENTA)
    assert source.train.shape == (1, 4, 4)
    assert np.argwhere(masks(source)).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("how", ["stretch", "crop"])
def test_resized_pixels_are_means_of_observed_ones(tmp_path, how):
    pixels = np.full((16, 16, 3), 120, np.uint8)
    pixels[:, :8] = (255, 0, 255)
    picture(tmp_path / "a.png", pixels)
    source = read(tmp_path, missing=MAGENTA, image_size=(4, 4), resize=how)
    assert masks(source)[0].tolist() == [[True, True, False, False]] * 4
    # Up to the rounding of colors that Pillow multiplies by their opacity
    assert max(abs(value - 120) for value in observed(source)) <= 3, "no magenta is mixed in"


def test_what_pad_adds_is_missing(tmp_path):
    pixels = np.full((4, 8, 3), 120, np.uint8)
    pixels[0, 0] = (255, 0, 255)
    picture(tmp_path / "a.png", pixels)
    source = read(tmp_path, missing=MAGENTA, image_size=(8, 8), resize="pad")
    assert masks(source)[0, :2].all()
    assert masks(source)[0, 6:].all()
    assert masks(source)[0].sum() == 4 * 8 + 1


def test_nan_and_no_data_of_tiff_files(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[5, 5] = -9999
    nodata = [(42113, "s", 0, "-9999", True)]
    tifffile.imwrite(tmp_path / "b.tif", values, extratags=nodata)
    found = masks(read(tmp_path, missing="marked"))
    assert [np.argwhere(each).tolist() for each in found] == [[[2, 3]], [[5, 5]]]


def test_copies_with_other_gaps_are_other_images(tmp_path):
    for number, row in enumerate((0, 0, 1)):
        pixels = np.zeros((4, 4, 3), np.uint8)
        pixels[row, 0] = (255, 0, 255)
        picture(tmp_path / f"{number}.png", pixels)
    digests = read(tmp_path, missing=MAGENTA).train.digests
    assert digests is not None
    assert digests[0] == digests[1] != digests[2]


def test_nan_in_arrays_is_missing_if_that_is_set(tmp_path):
    values = np.random.default_rng(0).random((12, 5, 4, 3))
    values[0, 0, 0, 0] = 0
    values[1, 0, 0, 0] = 1
    marked = np.random.default_rng(1).random((12, 5, 4)) < 0.4
    holes = values.copy()
    holes[marked, 1] = np.nan  # one channel is enough
    np.save(tmp_path / "a.npy", holes)
    hint = (
        r"image 0: \d of its 60 values are not finite numbers; "
        r"data.missing: marked takes NaN as missing pixels; remove it"
    )
    refused(tmp_path, hint)
    source = read(tmp_path, missing="marked")
    np.testing.assert_array_equal(masks(source), marked)
    expected = np.rint(values * 255).transpose(0, 3, 1, 2)
    seen = np.broadcast_to(~marked[:, None], expected.shape)
    np.testing.assert_array_equal(np.ma.getdata(images(source))[seen], expected[seen])
    small = read(tmp_path, missing="marked", image_size=(10, 8))
    np.testing.assert_array_equal(masks(small)[:, 1::2, 1::2], marked)


def test_marked_pixels_of_all_splits_are_stored(tmp_path):
    values = np.random.default_rng(0).random((40, 4, 4))
    values[:, 1, 2] = np.nan
    np.save(tmp_path / "a.npy", values)
    source = read(tmp_path, missing="marked")
    chosen = DataSettings(name="folder", folder=tmp_path, missing="marked")
    info = prepare(source, chosen, tmp_path / "prepared")
    assert info.missing == dict.fromkeys(SPLITS, 1 / 16)
    assert info.notes[-1] == "missing pixels: 6.2% of train, 6.2% of validation, 6.2% of test"
    data = PreparedData.load(tmp_path / "prepared")
    for split in SPLITS:
        assert np.argwhere(gaps(data, split)[0]).tolist() == [[0, 1, 2]]
        assert not data.images(split)[:, 0, 1, 2].any()


# --- what is refused


def test_images_without_any_observed_pixel_are_named(tmp_path):
    put(tmp_path / "a.png", color=(255, 0, 255))
    put(tmp_path / "b.png", color=(1, 2, 3))
    refused(tmp_path, r"1 of 2 .*a\.png \(all of its pixels are missing\)", missing=MAGENTA)
    np.save(tmp_path / "c.npy", np.full((3, 4, 4), np.nan))
    refused(tmp_path / "c.npy", "image 0: all of its pixels are missing", missing="marked")


def test_a_color_needs_pictures_of_8_bits(tmp_path):
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "a.png")
    message = r"a\.png \(a color marks missing pixels of 8 bits, not of uint16\)"
    refused(tmp_path, message, missing=MAGENTA)
    np.save(tmp_path / "b.npy", np.zeros((3, 4, 4, 3), np.uint8))
    message = (
        "^data.missing: #ff00ff: colors mark missing pixels of image files, and .*b.npy holds "
        "arrays; set data.missing: marked, and NaN where a pixel is missing$"
    )
    refused(tmp_path / "b.npy", message, missing=MAGENTA)


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ("#ff00ff", "no pixel has exactly this color; PNG keeps colors as they are, JPEG does not"),
        ("marked", "no pixel is transparent, NaN or without data (GDAL_NODATA)"),
    ],
)
def test_files_that_mark_nothing_are_refused(tmp_path, missing, why):
    for number in range(20):
        put(tmp_path / f"{number}.png", color=number)
    chosen = DataSettings(name="folder", folder=tmp_path, missing=missing)
    with pytest.raises(UserError) as caught:
        prepare(read(tmp_path, missing=missing), chosen, tmp_path / "prepared")
    assert str(caught.value) == f"data.missing: {missing}: {why}"
    assert not (tmp_path / "prepared").exists()
