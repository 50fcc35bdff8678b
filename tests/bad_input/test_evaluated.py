"""The files of training and evaluation, as the report and the figures read them."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import evaluate, paths, render, report
from pipeline.tracking import sync
from tests.bad_input.sandbox import (
    COUNT,
    Sandbox,
    npy,
    write_classifier,
    write_model,
    write_prepared,
)
from vaelab.config import UserError, load_settings
from vaelab.evaluation.classifier import build_classifier, save_classifier
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_arrays

ARRAYS: dict[str, np.ndarray] = {
    "nll": np.linspace(1, 2, COUNT),
    "effective_sample_size": np.linspace(1, 2, COUNT),
    "samples_shown": np.zeros((4, 1, 8, 8), np.uint8),
    "nearest_shown": np.zeros((4, 1, 8, 8), np.uint8),
    "class_shares": np.array([0.5, 0.5]),
    "class_shares_real": np.array([0.5, 0.5]),
}
LATENTS = {"mean": np.eye(COUNT, 2), "stddev": np.ones((COUNT, 2))}
METRICS = {"dataset": {"name": "folder"}, "latent": {"dimensions": 2}, "test": {"nll_nats": 1.5}}
TABLE = (
    "dimension,kl_nats,mean_variance,aggregate_mean,aggregate_stddev,active\n"
    "0,1.5,0.5,0,1,1\n1,0.5,0.001,0,0.9,0\n"
)
HISTORY = "epoch,train.generation_loss_nats\n1,2.5\n2,1.5\n"
KL_HISTORY = "epoch,dimension,kl_nats\n1,0,1.5\n1,1,1.5\n"
SMALL = {
    "reconstructions": 1,
    "samples": 1,
    "interpolations": 1,
    "interpolation_steps": 2,
    "traversal_dimensions": 1,
    "traversal_steps": 2,
    "manifold_size": 2,
    "dpi": 30,
}


@pytest.fixture
def ready(sandbox: Sandbox) -> Sandbox:
    """Everything that the report and the figures read."""
    sandbox.settings(render=SMALL)
    write_prepared()
    write_model()
    write_arrays(paths.EVALUATE_ARRAYS, ARRAYS)
    write_arrays(paths.TEST_LATENTS, LATENTS)
    write_text(paths.EVALUATE_METRICS, json.dumps(METRICS))
    write_text(paths.LATENT_DIMENSIONS, TABLE)
    write_text(paths.HISTORY, HISTORY)
    write_text(paths.KL_HISTORY, KL_HISTORY)
    write_text(paths.REPORT, "before")
    return sandbox


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


BAD_ARCHIVES = {
    "an array under the archive's name": (npy(np.zeros((COUNT, 2))), "File is not a zip file"),
    "an empty archive": (b"", "File is not a zip file"),
    "a page": (b"<!DOCTYPE html>", "File is not a zip file"),
    "a pickle": (pickle.dumps([1]), "File is not a zip file"),
    "a truncated archive": (zipped(a=bytes(99))[:-30], "File is not a zip file"),
    "an archive of text": (zipped(mean=b"hello"), "EOF: reading magic string"),
    "an archive of pickles": (
        zipped(**{"mean.npy": npy(np.array([{}]))}),
        "Object arrays cannot be loaded",
    ),
}
BAD_LATENTS: dict[str, tuple[dict[str, Any], str]] = {
    "another latent size": ({"mean": np.zeros((COUNT, 3))}, "mean has shape [6, 3] instead of"),
    "another number of images": ({"mean": np.zeros((5, 2))}, "mean has shape [5, 2] instead of"),
    "a single number": ({"mean": np.array(3.0)}, "mean has shape [] instead of [6, 2]"),
    "letters": ({"mean": np.full((COUNT, 2), "a")}, "mean.npy holds <U1 instead of numbers"),
    "not a number": ({"mean": np.full((COUNT, 2), np.nan)}, "mean holds numbers that are not fi"),
}
BAD_EVALUATION: dict[str, tuple[dict[str, Any], str]] = {
    "samples without channels": ({"samples_shown": np.zeros((8, 8), np.uint8)}, "samples_shown"),
    "samples that are fractions": ({"samples_shown": np.zeros((4, 1, 8, 8))}, "instead of bytes"),
    "too many classes": ({"class_shares": np.ones(7)}, "class_shares has shape [7] instead of [2]"),
    "no likelihoods": ({"nll": np.zeros(0)}, "nll is empty"),
    "likelihoods that are letters": ({"nll": np.array(["a"])}, "nll.npy holds <U1 instead of"),
}
BAD_TABLES = {
    "text": (b"dimension\nhello\n", "line 2: could not convert string to float: 'hello'"),
    "an extra cell": (b"a,b\n1,2,3\n", "line 2 has more cells than the header has names"),
    "an empty cell": (b"a,b\n1,2\n1,\n", "a row has an empty cell"),
    "a short row": (b"a,b\n1,2\n1\n", "a row has an empty cell"),
    "no column that is needed": (
        b"a,b\n1,2\n",
        "has no column mean_variance, aggregate_mean, aggregate_stddev",
    ),
    "not UTF-8": (b"a\n\xff\n", "can't decode byte 0xff"),
    "a zero byte": (b"a\n\0\n", "could not convert string to float"),
    "a cell without end": (b'a\n"' + b"1" * 200_000, "field larger than field limit"),
    "three dimensions of two": (
        (TABLE + "2,1,1,1,1,1\n").encode(),
        "column dimension of the dimensions has shape [3] instead of [2]",
    ),
    "infinity": (TABLE.replace("1.5", "inf").encode(), "numbers that are not finite"),
}
BAD_METRICS = {
    "a list": (b"[]", "must contain groups of named numbers"),
    "nothing": (b"null", "must contain groups of named numbers"),
    "a number for a group": (b'{"test": 3}', "must contain groups of named numbers"),
    "a list for a number": (b'{"test": {"nll_nats": []}}', "must contain groups of named numbers"),
    "an empty file": (b"", "cannot be read (Expecting value"),
    "half a file": (b'{"test": {', "cannot be read (Expecting"),
    "not UTF-8": (b"\xff", "cannot be read ('utf-8' codec"),
    "not a number": (b'{"test": {"nll_nats": NaN}}', "NaN is not a finite number"),
    "an overflow": (b'{"test": {"nll_nats": 1e999}}', "must contain groups of named numbers"),
    "400 digits": (b'{"test": {"a": ' + b"9" * 400 + b"}}", "must contain groups of named numbers"),
    "5,000 digits": (b'{"test": {"a": ' + b"9" * 5000 + b"}}", "Exceeds the limit"),
    "lists without end": (b"[" * 5000, "cannot be read (maximum recursion depth"),
}


@pytest.mark.parametrize("path", [paths.EVALUATE_ARRAYS, paths.TEST_LATENTS], ids=lambda p: p.stem)
@pytest.mark.parametrize(("content", "fragment"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_bad_archives_are_named(ready: Sandbox, path: Path, content: bytes, fragment: str) -> None:
    path.write_bytes(content)
    printed = ready.refuses(report.main, fragment)
    assert printed.startswith(f"error: {path}: cannot be read (")


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    (BAD_LATENTS | BAD_EVALUATION).values(),
    ids=BAD_LATENTS | BAD_EVALUATION,
)
def test_arrays_that_do_not_fit_are_named(
    ready: Sandbox, arrays: dict[str, np.ndarray], fragment: str
) -> None:
    path = paths.TEST_LATENTS if "mean" in arrays else paths.EVALUATE_ARRAYS
    write_arrays(path, arrays)
    printed = ready.refuses(report.main, fragment)
    assert "`dvc repro -s -f evaluate` recreates it" in printed


@pytest.mark.parametrize(("content", "fragment"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_tables_are_named(ready: Sandbox, content: bytes, fragment: str) -> None:
    paths.LATENT_DIMENSIONS.write_bytes(content)
    assert "dvc repro -s -f evaluate" in ready.refuses(report.main, fragment)


@pytest.mark.parametrize(("content", "fragment"), BAD_METRICS.values(), ids=BAD_METRICS)
def test_bad_metrics_are_named(ready: Sandbox, content: bytes, fragment: str) -> None:
    paths.EVALUATE_METRICS.write_bytes(content)
    printed = ready.refuses(report.main, fragment)
    assert printed.startswith("error: results/evaluate/metrics.json: ")


@pytest.mark.parametrize(
    "path",
    [paths.EVALUATE_METRICS, paths.EVALUATE_ARRAYS, paths.TEST_LATENTS, paths.LATENT_DIMENSIONS],
    ids=lambda path: path.name,
)
def test_missing_files_are_named(ready: Sandbox, path: Path) -> None:
    path.unlink()
    printed = ready.refuses(report.main, f"error: {path}: No such file or directory")
    assert printed.endswith("; `dvc repro evaluate` recreates it\n")


@pytest.mark.parametrize("name", ["text", "an extra cell", "not UTF-8", "a cell without end"])
@pytest.mark.parametrize(
    "path", [paths.LATENT_DIMENSIONS, paths.HISTORY, paths.KL_HISTORY], ids=lambda path: path.stem
)
def test_bad_tables_of_figures_are_named(ready: Sandbox, path: Path, name: str) -> None:
    content, fragment = BAD_TABLES[name]
    path.write_bytes(content)
    printed = ready.refuses(render.main, fragment, besides="results/render")
    assert printed.startswith(f"error: {path}: cannot be read (")
    assert f"`dvc repro -s -f {path.parent.name}` recreates it" in printed


def test_a_classifier_of_other_images_is_refused(ready: Sandbox) -> None:
    write_classifier()
    other = build_classifier((1, 16, 16), 2)
    folder = paths.EVALUATION_CLASSIFIER
    save_classifier(folder, other, epochs=1, seed=0, training_accuracy=0.5)
    fragment = "trained on images of shape [1, 16, 16], the prepared images have [1, 8, 8]"
    printed = ready.refuses(evaluate.main, fragment)
    assert printed.endswith("; `dvc repro -s -f classifier` recreates it\n")


def test_what_is_right_is_read(ready: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "warn_on_store_error", _instead)
    with pytest.raises(UserError, match="read"):
        report.report(load_settings(paths.PARAMS))
    assert paths.REPORT.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def _instead(what: str) -> None:
    raise UserError(f"{what} was read")
