"""The user's own images, with whatever else lies in their folder."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher
from vaelab.data.source import ImageSet, Source
from vaelab.data.sources import folder as source_folder

GREY, COLOUR = 190, (200, 100, 50)


def put(path: Path, size: tuple[int, int] = (6, 4), color=GREY) -> Path:
    """Save an image of width x height in one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(color, int) else "RGB", size, color).save(path)
    return path


def read(folder: Path, **settings) -> Source:
    return source_folder.read(DataSettings(name="folder", folder=folder, **settings), folder)


def images(source: Source) -> np.ndarray:
    return source.train.read(np.arange(source.train.count))


def refused(folder: Path, message: str, **settings) -> str:
    with pytest.raises(UserError, match=message) as caught:
        read(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_grey_images_without_labels(tmp_path):
    for index in (2, 0, 1):
        put(tmp_path / f"{index}.png", (20, 28), 100 * index)
    source = read(tmp_path)
    assert source.train.shape == (1, 28, 20)
    assert images(source)[:, 0, 0, 0].tolist() == [0, 100, 200]
    assert source.train.labels is None
    assert source.class_names is None
    assert source.notes == ()
    assert source.test is source.validation is None


def test_sub_folders_are_labels_at_any_depth(tmp_path):
    put(tmp_path / "dog" / "a.bmp", color=50)
    put(tmp_path / "cat" / "young" / "b.png", color=100)
    put(tmp_path / "cat" / "a.PNG", color=150)
    (tmp_path / "empty").mkdir()
    source = read(tmp_path)
    assert source.class_names == ("cat", "dog")
    np.testing.assert_array_equal(source.train.labels, [0, 0, 1])
    assert images(source)[:, 0, 0, 0].tolist() == [150, 100, 50]


def test_rows_are_read_in_any_order(tmp_path):
    for index in range(5):
        put(tmp_path / f"{index}.png", color=10 * index)
    assert read(tmp_path).train.read(np.array([4, 0, 4]))[:, 0, 0, 0].tolist() == [40, 0, 40]


@pytest.mark.parametrize(
    ("colors", "setting", "channels"),
    [
        ((GREY, GREY), "auto", 1),
        ((GREY, (5, 5, 5)), "auto", 1),
        ((GREY, COLOUR), "auto", 3),
        ((GREY, GREY), "rgb", 3),
        ((COLOUR, COLOUR), "grey", 1),
    ],
)
def test_grey_or_colour(tmp_path, colors, setting, channels):
    for index, color in enumerate(colors):
        put(tmp_path / f"{index}.png", color=color)
    assert images(read(tmp_path, color=setting)).shape == (2, channels, 4, 6)


def test_colour_becomes_luma(tmp_path):
    put(tmp_path / "a.png", color=COLOUR)
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B = 59.8 + 58.7 + 5.7 = 124.2
    assert images(read(tmp_path, color="grey"))[0, 0, 0, 0] == 124


def test_many_formats_in_one_folder(tmp_path):
    for ending in ("jpg", "png", "gif", "bmp", "tiff", "webp", "ppm", "tga"):
        put(tmp_path / f"image.{ending}", (16, 16), COLOUR)
    result = images(read(tmp_path))
    assert result.shape == (8, 3, 16, 16)
    # a gif has a palette of 256 colours, jpg and webp are lossy
    np.testing.assert_allclose(result[:, :, 8, 8], [COLOUR] * 8, atol=6)


def test_what_is_no_image_is_ignored_and_counted(tmp_path):
    put(tmp_path / "a" / "image.png")
    for name in ("notes.txt", "a/Thumbs.db", ".gitignore", "a/._image.png", "README", "a/x.pdf"):
        (tmp_path / name).write_bytes(b"no image")
    put(tmp_path / ".thumbnails" / "image.png")
    source = read(tmp_path)
    assert source.train.count == 1
    assert source.notes == (
        f"{tmp_path}: 1 of 8 files are read; not read: not images: 1 without ending, 1 .db, "
        "1 .pdf, 1 .txt; hidden: 3 (.gitignore, .thumbnails/image.png, a/._image.png)",
    )
    assert "notes.txt\tnot images: .txt" in source.lists["skipped_files.txt"]
    assert len(source.lists["skipped_files.txt"]) == 7


def test_links_are_followed_and_circles_are_not(tmp_path):
    outside = put(tmp_path / "outside" / "image.png", color=7)
    inside = put(tmp_path / "images" / "cat" / "image.png")
    (inside.parent / "file.png").symlink_to(outside)
    (inside.parent / "twin.png").symlink_to(inside)
    (tmp_path / "images" / "dog").symlink_to(outside.parent)
    (outside.parent / "back").symlink_to(tmp_path / "images")
    (inside.parent / "up").symlink_to(tmp_path)
    (tmp_path / "images" / "again").symlink_to(inside.parent)
    (tmp_path / "images" / "twice").symlink_to(outside.parent)
    source = read(tmp_path / "images")
    assert source.class_names == ("cat", "dog")
    assert images(source)[:, 0, 0, 0].tolist() == [7, GREY, GREY, 7]
    assert dict(line.split("\t") for line in source.lists["skipped_files.txt"]) == {
        "again": "folders that are read already",
        "cat/up": "links to a folder above them",
        "dog/back": "links to a folder above them",
        "twice": "folders that are read already",
    }


def test_a_class_that_is_a_broken_link_is_named(tmp_path):
    put(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").symlink_to("gone")
    assert read(tmp_path).notes == (
        f"{tmp_path}: 1 of 2 files are read; not read: links to nothing: 1 (dog)",
    )


def test_a_hidden_store_of_files_is_read_through_its_links(tmp_path):
    put(tmp_path / ".store" / "cats" / "a.png")
    (tmp_path / "cat").symlink_to(".store/cats")
    assert read(tmp_path, label_level=1).class_names == ("cat",)


def test_classes_are_in_natural_order(tmp_path):
    for number in range(12):
        put(tmp_path / str(number) / "a.png", color=20 * number)
    source = read(tmp_path)
    assert source.class_names == tuple(map(str, range(12)))
    np.testing.assert_array_equal(source.train.labels, images(source)[:, 0, 0, 0] // 20)


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "images" / "a.png")
    assert read(Path("~/images")).train.count == 1
    refused(Path("~nobody-of-this-name/images"), "is not a folder of images")


def test_a_folder_that_is_a_link_is_followed(tmp_path):
    put(tmp_path / "images" / "image.png")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    assert read(tmp_path / "link").train.count == 1


def test_a_pipe_is_no_image(tmp_path):
    put(tmp_path / "image.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert read(tmp_path).train.count == 1


def test_every_unreadable_image_is_reported(tmp_path):
    whole = put(tmp_path / "a" / "whole.png", (64, 64)).read_bytes()
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    (tmp_path / "a" / "page.gif").write_bytes(b"<html>not found</html>")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "dangling.png").symlink_to(tmp_path / "b" / "gone.png")
    (tmp_path / "b" / "loop.png").symlink_to(tmp_path / "b" / "loop.png")
    message = refused(tmp_path, "5 of 6 images cannot be read: .*; repair or remove them")
    assert "a/empty.jpg (an empty file)" in message
    assert "a/page.gif (in no image format that Pillow knows)" in message
    for name in ("cut", "dangling", "loop"):
        assert re.search(rf"b/{name}\.png \([^)]+\)", message), name
    assert "whole" not in message


def test_ten_unreadable_images_are_named_and_the_rest_counted(tmp_path):
    put(tmp_path / "zz.png")
    for index in range(23):
        (tmp_path / f"{index:02}.png").write_bytes(b"")
    message = refused(
        tmp_path, r"23 of 24 images cannot be read \(an empty file\): 00.* and 13 more; repair"
    )
    assert message.count(".png") == 10


def test_unreadable_images_can_be_skipped(tmp_path):
    put(tmp_path / "cat" / "a.png", color=170)
    put(tmp_path / "dog" / "b.png", color=190)
    for name in ("cat/cut.png", "eel/page.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"<html>")
    (tmp_path / "dog" / "gone.png").symlink_to("nowhere")
    source = read(tmp_path, unreadable="skip")
    assert source.class_names == ("cat", "dog")
    assert images(source)[:, 0, 0, 0].tolist() == [170, 190]
    assert source.notes[:2] == (
        f"{tmp_path}: 2 of 5 files are read; not read: unreadable: 3 (cat/cut.png, dog/gone.png, "
        "eel/page.png)",
        "classes without a readable image: eel",
    )
    assert source.lists["skipped_files.txt"][1] == (
        "dog/gone.png\tunreadable: No such file or directory"
    )
    (tmp_path / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "dog" / "b.png").write_bytes(b"")
    refused(tmp_path, "5 of 5 images cannot be read: .*; repair or remove them$", unreadable="skip")


def test_the_limit_of_pixels_is_a_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put(tmp_path / "large.png", (21, 10))
    refused(
        tmp_path, r"large\.png \(Image size \(210 pixels\) .* data\.max_pixels sets another limit"
    )
    assert read(tmp_path, max_pixels=210).train.count == 1
    refused(tmp_path, r"exceeds limit of 208 pixels", max_pixels=208)


def test_a_decompression_bomb_is_reported_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put(tmp_path / "fine.png", (9, 9))
    put(tmp_path / "bomb.png", (21, 10))
    refused(tmp_path, r"1 of 2 .*: bomb\.png \(Image size \(210 pixels\) exceeds limit of 200")


@pytest.mark.parametrize("name", ["caf\u00e9 \U0001f431.png", "new\nline.png"])
def test_odd_names(tmp_path, name):
    put(tmp_path / "cl\u00e4ss" / name)
    assert read(tmp_path, label_level=1).class_names == ("cl\u00e4ss",)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x07b", r"a\x07b"),
        ("new\nline", r"new\nline"),
        ("\uffff", r"\uffff"),
        ("ab\u3000\u200d \U0001f431", "ab\u3000\u200d \U0001f431"),
    ],
)
def test_characters_that_no_page_may_hold_are_written_out(tmp_path, name, shown):
    put(tmp_path / name / "a.png")
    assert read(tmp_path, label_level=1).class_names == (shown,)


def test_names_that_are_no_unicode(tmp_path):
    name = os.fsdecode(b"\xff")
    try:
        put(tmp_path / name / "a.png")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert read(tmp_path, label_level=1).class_names == (r"\udcff",)


def test_several_sizes_become_one(tmp_path):
    for index in range(3):
        put(tmp_path / f"a{index}.png", (20, 28))
    put(tmp_path / "b.png", (32, 16))
    source = read(tmp_path)
    assert images(source).shape == (4, 1, 16, 12)
    assert (
        f"{tmp_path}: its images have 2 sizes [height, width], from [16, 32] to [28, 20]: all "
        "become [16, 12], of their commonest aspect (data.image_size sets another, data.resize how)"
    ) in source.notes
    assert images(read(tmp_path, image_size=(8, 8))).shape == (4, 1, 8, 8)


def test_orientation_counts_for_the_size(tmp_path):
    put(tmp_path / "a.png", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 6)).save(tmp_path / "b.png", exif=exif)
    assert read(tmp_path).train.shape == (1, 4, 6)


@pytest.mark.parametrize(("how", "corner", "middle"), [("crop", 255, 255), ("pad", 0, 255)])
def test_resize_is_as_set(tmp_path, how, corner, middle):
    put(tmp_path / "a.png", (40, 10), 255)
    image = images(read(tmp_path, image_size=(10, 10), resize=how))[0, 0]
    assert (image[0, 0], image[5, 5]) == (corner, middle)


def test_many_images_beside_sub_folders_are_refused(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "cat" / "b.png")
    put(tmp_path / "dog" / "c.png")
    refused(
        tmp_path,
        "holds 1 images itself and 2 in its sub-folders; data.loose_images: class makes a class of "
        "the former, skip leaves them out, and data.label_level: 0 takes all without labels",
    )
    left = read(tmp_path, loose_images="skip")
    assert (left.class_names, left.train.count) == (("cat", "dog"), 2)
    assert any("beside the folders of classes: 1 (a.png)" in note for note in left.notes)
    classes = read(tmp_path, loose_images="class")
    assert (classes.class_names, classes.train.count) == (
        tuple(sorted(("cat", "dog", tmp_path.name))),
        3,
    )
    plain = read(tmp_path, label_level=0)
    assert (plain.class_names, plain.train.count) == (None, 3)


def test_few_images_beside_sub_folders_are_left_out_and_counted(tmp_path):
    put(tmp_path / "wrapper" / "a.png")
    for number in range(10):
        put(tmp_path / "wrapper" / "cat" / f"{number}.png", (8 + number, 8))
        put(tmp_path / "wrapper" / "dog" / f"{number}.png", (8, 18 + number))
    source = read(tmp_path)
    assert (source.class_names, source.train.count) == (("cat", "dog"), 20)
    assert any(
        "20 of 21 files are read; not read: beside the folders of classes: 1 (wrapper/a.png)"
        in note
        for note in source.notes
    )


def test_no_folder_and_no_images_are_errors(tmp_path):
    refused(tmp_path / "gone", "gone is not a folder of images")
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path / "notes.txt", "is not a folder")
    refused(tmp_path, r"holds no images \(other entries: 1\)")


def test_a_file_that_breaks_later_is_named(tmp_path):
    path = put(tmp_path / "a.png")
    source = read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png: cannot be read"):
        images(source)


def test_nothing_is_downloaded(tmp_path):
    fetch = Fetcher("folder", (), tmp_path / "partial")
    source_folder.download(DataSettings(name="folder"), tmp_path / "raw", fetch)
    assert list(tmp_path.iterdir()) == []


def names_of(part: ImageSet | None) -> list[str]:
    assert part is not None
    assert part.names is not None
    return list(part.names)


def test_images_are_named_by_their_paths_in_the_folder(tmp_path):
    for name in ("train/dog/10.png", "train/cat/2.png", "test/cat/a b.png"):
        put(tmp_path / name)
    source = read(tmp_path)
    assert names_of(source.train) == ["train/cat/2.png", "train/dog/10.png"]
    assert names_of(source.test) == ["test/cat/a b.png"]


def test_frames_of_a_file_are_numbered_in_their_names(tmp_path):
    put(tmp_path / "a.png")
    pages = [Image.new("L", (6, 4), 40 * n) for n in range(3)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    source = read(tmp_path, frames="all")
    assert names_of(source.train) == ["a.png", "scan.tif#0", "scan.tif#1", "scan.tif#2"]
    assert names_of(read(tmp_path).train) == ["a.png", "scan.tif"]


def test_a_name_is_one_line(tmp_path):
    put(tmp_path / "two\nlines\tand a tab.png")
    assert names_of(read(tmp_path).train) == ["two\\nlines\\tand a tab.png"]
