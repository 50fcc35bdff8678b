"""The tasks of a served model, against the functions that they stand for."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.oracles import rand
from vaelab.config import ModelSettings, UserError
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.inference.decoding import counterfactuals, decode_means, prior_samples, reconstructions
from vaelab.inference.tasks import Options, run_task
from vaelab.models.model import Model, build_model
from vaelab.runtime.random_streams import rng_stream

SHAPE = (1, 8, 8)
SETTINGS = ModelSettings(network="mlp", hidden=(16,), latent_dim=3)
CONDITIONAL = SETTINGS.model_copy(update={"conditional": "labels"})


def model(settings: ModelSettings = SETTINGS, classes: int = 0, **changes: Any) -> Model:
    return build_model(settings, SHAPE, classes=classes, **changes).eval()


def run(model: Model, values: object, task: str, **options: int) -> Any:
    return run_task(model, values, Options(task, **options))


def test_images_are_reconstructed_and_encoded_and_latents_decoded() -> None:
    own, images = model(), rand(120, *SHAPE)
    expected = reconstructions(own, images).numpy()
    np.testing.assert_allclose(run(own, images, "reconstruct"), expected, atol=1e-6)
    found = run(own, images, "encode")
    with torch.no_grad():
        posterior = own.encode(images)
    np.testing.assert_allclose(found["mean"], posterior.mean, atol=1e-6)
    np.testing.assert_allclose(found["stddev"], posterior.stddev, atol=1e-6)  # type: ignore[union-attr]
    np.testing.assert_allclose(run(own, found["mean"], "decode"), expected, atol=1e-6)


def test_an_encoder_without_noise_has_no_standard_deviation() -> None:
    assert run(model(posterior="point"), rand(2, *SHAPE), "encode").keys() == {"mean"}


def test_samples_are_of_the_prior_and_the_seed() -> None:
    own = model()
    expected = prior_samples(own, 5, rng_stream(3, "samples"))
    assert np.array_equal(run(own, None, "sample", count=5, seed=3), expected)
    assert not np.array_equal(run(own, None, "sample", count=5, seed=4), expected)


def test_the_score_is_the_importance_weighted_likelihood() -> None:
    own, images = model(), rand(4, *SHAPE)
    with torch.no_grad():
        expected = importance_weighted_log_likelihood(
            own, images, own.encode(images), 7, rng_stream(2, "score")
        )
    found = run(own, images, "score", importance_samples=7, seed=2)
    np.testing.assert_allclose(found["nll_nats"], -expected.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(
        found["effective_sample_size"], expected.effective_sample_size, rtol=1e-6
    )


@pytest.mark.parametrize("task", ["reconstruct", "encode", "decode", "sample", "score"])
def test_a_conditional_model_is_given_the_label(task: str) -> None:
    own = model(CONDITIONAL, classes=4)
    with torch.no_grad():
        for weight in own.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=rng_stream(0, "weights")))
    values = torch.zeros(2, 3) if task == "decode" else rand(2, *SHAPE)
    found = [run(own, values, task, label=label) for label in (1, 2)]
    first, second = (np.concatenate(list(f.values())) if isinstance(f, dict) else f for f in found)
    assert not np.allclose(first, second)
    if task == "decode":
        expected = decode_means(own.given(torch.tensor(1)), torch.zeros(2, 3))
        np.testing.assert_allclose(first, expected, atol=1e-6)


def test_images_are_edited_to_another_class() -> None:
    own, images = model(CONDITIONAL, classes=4), rand(3, *SHAPE)
    found = run(own, images, "edit", label=1, target=2)
    expected = counterfactuals(own.given(torch.tensor([1, 1, 1])), images, [2])[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_cannot_be_done_is_refused_with_what_can() -> None:
    own, images = model(), np.zeros((8, 8))
    decoder = model(networks=("decoder",))
    for asked, options, message in (
        (own, {"task": "sampel"}, "unknown task sampel; did you mean sample. valid: reconstruct, "),
        (own, {"label": 3}, "label 3: this model was trained without labels"),
        (own, {"task": "sample", "count": 0}, "count 0 is not between 1 and 10000"),
        (own, {"task": "score", "importance_samples": -1}, "importance_samples -1 is not between"),
        (own, {"task": "edit", "target": 1}, "task edit needs a conditional model: this one was"),
        (
            model(CONDITIONAL, classes=4),
            {"task": "edit"},
            r"task edit needs class, from 0 to 3 \(i",
        ),
        (decoder, {}, "task reconstruct needs an encoder; this model can decode and sample"),
        (model(posterior="point"), {"task": "score"}, "task score needs a model with a likelihood"),
        (model(CONDITIONAL, classes=4), {"label": 4}, "label 4 is out of range: 0 to 3, or -1"),
    ):
        with pytest.raises(UserError, match=f"^{message}"):
            run_task(asked, images, Options(**options))


def test_a_decoder_alone_decodes_and_samples() -> None:
    decoder = model(networks=("decoder",))
    assert run(decoder, np.zeros(3), "decode").shape == (1, *SHAPE)
    assert run(decoder, None, "sample", count=2).shape == (2, *SHAPE)
