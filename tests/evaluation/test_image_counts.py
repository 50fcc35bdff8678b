"""Fewer large images are measured where the settings are `auto`, and the results say how many."""

import numpy as np
import pytest

from tests.evaluation.factories import CPU
from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.evaluation.image_counts import FEWEST, for_images, large_images_note
from vaelab.models.model import build_model

FACES, PHOTOGRAPHS = (3, 64, 64), (3, 256, 256)


def counts(shape: tuple[int, int, int], level: str = "full", /, **given: int) -> list[int | None]:
    settings = EvaluateSettings.model_validate({"level": level} | given)
    return [getattr(for_images(settings, shape), name) for name in FEWEST]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 16, 16)])
@pytest.mark.parametrize("level", ["full", "quick"])
def test_small_images_are_measured_as_the_level_says(
    shape: tuple[int, int, int], level: str
) -> None:
    settings = EvaluateSettings.model_validate({"level": level})
    assert for_images(settings, shape) == settings
    assert large_images_note(settings, shape) is None


def test_large_images_are_fewer_in_proportion_to_their_numbers() -> None:
    # In the order of FEWEST; 4,096 and 12,288 numbers are 5.2 and 15.7 times 784
    assert counts((1, 64, 64)) == [1914, 19, 2]
    assert counts(FACES) == [638, 6, 2]
    assert counts(FACES, "quick") == [100, 4, 0]
    assert counts(PHOTOGRAPHS) == list(FEWEST.values())


def test_a_number_that_was_set_counts_for_large_images_too() -> None:
    given = {"bound_images": 900, "likelihood_images": 100, "annealing_images": 16}
    assert counts(PHOTOGRAPHS, **given) == list(given.values())
    chosen = EvaluateSettings.model_validate(given)
    assert large_images_note(chosen, PHOTOGRAPHS) is None
    assert counts(PHOTOGRAPHS, likelihood_images=50) == [100, 50, 2]


def test_the_note_says_what_is_measured_on_fewer_images() -> None:
    assert large_images_note(EvaluateSettings(), FACES) == (
        "auto, for images of 12,288 numbers: evaluate.bound_images 638, "
        "evaluate.likelihood_images 6, evaluate.annealing_images 2"
    )
    quick = EvaluateSettings(level="quick")
    assert "annealing" not in (large_images_note(quick, FACES) or "")


def test_the_results_count_the_images() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, *FACES), dtype=np.uint8)
    images = ImageLoader(pixels, CPU)
    data = EvaluationData(name="noise", levels=256, train=images, test=images)
    few = {"importance_samples": 2, "annealing_temperatures": 2, "annealing_chains": 1}
    settings = EvaluateSettings.model_validate({"level": "quick", "annealing_images": 3} | few)
    own = ModelSettings(network="mlp", hidden=(2,), latent_dim=1, gaussian_variance=0.1)
    model = build_model(own, FACES).eval()
    found = evaluate(model, data, settings, CPU, groups=("test", "likelihood", "annealing"))
    assert found.metrics["test"]["nll_images"] == 100
    assert found.metrics["likelihood"]["images"] == 4
    assert found.metrics["annealing"]["test_images"] == 3
    assert found.metrics["annealing"]["simulated_images"] == 3
