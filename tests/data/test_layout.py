"""What the folders around images mean, and which images stay together in a split."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_folder import put, read, refused
from vaelab.config import DataSettings, UserError, parse_settings
from vaelab.data.dataset import SPLITS
from vaelab.data.source import ImageSet, Source
from vaelab.data.splits import split, split_notes

Tree = dict[str, int]


def plant(folder: Path, tree: Tree, first: int = 0) -> None:
    """Save so many different images in each folder."""
    number = first
    for name, count in tree.items():
        for index in range(count):
            put(folder / name / f"{index}.png", color=(number % 256, number // 256, 255))
            number += 1


def counts(source: Source, settings: DataSettings | None = None) -> dict[str, list[int]]:
    """Return how many images of each class a split has; their number without classes."""
    result: dict[str, list[int]] = {}
    for name, part in split(source, settings or DataSettings()).items():
        labels = part.images.labels
        classes = len(source.class_names or ())
        result[name] = (
            [len(part)]
            if labels is None
            else np.bincount(labels[part.rows], minlength=classes).tolist()
        )
    return result


def notes(source: Source, settings: DataSettings | None = None) -> str:
    parts = split(source, settings or DataSettings())
    return "\n".join((*source.notes, *split_notes(source, parts)))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("train2017", "val2017", "test2017"),
        ("training_set", "dev_set", "test_set"),
        ("wrapper/train", "wrapper/valid", "wrapper/test"),
    ],
)
def test_folders_of_splits(tmp_path, train, validation, test):
    tree = {train: 3, validation: 1, test: 2}
    plant(tmp_path, {f"{s}/{c}": n for s, n in tree.items() for c in ("cat", "dog")})
    source = read(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert counts(source) == {"train": [3, 3], "validation": [1, 1], "test": [2, 2]}
    assert f"{Path(train).name} (6 files) as train" in notes(source)


def test_splits_below_classes_and_splits_without_classes(tmp_path):
    plant(tmp_path / "a", {"cat/train": 3, "cat/test": 2, "dog/train": 4, "dog/test": 1})
    assert counts(read(tmp_path / "a"), DataSettings(validation_fraction=0.3)) == {
        "train": [2, 3],
        "validation": [1, 1],
        "test": [2, 1],
    }
    plant(tmp_path / "b", {"train": 5, "val": 2, "test": 3})
    assert counts(read(tmp_path / "b")) == {"train": [5], "validation": [2], "test": [3]}
    assert read(tmp_path / "b").class_names is None


def test_a_split_without_folder_is_drawn_and_said(tmp_path):
    plant(tmp_path, {"train/a": 20, "train/b": 20, "val/a": 1, "val/b": 1})
    source = read(tmp_path)
    assert counts(source) == {"train": [16, 16], "validation": [1, 1], "test": [4, 4]}
    assert "val (2 files) as validation; test drawn from train" in notes(source)


@pytest.mark.parametrize(
    ("folders", "problem"),
    [
        (("train/a", "test/a", "masks"), r"\(test, train\) beside others \(masks\)"),
        (("train/a", "val/a", "valid/a"), "of which several may be the same split"),
        (("val/a", "test/a"), "and none of training images"),
        (("test",), "and none of training images"),
    ],
)
def test_unclear_splits_are_refused(tmp_path, folders, problem):
    plant(tmp_path, dict.fromkeys(folders, 1))
    refused(tmp_path, f"holds folders of splits .*{problem}; keep one folder for each")


def test_labelled_and_unlabelled_splits_are_refused(tmp_path):
    plant(tmp_path, {"train/cat": 2, "train/dog": 2, "test": 2})
    refused(tmp_path, "holds 2 images in folders of level 1 and 4 in its sub-folders")


def test_classes_that_are_named_as_splits_are_said(tmp_path):
    plant(tmp_path, {"train": 40, "car": 40, "test_tube": 40})
    source = read(tmp_path)
    assert source.class_names == ("car", "test_tube", "train")
    assert "its folder train is taken as a class, no split" in notes(source)


def test_one_folder_around_classes_is_no_class(tmp_path):
    plant(tmp_path, {"flowers/rose": 20, "flowers/tulip/red": 4})
    source = read(tmp_path)
    assert source.class_names == ("rose", "tulip")
    assert "4 files are in folders below those of the classes, whose names are not used" in (
        notes(source)
    )


def test_rare_classes_are_where_they_can_be_and_the_rest_is_named(tmp_path):
    plant(tmp_path, {"a": 190, "b": 2, "c": 1})
    source = read(tmp_path)
    # 193 * 0.2 = 38.6; 154 * 0.05 = 7.7
    assert counts(source) == {"train": [144, 1, 1], "validation": [8, 0, 0], "test": [38, 1, 0]}
    assert notes(source).endswith(
        "folder: classes without images in a split: validation lacks b, c; test lacks c"
    )


def test_copies_stay_on_one_side(tmp_path):
    plant(tmp_path, {"a": 20, "b": 20})
    for index in range(5):
        for number in range(4):
            (tmp_path / "a" / f"copy{index}-{number}.png").write_bytes(
                (tmp_path / "a" / f"{index}.png").read_bytes()
            )
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    source = read(tmp_path)
    for seed in range(5):
        settings = DataSettings(seed=seed)
        digests = [
            set(np.asarray(part.images.digests)[part.rows].tolist())
            for part in split(source, settings).values()
        ]
        assert len(set.union(*digests)) == sum(map(len, digests)) == 40
        assert notes(source, settings) == (
            "folder: 21 images are exact copies of others (40 differ); copies of an image are "
            "kept in one split; 1 images have copies of another class"
        )


def test_copies_of_test_images_are_left_out_of_training(tmp_path):
    plant(tmp_path, {"train/a": 5, "val/a": 2, "test/a": 3})
    for name, of in (("train", "test"), ("train", "val"), ("val", "test")):
        content = (tmp_path / of / "a" / "0.png").read_bytes()
        (tmp_path / name / "a" / f"{of}.png").write_bytes(content)
    source = read(tmp_path)
    assert counts(source) == {"train": [5], "validation": [2], "test": [3]}
    assert "2 images of train are left out: copies of images in a later split" in notes(source)
    assert "1 images of validation are left out" in notes(source)


@pytest.mark.parametrize("group", [2, r"^(p\d+)-"])
def test_groups_stay_in_one_split(tmp_path, group):
    number = 0
    for patient in range(30):
        for index in range(1 + patient % 4):
            name = f"p{patient}-{index}.png"
            put(tmp_path / "ab"[patient % 2] / f"p{patient}" / name, color=(number, 0, 9))
            number += 1
    source = read(tmp_path, group=group)
    assert source.class_names == ("a", "b")
    parts = split(source, DataSettings(validation_fraction=0.2))
    groups = [set(np.asarray(part.images.groups)[part.rows].tolist()) for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30
    counted = ", ".join(f"{len(own)} {name}" for own, name in zip(groups, parts, strict=True))
    settings = DataSettings(validation_fraction=0.2)
    assert f"folder: 30 groups of images stay together: {counted}" in notes(source, settings)
    # 73 images: 15 and 12, each off by less than a group of 4 for each class
    assert abs(len(parts["test"]) - 15) < 4
    assert abs(len(parts["validation"]) - 12) < 4


def test_folders_of_groups_are_no_classes(tmp_path):
    plant(tmp_path, {"p1": 5, "p2": 5, "p3": 5})
    source = read(tmp_path, group=1)
    assert source.class_names is None
    assert sorted(counts(source, DataSettings(validation_fraction=0.2)).values()) == [[5], [5], [5]]
    plant(tmp_path / "q", {"p1/ill": 5, "p2/well": 5, "p3/well": 5})
    assert read(tmp_path / "q", group=1).class_names == ("ill", "well")


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (3, "there is no folder of level 3 above 4 of 4 files: a/0.png, a/1.png, b/0.png and 1"),
        (r"^x", r"'\^x' is not found in the names of 4 of 4 files"),
    ],
)
def test_files_without_a_group_are_refused(tmp_path, group, problem):
    plant(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(UserError, match=f"data.group: {problem}"):
        read(tmp_path, group=group)


@pytest.mark.parametrize(
    ("group", "problem"),
    [("(", "is not a regular expression: missing"), (0, "must be a folder level")],
)
def test_groups_that_mean_nothing_are_refused(group, problem):
    with pytest.raises(UserError, match=rf"^settings: data\.group: {problem}"):
        parse_settings({"data": {"group": group}})


def test_one_group_cannot_be_split(tmp_path):
    plant(tmp_path, {"a": 9})
    with pytest.raises(UserError, match="9 images in 1 groups are too few"):
        counts(read(tmp_path, group=1))


def test_copies_alone_do_not_forbid_a_split(tmp_path):
    for index in range(10):
        put(tmp_path / f"{index}.png")
    assert "too few different images are left otherwise" in notes(
        read(tmp_path), DataSettings(validation_fraction=0.2)
    )


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_every_class_has_its_share(classes):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 500)
    digests = np.arange(500).astype("S32")
    images = ImageSet(500, (1, 1, 1), lambda rows: rows, labels, digests=digests)
    names = tuple(map(str, range(classes)))
    source = Source("made", "here", 256, images, class_names=names)
    parts = split(source, DataSettings(test_fraction=0.3))
    total = np.bincount(labels, minlength=classes)
    found = np.bincount(labels[parts["test"].rows], minlength=classes)
    assert len(parts["test"]) == 150
    assert (np.abs(found - 0.3 * total) <= 1).all()
    assert sorted(np.concatenate([parts[s].rows for s in SPLITS])) == list(range(500))


def test_unlabelled_different_images_are_split_as_those_of_other_sources():
    plain = ImageSet(97, (1, 1, 1), lambda rows: rows)
    known = ImageSet(97, (1, 1, 1), lambda rows: rows, digests=np.arange(97).astype("S32"))
    first, second = (
        split(Source("made", "here", 256, images), DataSettings()) for images in (plain, known)
    )
    for name in SPLITS:
        np.testing.assert_array_equal(first[name].rows, second[name].rows)


def test_one_folder_is_no_class(tmp_path):
    plant(tmp_path, {"png/128": 5})
    assert read(tmp_path).class_names is None
    assert read(tmp_path, label_level=2).class_names == ("128",)


def test_the_level_of_the_classes_can_be_named(tmp_path):
    plant(tmp_path, {"a/x": 2, "a/y": 2, "b/x": 2})
    assert read(tmp_path).class_names == ("a", "b")
    assert read(tmp_path, label_level=2).class_names == ("x", "y")
    assert read(tmp_path, label_level=0).class_names is None
    refused(
        tmp_path,
        r"data.label_level: there is no folder of level 3 above 6 of 6 files: a/x/0.png, .*; set "
        "the level that all have, or 0 for none",
        label_level=3,
    )
