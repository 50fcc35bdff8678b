"""Odd images among others, by a model that is trained on normal ones."""

import re
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import vaelab
from tests import ROOT
from vaelab.api.detection import detection_page
from vaelab.inference.detection import Detections

DIGITS = load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)
ZEROS, OTHERS = IMAGES[DIGITS.target == 0], IMAGES[DIGITS.target != 0][:60]


@pytest.fixture(scope="module")
def model() -> vaelab.TrainedModel:
    return vaelab.train(
        ZEROS[:100],
        progress=False,
        device="cpu",
        network="mlp",
        latent_dim=3,
        epochs=60,
        batch_size=20,
    )


def test_other_digits_are_odd_and_zeros_are_not(model: vaelab.TrainedModel) -> None:
    images = np.concatenate([ZEROS[158:], OTHERS])
    found = model.detect(images, ZEROS[100:158], training=ZEROS[:100], false_alarm_rate=0.1)
    assert isinstance(found, Detections)
    assert found.is_odd[20:].mean() > 0.95
    assert found.is_odd[:20].mean() < 0.35
    assert (found.order[-15:] < 20).all()
    assert found.heat_maps.shape == (80, 8, 8)
    assert found.normal_images == 58


def test_half_of_the_normal_images_stand_in_for_the_training(model: vaelab.TrainedModel) -> None:
    found = model.detect(OTHERS, ZEROS[100:178], false_alarm_rate=0.1)
    assert found.normal_images == 39
    assert found.is_odd.mean() > 0.9
    with pytest.raises(vaelab.UserError, match=r"39 normal images are too few .* needs 99"):
        model.detect(OTHERS, ZEROS[100:178], false_alarm_rate=0.01)


def test_the_heat_map_shows_the_place(model: vaelab.TrainedModel) -> None:
    changed = ZEROS[160].copy()
    changed[4, 4] = 1.0  # ink in the hole
    found = model.detect(changed, ZEROS[100:158], training=ZEROS[:100], false_alarm_rate=0.1)
    assert found.heat_maps[0].argmax() == 4 * 8 + 4


def test_the_page_ranks_names_and_needs_nothing_else(model: vaelab.TrainedModel) -> None:
    images = np.concatenate([ZEROS[158:], OTHERS])
    found = model.detect(images, ZEROS[100:158], training=ZEROS[:100], false_alarm_rate=0.1)
    names = [f"{n} <b>.png" for n in range(80)]
    page = detection_page(model.network, images, found, names)
    odd = int(found.is_odd.sum())
    assert f"<title>{odd} of 80 images are odd</title>" in page
    assert page.count('class="odd"') == odd
    shown = re.findall(r'class="name">(\d+) &lt;b&gt;\.png<', page)
    assert [int(name) for name in shown] == found.order.tolist()
    assert page.count("data:image/png;base64,") == 3 * 80 + 1
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<b>.png" not in page


def test_a_page_of_many_shows_the_oddest(model: vaelab.TrainedModel) -> None:
    images = IMAGES[:150]
    found = model.detect(images, ZEROS[100:158], training=ZEROS[:100], false_alarm_rate=0.1)
    page = detection_page(model.network, images, found, [str(n) for n in range(150)])
    assert page.count('class="name"') == 100
    assert "50 more images have lower scores" in page


def test_the_code_of_the_page_of_the_documentation_runs_as_it_stands() -> None:
    text = (ROOT / "docs/detection.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["heat"].shape == (10, 8, 8)
    assert names["found"].is_odd.mean() > 0.8
