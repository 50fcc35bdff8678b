"""Every form in which people have images gives the same numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab
from tests.api.models import SHAPE, loaded
from vaelab.api.inputs import label_numbers, read_images, training_pixels

GRAY = np.random.default_rng(0).integers(0, 256, (5, 8, 6), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
FORMS: dict[str, Callable[[np.ndarray], object]] = {
    "uint8": lambda a: a,
    "int64": lambda a: a.astype(np.int64),
    "float64": lambda a: a / 255,
    "float32": lambda a: a.astype(np.float32) / 255,
    "nested lists": lambda a: a.tolist(),
    "list of arrays": lambda a: [*a],
    "tensor": lambda a: torch.from_numpy(a),
    "float tensor": lambda a: torch.from_numpy(a).float() / 255,
    "pictures": lambda a: [Image.fromarray(each) for each in a],
    "pictures and arrays": lambda a: [Image.fromarray(a[0]), *a[1:]],
    "not contiguous": lambda a: a[::-1][::-1],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_all_forms_are_the_same_images(form: Callable[[np.ndarray], object]) -> None:
    gray, color = read_images(form(GRAY), (1, 8, 6)), read_images(form(COLOR), (3, 8, 6))
    np.testing.assert_allclose(gray, GRAY[:, None] / 255, atol=1e-7)
    np.testing.assert_allclose(color, COLOR.transpose(0, 3, 1, 2) / 255, atol=1e-7)


@pytest.mark.parametrize(
    "one", [GRAY[0], GRAY[:1], GRAY[0][..., None], GRAY[0][None], Image.fromarray(GRAY[0])]
)
def test_one_image_is_a_batch_of_one(one: object) -> None:
    found = read_images(one, (1, 8, 6))
    np.testing.assert_allclose(found, GRAY[:1, None] / 255, atol=1e-7)


def test_channels_may_come_first() -> None:
    found = read_images(COLOR.transpose(0, 3, 1, 2), (3, 8, 6))
    assert torch.equal(found, read_images(COLOR, (3, 8, 6)))


def test_files_and_folders(tmp_path: Path) -> None:
    for number, image in enumerate(GRAY):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    expected = read_images(GRAY, (1, 8, 6))
    for given in (tmp_path, str(tmp_path), files, [*map(str, files)]):
        assert torch.equal(read_images(given, (1, 8, 6)), expected)
    assert torch.equal(read_images(files[2], (1, 8, 6)), expected[2:3])
    np.save(tmp_path / "all.npy", GRAY)
    assert torch.equal(read_images(tmp_path / "all.npy", (1, 8, 6)), expected)


def test_pictures_become_gray_or_color_as_the_model_is() -> None:
    as_color = read_images(Image.fromarray(GRAY[0]), (3, 8, 6))
    assert torch.equal(as_color, read_images(GRAY[:1], (1, 8, 6)).expand(1, 3, 8, 6))
    expected = np.asarray(Image.fromarray(COLOR[0]).convert("L"))
    assert torch.equal(
        read_images(Image.fromarray(COLOR[0]), (1, 8, 6)), read_images(expected, (1, 8, 6))
    )
    opaque = Image.fromarray(COLOR[0]).convert("RGBA")
    assert torch.equal(read_images(opaque, (3, 8, 6)), read_images(COLOR[:1], (3, 8, 6)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 5, 8)), r"images of shape \[3, 5, 8\] do not fit the model: wanted \[1, 8, "),
        (np.full((8, 8), 16.0), "pixels of float64 from 16 to 16 cannot be right: wanted floats"),
        (np.full((8, 8), -1), "pixels of int64 from -1 to -1 cannot be right: wanted floats"),
        (np.full((8, 8), np.nan), "pixels are not all finite"),
        (None, "images must be numbers, not NoneType"),
        ("nowhere.png", "nowhere.png: no such file"),
        (["nowhere.png"], "nowhere.png: no such file"),
        ([], r"images of shape \[0\] do not fit the model"),
        (Image.new("F", (8, 8)), "a picture of mode F: convert it"),
        (Image.new("L", (9, 8)), "a picture of 9x8 pixels: the model's images have 8x8"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    tmp_path: Path, values: object, message: str
) -> None:
    model = loaded(tmp_path)
    with pytest.raises(vaelab.UserError, match=f"^{message}") as error:
        model.reconstruct(values)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not an image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(vaelab.UserError, match=r"notes.png: cannot be read as an image"):
        read_images(tmp_path / "notes.png", SHAPE)
    with pytest.raises(vaelab.UserError, match="empty: holds no images"):
        read_images(tmp_path / "empty", SHAPE)


def test_images_to_train_on_have_any_one_shape() -> None:
    for given in (GRAY, GRAY / 255, GRAY[..., None], GRAY[:, None], FORMS["pictures"](GRAY)):
        assert np.array_equal(training_pixels(given), GRAY[:, None])
    for given in (COLOR, COLOR.transpose(0, 3, 1, 2), FORMS["pictures"](COLOR)):
        assert np.array_equal(training_pixels(given), COLOR.transpose(0, 3, 1, 2))
    with pytest.raises(vaelab.UserError, match=r"images of shape \[8, 6\] cannot be trained on"):
        training_pixels(GRAY[0])


def test_labels_are_numbers_or_names_one_or_one_each() -> None:
    for given in ("owl", 2, np.int64(2), torch.tensor(2), [2, 2], ["owl", 2], np.array([2, 2])):
        assert label_numbers(given, 2, 3, ("cat", "dog", "owl")).tolist() == [2, 2]
    for wrong, message in (
        ("ow", "unknown label ow; did you mean owl"),
        (3, "label 3 is out of range: 0 to 2, or -1"),
        (1.5, "label 1.5 is out of range"),
        ([1], "1 labels for 2 images"),
    ):
        with pytest.raises(vaelab.UserError, match=f"^{message}"):
            label_numbers(wrong, 2, 3, ("cat", "dog", "owl"))
