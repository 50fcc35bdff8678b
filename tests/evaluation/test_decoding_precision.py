"""The K-sample bound in bfloat16: only where what changes is below the standard error, and said."""

import copy

import pytest
import torch

from tests.evaluation.factories import CPU, make_data, make_model
from vaelab.config import EvaluateSettings
from vaelab.evaluation import bounds, decoding_precision
from vaelab.evaluation.bounds import bound_metrics, score_test_images
from vaelab.models.model import Model

SETTINGS = EvaluateSettings(importance_samples=8, batch_size=50)


def measured(settings: EvaluateSettings = SETTINGS) -> dict[str, float]:
    model = make_model()
    with torch.inference_mode():
        scores = score_test_images(model, make_data().test, settings, CPU)
    metrics = bound_metrics(scores, model, 17, settings)
    return {name: float(value) for name, value in metrics.items()}


@pytest.fixture(name="units")
def with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few images decoded in bfloat16, whatever the processor."""
    monkeypatch.setattr(decoding_precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(decoding_precision, "MIN_DECODED", 1)


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("images", [None, 110])
def test_the_bound_moves_by_less_than_its_standard_error_and_says_how_much(
    images: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"bound_images": images})
    rounded = measured(settings)
    monkeypatch.setattr(decoding_precision, "MIN_DECODED", 10**9)
    exact = measured(settings)
    change = rounded["nll_nats"] - exact["nll_nats"]
    assert change != 0
    assert abs(change) < 0.1 * exact["nll_standard_error_nats"]
    error = rounded["nll_rounding_standard_error_nats"]
    assert rounded["nll_rounding_nats"] == pytest.approx(change, abs=6 * error)
    # Nothing else is decoded in bfloat16.
    others = [name for name in exact if not name.startswith(("nll_", "bits"))]
    assert {name: rounded[name] for name in others} == {name: exact[name] for name in others}


@pytest.mark.usefixtures("units")
def test_a_change_that_matters_keeps_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(model: Model) -> Model:
        changed = copy.deepcopy(model)
        changed.output_offset += 0.5
        return changed

    with monkeypatch.context() as without:
        without.setattr(decoding_precision, "MIN_DECODED", 10**9)
        exact = measured()
    for module in (bounds, decoding_precision):
        monkeypatch.setattr(module, "in_bfloat16", worse)
    assert measured() == exact


def test_few_images_and_other_processors_keep_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_precision, "has_bfloat16", lambda: True)
    few = measured()
    monkeypatch.setattr(decoding_precision, "MIN_DECODED", 1)
    monkeypatch.setattr(decoding_precision, "has_bfloat16", lambda: False)
    assert measured() == few
    assert "nll_rounding_nats" not in few
