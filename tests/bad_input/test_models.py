"""Models and classifiers that are damaged, or that others made."""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from pipeline import evaluate, paths, render, report
from tests.bad_input.sandbox import (
    MODEL,
    Sandbox,
    write_classifier,
    write_model,
    write_prepared,
)
from vaelab.runtime.files import sha256

WEIGHTS = "weights.safetensors"


def _header(content: object, body: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + body


BAD_WEIGHTS: dict[str, tuple[bytes | None, str]] = {
    "no weights": (None, "No such file or directory"),
    "an empty weights file": (b"", "header too small"),
    "a pickle": (pickle.dumps({"a": [0.0] * 99}), "header too large"),
    "a header without end": (struct.pack("<Q", 2**62) + b"{}", "header too large"),
    "a header that is a list": (_header([]), "invalid JSON in header"),
    "no tensors": (_header({}), "Missing key(s)"),
    "an unknown type": (
        _header({"a": {"dtype": "F3", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        "Error while deserializing header",
    ),
    "other tensors": (save({"other": torch.zeros(3)}), "Missing key(s)"),
}
BAD_CONFIG: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "an empty description": (b"", "Invalid JSON"),
    "half a description": (b'{"format": ', "Invalid JSON"),
    "a list for a description": (b"[]", "Input should be an object"),
    "a description not in UTF-8": (b"\xff", "can't decode byte 0xff"),
    "lists without end": (b'{"a":' * 5000, "recursion limit exceeded"),
    "an unknown key": ({"colour": 1}, "colour: Extra inputs are not permitted"),
    "an unknown network": (
        {"networks": ["encoder", "decodr"]},
        "unknown network decodr; valid: encoder, decoder, discriminator",
    ),
    "a network too few": ({"networks": ["encoder"]}, "Unexpected key(s)"),
    "an unknown posterior": ({"posterior": "round"}, "posterior: Input should be 'gaussian' or"),
    "images of another shape": ({"image_shape": [1, 4, 4]}, "size mismatch"),
    "a negative side": ({"image_shape": [1, -8, 8]}, "negative dimension"),
    "sides that overflow": ({"image_shape": [1, 2**40, 2**40]}, "no loadable model ("),
    "another latent size": ({"model": {"latent_dim": 3}}, "size mismatch"),
    "another network": ({"model": {"network": "conv"}}, "no loadable model ("),
    "another prior": ({"model": {"prior": "flow"}}, "Missing key(s)"),
    "a latent that makes no codes": (
        {"model": {"prior": "codebook", "latent_dim": 3}},
        "3 does not divide into codes",
    ),
    "no latent": ({"model": {"latent_dim": 0}}, "model.latent_dim: Input should be greater"),
}


@pytest.fixture
def ready(sandbox: Sandbox) -> Sandbox:
    """Everything that evaluation and what comes after it read, or wrote."""
    sandbox.settings()
    write_prepared()
    write_model()
    write_classifier()
    paths.RENDER.mkdir(parents=True)
    (paths.RENDER / "samples.png").write_bytes(b"before")
    return sandbox


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def changed(path: Path, change: dict[str, Any]) -> bytes:
    content = json.loads(path.read_text())
    nested = {key: content[key] | new for key, new in change.items() if isinstance(new, dict)}
    return json.dumps(content | change | nested).encode()


def refused(sandbox: Sandbox, fragment: str) -> None:
    for stage in (evaluate, report, render):
        printed = sandbox.refuses(stage.main, fragment)
        assert printed.startswith("error: models/model: no loadable model (")
        assert printed.endswith("`dvc repro -s -f train` recreates it\n")
        assert len(printed) < 500


@pytest.mark.parametrize(("content", "fragment"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_bad_weights_are_refused(ready: Sandbox, content: bytes | None, fragment: str) -> None:
    replace(paths.MODEL / WEIGHTS, content)
    refused(ready, fragment)


@pytest.mark.parametrize(("change", "fragment"), BAD_CONFIG.values(), ids=BAD_CONFIG)
def test_bad_descriptions_of_models_are_refused(
    ready: Sandbox, change: dict[str, Any] | bytes, fragment: str
) -> None:
    path = paths.MODEL / "config.json"
    replace(path, change if isinstance(change, bytes) else changed(path, change))
    refused(ready, fragment)


def test_truncated_weights_are_refused(ready: Sandbox) -> None:
    path = paths.MODEL / WEIGHTS
    replace(path, path.read_bytes()[:-20])
    refused(ready, "file not fully covered")


def test_weights_of_another_model_are_refused(ready: Sandbox) -> None:
    config = (paths.MODEL / "config.json").read_bytes()
    write_model(MODEL.model_copy(update={"hidden": (500, 500)}))
    replace(paths.MODEL / "config.json", config)
    refused(ready, "Unexpected key(s)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(ready: Sandbox, value: float) -> None:
    weights = load_file(paths.MODEL / WEIGHTS)
    next(iter(weights.values())).view(-1)[0] = value
    save_file(weights, paths.MODEL / WEIGHTS)
    refused(ready, f"{WEIGHTS} contains weights that are not finite")


def test_a_missing_model_is_reported(ready: Sandbox) -> None:
    replace(paths.MODEL / "config.json", None)
    refused(ready, "config.json: No such file or directory")


def hashed_anew(weights: bytes) -> None:
    """Replace a classifier's weights, and their SHA-256 in its description."""
    path, described = (paths.EVALUATION_CLASSIFIER / n for n in (WEIGHTS, "classifier.json"))
    path.write_bytes(weights)
    described.write_bytes(changed(described, {"weights_sha256": sha256(path)}))


def described(change: dict[str, Any]) -> None:
    path = paths.EVALUATION_CLASSIFIER / "classifier.json"
    path.write_bytes(changed(path, change))


def file_of_classifier(name: str, content: bytes | None) -> None:
    replace(paths.EVALUATION_CLASSIFIER / name, content)


BAD_CLASSIFIER: dict[str, tuple[Callable[[], object], str]] = {
    "no classifier's weights": (
        lambda: file_of_classifier(WEIGHTS, None),
        "weights.safetensors: No such file",
    ),
    "changed weights": (lambda: file_of_classifier(WEIGHTS, b"x"), "SHA-256 of weights"),
    "a pickle": (lambda: hashed_anew(pickle.dumps([0.0] * 99)), "header too large"),
    "other tensors": (lambda: hashed_anew(save({"a": torch.zeros(3)})), "Missing key(s)"),
    "half a description": (lambda: file_of_classifier("classifier.json", b"{"), "Invalid JSON"),
    "a description not in UTF-8": (
        lambda: file_of_classifier("classifier.json", b"\xff"),
        "can't decode byte 0xff",
    ),
    "an unknown key": (lambda: described({"colour": 1}), "colour: Extra inputs are not permitted"),
    "another number of classes": (lambda: described({"classes": 3}), "size mismatch"),
    "a negative number of classes": (lambda: described({"classes": -3}), "negative dimension"),
    "images of another shape": (lambda: described({"image_shape": [1, 4, 4]}), "size mismatch"),
    "classes that overflow": (lambda: described({"classes": 2**70}), "no loadable classifier ("),
}


@pytest.mark.parametrize(("change", "fragment"), BAD_CLASSIFIER.values(), ids=BAD_CLASSIFIER)
def test_bad_classifiers_are_refused(
    ready: Sandbox, change: Callable[[], object], fragment: str
) -> None:
    change()
    printed = ready.refuses(evaluate.main, fragment)
    assert printed.startswith("error: models/evaluation/classifier: no loadable classifier (")
    assert printed.endswith("; `dvc repro -s -f classifier` recreates it\n")
