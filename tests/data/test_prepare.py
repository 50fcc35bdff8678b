"""The prepared format: whole or not there, true to its dataset.json, read without loading."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vaelab.config import ArtifactError, DataSettings, UserError
from vaelab.data import prepare as prepare_module
from vaelab.data.dataset import SPLITS, PreparedData, SplitName
from vaelab.data.prepare import prepare, small_split_note, summarize
from vaelab.data.source import ImageSet, Source, from_array

COUNT = 50
SETTINGS = DataSettings(test_fraction=0.2, validation_fraction=0.25)  # 30, 10 and 10 images


def made(random: np.random.Generator, *, labelled: bool = True, factors: bool = False) -> Source:
    pixels = random.integers(0, 256, (COUNT, 3, 4, 5), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(COUNT)  # numbers the image
    train = from_array(pixels, np.arange(COUNT) % 2 if labelled else None, DataSettings())
    if factors:
        columns = np.stack([np.arange(COUNT), -np.arange(COUNT)], axis=1)
        train = ImageSet(COUNT, train.shape, train.read, train.labels, columns)
    return Source(
        name="made",
        origin="this test",
        levels=256,
        train=train,
        class_names=("even", "odd") if labelled else None,
        factor_names=("plus", "minus") if factors else None,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "prepared"


def test_what_is_written_is_read(folder, random):
    source = made(random, factors=True)
    info = prepare(source, SETTINGS, folder)
    data = PreparedData.load(folder)
    assert data.info == info
    assert data.info.counts == {"train": 30, "validation": 10, "test": 10}
    assert data.info.image_shape == (3, 4, 5)
    assert data.labels("train") is not None
    original = source.train.read(np.arange(COUNT))
    seen = []
    for split in SPLITS:
        images, labels, factors = data.images(split), data.labels(split), data.factors(split)
        assert isinstance(images, np.memmap)
        assert labels is not None
        assert factors is not None
        numbers = images[:, 0, 0, 0].astype(np.int64)
        np.testing.assert_array_equal(images, original[numbers])
        np.testing.assert_array_equal(labels, numbers % 2)
        np.testing.assert_array_equal(factors, np.stack([numbers, -numbers], axis=1))
        seen += numbers.tolist()
    assert sorted(seen) == list(range(COUNT))


def test_hashes_are_those_of_the_files(folder, random):
    info = prepare(made(random), SETTINGS, folder)
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.npy")}
    assert info.sha256 == found
    assert sorted(found) == sorted(
        f"{s}_{kind}.npy" for s in SPLITS for kind in ("images", "labels")
    )


def test_without_labels_there_are_none(folder, random):
    prepare(made(random, labelled=False), SETTINGS, folder)
    data = PreparedData.load(folder)
    assert data.labels("train") is None
    assert data.labels("train") is data.factors("test") is None
    assert not list(folder.glob("*labels*"))


def test_chunks_make_no_difference(folder, random, monkeypatch):
    source = made(random)
    expected = prepare(source, SETTINGS, folder).sha256
    monkeypatch.setattr(prepare_module, "_CHUNK_BYTES", 7 * 60)
    rows: list[int] = []
    read = source.train.read

    def count(chosen):
        rows.append(len(chosen))
        return read(chosen)

    object.__setattr__(source.train, "read", count)
    assert prepare(source, SETTINGS, folder).sha256 == expected
    assert rows == [7, 7, 7, 7, 2, 7, 3, 7, 3]


@pytest.mark.parametrize(
    ("binarization", "binary"),
    [("none", set()), ("fixed", set(SPLITS)), ("fresh", {"validation", "test"})],
)
def test_binarization_is_drawn_once_where_it_should_be(folder, random, binarization, binary):
    source = made(random)
    settings = SETTINGS.model_copy(update={"binarization": binarization, "seed": 5})
    info = prepare(source, settings, folder)
    data = PreparedData.load(folder)
    for split in SPLITS:
        levels = set(np.unique(data.images(split)).tolist())
        assert (levels == {0, 255}) == (split in binary)
    assert (info.binarization, info.seed) == (binarization, 5)
    assert info.levels == (256 if binarization == "none" else 2)
    assert prepare(source, settings, folder).sha256 == info.sha256


def test_another_seed_draws_other_pixels(folder, random):
    source = made(random)
    first, second = (
        prepare(source, DataSettings(binarization="fixed", seed=seed), folder).sha256
        for seed in (0, 1)
    )
    assert first["test_images.npy"] != second["test_images.npy"]


def test_a_failure_leaves_nothing_behind(folder, random):
    source = made(random)
    calls = []

    def fail(rows):
        calls.append(rows)
        raise UserError("a.png: cannot be read")

    object.__setattr__(source.train, "read", fail)
    with pytest.raises(UserError, match=r"a\.png"):
        prepare(source, SETTINGS, folder)
    assert calls
    assert list(folder.parent.iterdir()) == []


def test_a_failure_leaves_older_data_alone(folder, random):
    info = prepare(made(random), SETTINGS, folder)
    with pytest.raises(UserError, match="too few"):
        prepare(made(random), DataSettings(validation_fraction=0.001), folder)
    assert PreparedData.load(folder).info == info
    assert list(folder.parent.iterdir()) == [folder]


def test_a_full_disk_is_an_error(folder, random, monkeypatch):
    # 50 images of 60 bytes
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2999))
    with pytest.raises(UserError, match=r"do not fit on the disk.*: make room, or set a smaller"):
        prepare(made(random), SETTINGS, folder)
    assert list(folder.parent.iterdir()) == []
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3000))
    prepare(made(random), SETTINGS, folder)


def test_newer_data_replaces_older(folder, random):
    prepare(made(random), SETTINGS, folder)
    prepare(made(random, labelled=False), SETTINGS, folder)
    assert PreparedData.load(folder).labels("train") is None
    assert list(folder.parent.iterdir()) == [folder]


def test_the_summary_says_what_there_is(folder, random):
    assert summarize(prepare(made(random), SETTINGS, folder)) == (
        "made: 30 train, 10 validation, 10 test; colour images of 4x5 pixels; 2 classes (even, odd)"
    )
    assert summarize(prepare(made(random, labelled=False), SETTINGS, folder)).endswith("no labels")


def _shorten(folder: Path) -> None:
    path = folder / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _change_info(folder: Path, **changes: object) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "dataset.json").unlink(), r"dataset\.json: cannot be read \(No such file"),
        (lambda f: (f / "dataset.json").write_text("{"), r"dataset\.json: describes no data set"),
        (lambda f: _change_info(f, name=3), r"dataset\.json: describes no data set: name: "),
        (
            lambda f: _change_info(f, counts={"train": 30}),
            "counts: .*each of train, validation, te",
        ),
        (lambda f: (f / "test_labels.npy").unlink(), r"test_labels\.npy: cannot be read .*No such"),
        (_shorten, r"train_images\.npy: cannot be read"),
        (lambda f: (f / "test_images.npy").write_bytes(b""), r"test_images\.npy: cannot be read"),
        (
            lambda f: (f / "test_images.npy").write_bytes(b"<html>"),
            r"test_images\.npy: cannot be read \(EOF: reading magic",
        ),
        (
            lambda f: np.save(f / "test_labels.npy", np.zeros(10)),
            r"test_labels\.npy: holds float64 \[10\], dataset\.json says int64 \[10\]",
        ),
        (
            lambda f: np.save(f / "train_images.npy", np.zeros((29, 3, 4, 5), np.uint8)),
            r"train_images\.npy: holds uint8 \[29, 3, 4, 5\], .* says uint8 \[30, 3, 4, 5\]",
        ),
        (
            lambda f: np.save(f / "test_labels.npy", np.array([{}] * 10), allow_pickle=True),
            r"test_labels\.npy: cannot be read",
        ),
    ],
)
def test_damage_is_found_when_loading(folder, random, damage, reason):
    prepare(made(random), SETTINGS, folder)
    damage(folder)
    with pytest.raises(UserError, match=reason) as caught:
        PreparedData.load(folder)
    assert "\n" not in str(caught.value)


def named(random: np.random.Generator) -> Source:
    """Make images whose files are named by their numbers."""
    source = made(random)
    names = [f"{['even', 'odd'][n % 2]}/{n}.png" for n in range(COUNT)]
    return replace(source, train=replace(source.train, names=names))


def test_each_image_keeps_the_name_of_its_file(folder, random):
    info = prepare(named(random), SETTINGS, folder)
    data = PreparedData.load(folder)
    for split in SPLITS:
        numbers = data.images(split)[:, 0, 0, 0]
        assert data.names(split) == [f"{['even', 'odd'][n % 2]}/{n}.png" for n in numbers]
        content = (folder / f"{split}_names.txt").read_bytes()
        assert info.sha256[f"{split}_names.txt"] == hashlib.sha256(content).hexdigest()


def test_images_without_files_are_named_by_their_place(folder, random):
    prepare(made(random), SETTINGS, folder)
    data = PreparedData.load(folder)
    assert not list(folder.glob("*_names.txt"))
    assert data.names("test")[:2] == ["test_images.npy#0", "test_images.npy#1"]
    assert len(data.names("train")) == 30


def test_names_that_do_not_fit_the_images_are_refused(folder, random):
    prepare(named(random), SETTINGS, folder)
    (folder / "test_names.txt").write_text("a.png\nb.png\n")
    with pytest.raises(ArtifactError, match=r"test_names.txt: holds 2 names, .* says 10 images"):
        PreparedData.load(folder)
    (folder / "test_names.txt").unlink()
    with pytest.raises(ArtifactError, match=r"test_names.txt: cannot be read \(.*No such file"):
        PreparedData.load(folder)


def test_another_number_of_names_is_no_source(random):
    source = named(random)
    with pytest.raises(UserError, match="made: 50 images but 1 names"):
        replace(source, train=replace(source.train, names=["a.png"]))


def labels_of(data: PreparedData, split: SplitName) -> set[int]:
    return {int(label) for label in np.asarray(data.labels(split))}


@pytest.mark.parametrize("chosen", [("odd",), (1,)])
def test_only_some_classes_are_trained_on_and_all_are_tested(folder, random, chosen):
    whole = prepare(made(random), SETTINGS, folder)
    test = PreparedData.load(folder).images("test").copy()
    source = named(random)
    info = prepare(source, SETTINGS.model_copy(update={"only_classes": chosen}), folder)
    data = PreparedData.load(folder)
    for split in ("train", "validation"):
        assert labels_of(data, split) == {1}
        numbers = data.images(split)[:, 0, 0, 0]
        assert data.names(split) == [f"odd/{number}.png" for number in numbers]
    assert info.class_names == whole.class_names
    assert data.images("test")[:, 0, 0, 0].tolist() == test[:, 0, 0, 0].tolist()
    others = int((np.asarray(data.labels("test")) == 0).sum())
    assert info.notes[-1] == (
        "made: only images of odd are in train and validation (data.only_classes); "
        f"of 10 test images {others} are of other classes"
    )
    assert not any("left out" in note for note in info.notes)


def test_what_is_no_class_is_refused(folder, random):
    for chosen, labelled, message in (
        (
            ("od",),
            True,
            r"unknown class of data.only_classes od; did you mean odd\? valid: even, od",
        ),
        ((2,), True, "unknown class of data.only_classes 2; valid: even, odd"),
        ((0,), False, "data.only_classes: the images of made have no classes"),
    ):
        settings = SETTINGS.model_copy(update={"only_classes": chosen})
        with pytest.raises(UserError, match=message):
            prepare(made(random, labelled=labelled), settings, folder)


def test_a_class_named_by_a_number_is_meant_by_its_name(folder, random):
    source = replace(made(random), class_names=("1", "0"))
    prepare(source, SETTINGS.model_copy(update={"only_classes": (1,)}), folder)
    assert labels_of(PreparedData.load(folder), "train") == {0}


@pytest.mark.parametrize(
    ("count", "said"), [(1, "validation: 1 image; the"), (49, "validation: 49 images; the")]
)
def test_a_small_validation_split_is_told(
    random: np.random.Generator, tmp_path: Path, count: int, said: str
) -> None:
    info = prepare(made(random), SETTINGS, tmp_path / "prepared")
    small = info.model_copy(update={"counts": {**info.counts, "validation": count}})
    note = small_split_note(small)
    assert note is not None
    assert note.startswith(said)
    assert note.endswith(
        "choice of the best epoch is noisy below 50: a larger data.validation_fraction or more "
        "images help"
    )
    enough = info.model_copy(update={"counts": {**info.counts, "validation": 50}})
    assert small_split_note(enough) is None
