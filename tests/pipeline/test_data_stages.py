"""The two stages, from params.yaml to data/prepared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipeline import download, prepare
from tests import ROOT
from vaelab.config import DataSettings
from vaelab.data import sources
from vaelab.data.dataset import PreparedData
from vaelab.data.fetch import MIRROR_VARIABLE, Fetcher


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage"])


def run(data: dict[str, object]) -> PreparedData:
    Path("params.yaml").write_text(json.dumps({"data": data}))
    download.main()
    prepare.main()
    return PreparedData.load(Path("data/prepared"))


def error(capsys: pytest.CaptureFixture[str], data: dict[str, object]) -> str:
    with pytest.raises(SystemExit) as caught:
        run(data)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_digits_need_nothing(capsys):
    data = run({"name": "digits"})
    # 1797 * 0.2 = 359.4; 1438 * 0.05 = 71.9
    assert data.info.counts == {"train": 1366, "validation": 72, "test": 359}
    assert (data.info.image_shape, data.info.levels) == ((1, 8, 8), 17)
    assert data.info.class_names == tuple("0123456789")
    assert capsys.readouterr().out.startswith("digits: 1,366 train, 72 validation, 359 test;")
    assert json.loads(Path("data/raw/source.json").read_text()) == {"name": "digits", "files": {}}


def test_digits_keep_their_17_levels():
    data = run({"name": "digits"})
    images = np.concatenate([data.images(split) for split in data.info.counts])
    # rint(level * 255 / 16) is undone by rint(value * 16 / 255)
    levels = np.rint(images[:, 0] * (16 / 255)).astype(int)
    assert len(np.unique(images)) == 17
    assert (images.min(), images.max()) == (0, 255)
    original = load_digits().images.astype(int)
    assert sorted(map(bytes, levels.astype(np.uint8))) == sorted(
        map(bytes, original.astype(np.uint8))
    )


def test_resized_digits_have_any_level():
    data = run({"name": "digits", "image_size": [16, 12]})
    assert (data.info.image_shape, data.info.levels) == ((1, 16, 12), 256)


def test_colour_jpegs_in_sub_folders(random):
    for name in ("cat/a", "cat/b", "dog/a"):
        for index in range(10):
            path = Path(f"photos/{name}{index}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    data = run({"name": "folder", "folder": "photos"})
    assert data.info.image_shape == (3, 32, 32)
    assert data.info.class_names == ("cat", "dog")
    labels = np.concatenate([data.labels(split) for split in data.info.counts])
    assert np.bincount(labels).tolist() == [20, 10]


def test_grey_pngs_without_labels(random, capsys):
    Path("scans").mkdir()
    for index in range(20):
        pixels = random.integers(0, 256, (28, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(f"scans/{index}.png")
    Path("scans/notes.txt").write_text("x")
    data = run({"name": "folder", "folder": "scans"})
    assert data.info.image_shape == (1, 28, 20)
    assert data.info.counts == {"train": 15, "validation": 1, "test": 4}
    assert data.labels("train") is None
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "scans: 20 of 21 files are read; not read: not images: 1 .txt",
        "validation: 1 image; the choice of the best epoch is noisy below 50: a larger "
        "data.validation_fraction or more images help",
    ]


def test_the_real_mnist(real_mirror, capsys):
    data = run({"name": "mnist"})
    assert data.info.counts == {"train": 57_000, "validation": 3_000, "test": 10_000}
    used = json.loads(Path("data/raw/source.json").read_text())["files"]
    assert len(used) == 4
    assert all(real_mirror.rstrip("/").split("://")[-1] in url for url in used.values())
    assert list(Path("data/partial").iterdir()) == []


def test_a_failed_prepare_leaves_no_prepared_folder(capsys):
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"")
    message = error(capsys, {"name": "folder", "folder": "photos"})
    assert message.startswith("error: data.folder: photos: 1 of 1 images cannot be read: a.png")
    assert sorted(path.name for path in Path("data").iterdir()) == ["raw"]


def test_all_unreadable_images_are_listed_where_an_error_names_some(capsys):
    Path("photos").mkdir()
    for index in range(12):
        Path(f"photos/{index:02}.png").write_bytes(b"")
    message = error(capsys, {"name": "folder", "folder": "photos"})
    path = Path("data/unreadable_files.txt").resolve()
    assert message.endswith(f" and 2 more; repair or remove them; {path} lists all\n")
    lines = path.read_text().splitlines()
    assert lines == [f"{index:02}.png (an empty file)" for index in range(12)]


def test_the_home_folder_is_expanded_but_not_by_dvc(capsys, monkeypatch, random, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "images"
    folder.mkdir(parents=True)
    for index in range(20):
        pixels = random.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    settings: dict[str, object] = {"name": "folder", "folder": "~/images"}
    assert run(settings).info.counts["train"] == 15
    monkeypatch.setenv("DVC_STAGE", "download")
    message = error(capsys, settings)
    assert message == f"error: data.folder: ~/images: DVC does not expand ~; write {folder}\n"


def test_a_bad_mirror_variable_is_an_error(capsys, monkeypatch):
    monkeypatch.setenv(MIRROR_VARIABLE, "/no/such/folder")
    assert MIRROR_VARIABLE in error(capsys, {"name": "digits"})


def test_prepare_wants_its_own_source_downloaded(capsys):
    Path("params.yaml").write_text("data: {name: digits}")
    for raw in (None, '{"name": "mnist"}', "no json", "[]"):
        if raw:
            Path("data/raw").mkdir(parents=True, exist_ok=True)
            Path("data/raw/source.json").write_text(raw)
        with pytest.raises(SystemExit):
            prepare.main()
        holds = "holds mnist" if raw and "mnist" in raw else "holds no downloaded source"
        expected = f"error: data/raw {holds}, data.name is digits: run the download stage first\n"
        assert capsys.readouterr().err == expected


def test_another_source_replaces_the_files_of_the_last():
    Path("data/raw/mnist").mkdir(parents=True)
    Path("data/raw/mnist/file.gz").write_bytes(b"")
    fetch = Fetcher("digits", (), Path("data/partial"))
    sources.download(DataSettings(name="digits"), Path("data/raw"), fetch)
    assert [path.name for path in Path("data/raw").iterdir()] == ["source.json"]


def test_where_kept_files_came_from_is_not_forgotten(monkeypatch):
    class OneFile:
        @staticmethod
        def download(settings, raw_folder, fetch):
            fetch(raw_folder / "a.bin", ["file:///gone"], lambda path: None)

    monkeypatch.setattr(sources, "family", lambda name: OneFile)
    Path("data/raw/mnist").mkdir(parents=True)
    Path("data/raw/mnist/a.bin").write_bytes(b"")
    record = {"name": "mnist", "files": {"a.bin": "http://first"}}
    Path("data/raw/source.json").write_text(json.dumps(record))
    fetch = Fetcher("mnist", (), Path("data/partial"))
    sources.download(DataSettings(name="mnist"), Path("data/raw"), fetch)
    assert json.loads(Path("data/raw/source.json").read_text()) == record


def test_the_stages_start_without_torch():
    Path("params.yaml").write_text("data: {name: digits}")
    script = (
        "import sys; from pipeline import download, prepare; download.main(); prepare.main(); "
        "sys.exit('torch' in sys.modules)"
    )
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    result = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert result.returncode == 0
