"""A folder to run single stages in, and the form of a stage's error for bad input."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import paths
from tests import factories
from vaelab.config import ModelSettings
from vaelab.data.dataset import SPLITS
from vaelab.evaluation.classifier import build_classifier, save_classifier
from vaelab.models.model import Model, build_model
from vaelab.models.saving import ModelDescription, save_model
from vaelab.samplers import SamplerDescription, save_sampler

SHAPE = (1, 8, 8)
COUNT = 6
MODEL = ModelSettings(network="mlp", hidden=(), latent_dim=2, prior="standard_normal")


class Sandbox:
    """A folder that is the current one, and the stages that are called in it."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch = patch
        self.capture = capture

    def settings(self, **sections: object) -> None:
        """Write params.yaml."""
        Path("params.yaml").write_text(json.dumps(sections, default=str))

    def run(self, *stages: Callable[[], None]) -> str:
        """Call stages as the command line does; give what they print."""
        self.patch.setattr(sys, "argv", ["stage"])
        for main in stages:
            main()
        return self.capture.readouterr().out

    def refuses(self, main: Callable[[], None], fragment: str, besides: str = "") -> str:
        """Run a stage that has to refuse its input, and return the line that it prints.

        What was there before is left alone, but for a folder `besides`.
        """
        before = outputs(besides)
        self.capture.readouterr()
        with pytest.raises(SystemExit) as caught:
            self.run(main)
        printed = self.capture.readouterr().err
        assert caught.value.code == 2
        assert printed.startswith("error: ")
        assert printed.endswith("\n")
        assert len(printed.splitlines()) == 1
        assert "Traceback" not in printed
        assert fragment in printed, printed
        assert outputs(besides) == before
        return printed


def outputs(besides: str = "") -> dict[str, bytes | None]:
    """Return the outputs of all stages: the bytes of each file, None for a folder."""
    roots = ("data/raw", "data/prepared", "models", "results")
    found = (path for root in roots for path in sorted(Path(root).rglob("*")))
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in found
        if not (besides and path.is_relative_to(besides))
    }


def write_prepared(**changes: Any) -> None:
    """Write a small labelled data set as the prepare stage does."""
    random = np.random.default_rng(0)
    images = {split: random.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8) for split in SPLITS}
    labels = {split: np.arange(COUNT) % 2 for split in SPLITS}
    names = {"class_names": ("even", "odd")}
    factories.write_prepared(paths.PREPARED, images, labels, **names | changes)


def small_model(settings: ModelSettings = MODEL) -> Model:
    """Build an untrained model of the sandbox's images."""
    return build_model(settings, SHAPE)


def write_model(settings: ModelSettings = MODEL) -> None:
    """Write an untrained model as the train stage does, and that its prior is its sampler."""
    description = ModelDescription(
        objective="vae",
        networks=("encoder", "decoder"),
        image_shape=SHAPE,
        model=settings,
        dataset="folder",
        levels=256,
        settings={"train.epochs": 3},
    )
    weights = save_model(paths.MODEL, small_model(settings), description)
    save_sampler(paths.SAMPLER, None, SamplerDescription(name="prior", model_sha256=weights))


def write_classifier() -> None:
    """Write an untrained classifier as the classifier stage does."""
    classifier = build_classifier(SHAPE, 2)
    save_classifier(
        paths.EVALUATION_CLASSIFIER, classifier, epochs=1, seed=0, training_accuracy=0.5
    )


def npy(array: np.ndarray) -> bytes:
    """Return an array as the bytes of an .npy file; objects are pickled, for readers to refuse."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()
