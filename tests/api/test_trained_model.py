"""The uses of a trained model, against the functions of the pipeline."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaelab
from tests.api.models import CONDITIONAL, NAMES, SETTINGS, SHAPE, loaded, saved
from tests.oracles import rand
from vaelab.config import EvaluateSettings, Settings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import EvaluationData
from vaelab.evaluation.bounds import bound_metrics, score_test_images
from vaelab.evaluation.likelihood import fit_test_images, likelihood_metrics
from vaelab.evaluation.reconstructions import reconstruction_metrics, score_reconstructions
from vaelab.inference.attributes import attribute_direction, class_direction, edit
from vaelab.inference.decoding import (
    counterfactuals,
    decode_means,
    interpolations,
    prior_samples,
    reconstructions,
)
from vaelab.models.weights import weights_sha256
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Posteriors, SamplerDescription, fit_sampler, save_sampler

CPU = torch.device("cpu")
CHECKED = os.environ.get("VAELAB_CHECK_TYPES", "0") != "0"
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), dtype=np.uint8)
IMAGES = torch.from_numpy(PIXELS).float() / 255


def close(found: object, expected: object) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=1e-6, rtol=1e-6)


def test_images_are_encoded_decoded_and_reconstructed(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    found, expected = model.encode(PIXELS), own.encode(IMAGES)
    close(found.mean, expected.mean.detach())
    close(found.stddev, expected.stddev.detach())  # type: ignore[union-attr]
    close(model.decode(found.mean), reconstructions(own, IMAGES))
    close(model.reconstruct(PIXELS), reconstructions(own, IMAGES))
    assert isinstance(found.mean, np.ndarray)
    many = np.concatenate([PIXELS] * 50)
    close(model.encode(many).mean[-12:], found.mean)


def test_tensors_are_returned_to_those_who_ask(tmp_path: Path) -> None:
    model = loaded(tmp_path).as_tensors()
    assert isinstance(model.encode(PIXELS).mean, torch.Tensor)
    assert isinstance(model.score(PIXELS).nll_nats, torch.Tensor)
    assert not model.sample(2).requires_grad  # type: ignore[union-attr]


def test_scores_are_those_of_the_evaluation(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    settings, loader = EvaluateSettings(), ImageLoader(PIXELS, CPU)
    with torch.inference_mode():
        expected = bound_metrics(score_test_images(own, loader, settings, CPU), own, 256, settings)
    data = EvaluationData("digits", 256, loader, loader)
    expected |= reconstruction_metrics(score_reconstructions(own, data, settings, CPU))
    found = model.score(PIXELS)
    assert found.importance_samples == 100
    assert found.nll_nats.shape == found.neg_elbo_nats.shape == (12,)
    for name, value in found.mean().items():
        name = {"effective_sample_size": "nll_effective_sample_size"}.get(name, name)
        assert value == pytest.approx(expected[name], rel=1e-6), name
    assert model.score(PIXELS, importance_samples=7).importance_samples == 7
    assert model.score(PIXELS[0]).mean().keys() == {
        "neg_elbo_nats",
        "nll_nats",
        "effective_sample_size",
        "psnr_db",
        "ssim",
    }


def test_scores_from_fitted_proposals_are_those_of_the_evaluation(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    settings = EvaluateSettings(likelihood_images=3)
    fitted = fit_test_images(own, ImageLoader(PIXELS[:3], CPU), settings, CPU)
    assert fitted is not None
    with torch.no_grad():
        expected = likelihood_metrics(fitted, settings, CPU)
    order = (fitted.images * 255).round().to(torch.uint8)
    found = model.score(order, proposal="fitted").mean()
    assert found["nll_nats"] == pytest.approx(expected["nll_nats"], rel=1e-6)
    assert found["effective_sample_size"] == pytest.approx(expected["effective_sample_size"])


def test_samples_are_of_the_prior_without_a_sampler(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    close(model.sample(5, seed=3), prior_samples(own, 5, rng_stream(3, "samples")))
    close(model.sample(5, seed=3, source="prior"), model.sample(5, seed=3))
    assert not np.allclose(model.sample(5, seed=4), model.sample(5, seed=3))
    assert model.sample().shape == (16, *SHAPE)


def with_sampler(folder: Path, beside: Path) -> vaelab.TrainedModel:
    """Save a model, and a sampler fitted briefly to latents of two labels, at -5 and at 5."""
    saved(folder)
    labels = torch.arange(400) % 2
    means = 5.0 * (2 * labels[:, None] - 1) + 0.1 * rand(400, 3)
    posteriors = Posteriors(means, torch.full_like(means, 0.1), labels, 2)
    settings = Settings.model_validate({"sampler": {"name": "flow_matching"}}).sampler
    quick = {"flow_matching": {"steps": 200}}
    found = fit_sampler(settings, quick, posteriors, log=lambda line: None)
    description = SamplerDescription(
        name=found.name,
        model_sha256=weights_sha256(folder),
        latent_dim=3,
        classes=2,
        settings=found.settings,
    )
    save_sampler(beside, found.sampler, description)
    return vaelab.load(folder)


def test_a_sampler_beside_the_model_is_used(tmp_path: Path) -> None:
    model = with_sampler(tmp_path / "model", tmp_path / "sampler")
    assert model.sampler is not None
    assert not np.allclose(model.sample(4), model.sample(4, source="prior"))
    of_label = model.encode(model.sample(4, label=1)).mean
    assert of_label.shape == (4, 3)
    assert not np.allclose(model.sample(4, label=1), model.sample(4, label=0))
    close(model.sample(4, label=1, seed=2), model.sample(4, label=1, seed=2))
    means = model._class_means  # briefly trained, the sampler knows which label is larger
    assert means is not None
    assert (means[1] - means[0]).min() > 0.3
    assert model.edit(PIXELS, {"class": 1}, labels=0).shape == PIXELS.shape


def test_a_sampler_is_saved_with_the_model(tmp_path: Path) -> None:
    model = with_sampler(tmp_path / "a/model", tmp_path / "a/sampler")
    model.save(tmp_path / "b/copy")
    close(vaelab.load(tmp_path / "b/copy").sample(4, label=1), model.sample(4, label=1))


def test_a_sampler_of_another_model_is_left_out_with_a_warning(tmp_path: Path) -> None:
    with_sampler(tmp_path / "model", tmp_path / "sampler")
    saved(tmp_path / "model", SETTINGS.model_copy(update={"hidden": (8,)}))
    with pytest.warns(UserWarning, match="latents of another model.*; samples are of the prior"):
        model = vaelab.load(tmp_path / "model")
    assert model.sampler is None


def test_a_conditional_model_sees_labels(tmp_path: Path) -> None:
    own, model = saved(tmp_path, CONDITIONAL), vaelab.load(tmp_path)
    labels = torch.arange(12) % 4
    given = own.given(labels)
    named = [NAMES[label] for label in labels]
    for given_labels in (labels, labels.numpy(), named):
        close(model.encode(PIXELS, given_labels).mean, given.encode(IMAGES).mean.detach())
    close(model.reconstruct(PIXELS, named), reconstructions(given, IMAGES))
    close(model.reconstruct(PIXELS), reconstructions(own, IMAGES))
    close(model.decode(np.zeros((12, 3)), named), decode_means(given, torch.zeros(12, 3)))
    close(model.edit(PIXELS, {"class": "owl"}, named), counterfactuals(given, IMAGES, [2])[:, 0])
    fox = own.given(torch.full((3,), 3))
    close(model.sample(3, label="fox"), prior_samples(fox, 3, rng_stream(0, "samples")))
    between = model.interpolate(PIXELS[0], PIXELS[1], 3, labels="cat")
    close(between[0, 0], model.reconstruct(PIXELS[0], "cat")[0])
    expected = model.score(PIXELS, named).mean()
    with torch.inference_mode():
        loader = ImageLoader(PIXELS, CPU, labels=labels.numpy(), classes=4)
        scores = score_test_images(own, loader, EvaluateSettings(), CPU)
    assert expected["nll_nats"] == pytest.approx(float(scores["nll"].mean()), rel=1e-6)


def test_an_unconditional_model_edits_by_examples(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    labels = np.arange(12) % 3
    latents = torch.from_numpy(np.asarray(model.encode(PIXELS).mean))
    direction = class_direction(latents, torch.from_numpy(labels), 0, 2)
    expected = edit(own, IMAGES[:1], direction, [1.0])[:, 0]
    found = model.edit(PIXELS[0], {"class": 2}, 0, examples=(PIXELS, labels))
    close(found, expected)
    nearest = model.edit(PIXELS[0], {"class": 2}, examples=(PIXELS, labels))
    means = np.stack([latents[labels == k].mean(0) for k in range(3)])
    source = np.linalg.norm(means - latents[0].numpy(), axis=1).argmin()
    close(nearest, model.edit(PIXELS[0], {"class": 2}, int(source), examples=(PIXELS, labels)))


def test_an_attribute_is_added_by_examples(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    has_it = np.arange(12) % 3 == 1
    latents = torch.from_numpy(np.asarray(model.encode(PIXELS).mean))
    direction = attribute_direction(latents, torch.from_numpy(has_it))
    found = model.edit(PIXELS[:2], {"attribute": -0.5}, examples=(PIXELS, has_it))
    close(found, edit(own, IMAGES[:2], direction, [-0.5])[:, 0])


def test_a_conditional_model_adds_an_attribute_under_the_same_labels(tmp_path: Path) -> None:
    model = loaded(tmp_path, CONDITIONAL)
    named, has_it = ["cat", "owl"], np.arange(12) % 2
    found = model.edit(PIXELS[:2], {"attribute": 0}, named, examples=(PIXELS, has_it))
    close(found, model.reconstruct(PIXELS[:2], named))


def test_images_are_interpolated(tmp_path: Path) -> None:
    own, model = saved(tmp_path), vaelab.load(tmp_path)
    found = model.interpolate(PIXELS[:3], PIXELS[3:6], steps=5)
    close(found, interpolations(own, IMAGES[:3], IMAGES[3:6], 5))
    linear = model.interpolate(PIXELS[0], PIXELS[3:6], path="linear")
    close(linear, interpolations(own, IMAGES[[0, 0, 0]], IMAGES[3:6], 9, "linear"))


def test_a_gan_decodes_and_samples_and_refuses_the_rest(tmp_path: Path) -> None:
    own, model = saved(tmp_path, networks=("decoder",)), vaelab.load(tmp_path)
    close(model.sample(3), prior_samples(own, 3, rng_stream(0, "samples")))
    assert model.decode([0.0, 0.0, 0.0]).shape == (1, *SHAPE)
    for use in ("encode", "reconstruct", "score"):
        with pytest.raises(
            vaelab.UserError,
            match=rf"^{use} needs an encoder, and this model \(gan\) has none: it can decode and",
        ):
            getattr(model, use)(PIXELS)
    with pytest.raises(vaelab.UserError, match=r"^edit needs an encoder"):
        model.edit(PIXELS, {"class": 1})
    with pytest.raises(vaelab.UserError, match=r"^interpolate needs an encoder"):
        model.interpolate(PIXELS, PIXELS)


def test_an_autoencoder_has_no_standard_deviation_and_no_score(tmp_path: Path) -> None:
    model = loaded(tmp_path, posterior="point")
    assert model.encode(PIXELS).stddev is None
    with pytest.raises(vaelab.UserError, match=r"^score needs a bound on the likelihood"):
        model.score(PIXELS)


def test_color_images_come_out_channels_first(tmp_path: Path) -> None:
    model = loaded(tmp_path, shape=(3, 8, 8))
    assert model.reconstruct(np.zeros((2, 8, 8, 3))).shape == (2, 3, 8, 8)


def test_wrong_arguments_are_refused_in_one_line(tmp_path: Path) -> None:
    model, labeled = loaded(tmp_path / "a"), loaded(tmp_path / "b", CONDITIONAL)
    for message, call in (
        ("count must be a whole number of at least 1", lambda: model.sample(0)),
        ("a sample of a label needs a conditional model", lambda: model.sample(2, label=1)),
        ("unknown source best; valid", lambda: model.sample(source="best")),
        ("this model has no sampler", lambda: model.sample(source="sampler")),
        ("label 7 is out of range: 0 to 3", lambda: labeled.sample(2, label=7)),
        ("label -1 is unknown: wanted a class", lambda: labeled.sample(2, label=-1)),
        (
            r"edit changes the class, as in edit\(images, {'class': 8}\), or .* not {'hat': 1}",
            lambda: model.edit(PIXELS, {"hat": 1}),
        ),
        ("an attribute needs examples", lambda: model.edit(PIXELS, {"attribute": 1})),
        (
            "the strength of an attribute is a number, not 'much'",
            lambda: model.edit(PIXELS, {"attribute": "much"}, examples=(PIXELS, [1] * 12)),
        ),
        (
            "examples: a direction needs latents with and without the attribute: 12 of 12",
            lambda: model.edit(PIXELS, {"attribute": 1}, examples=(PIXELS, [1] * 12)),
        ),
        ("edit needs images of the classes", lambda: model.edit(PIXELS, {"class": 1})),
        ("label 4 is out of range: 0 to 3", lambda: labeled.edit(PIXELS, {"class": 4})),
        ("labels: this model was trained without", lambda: model.encode(PIXELS, 3)),
        ("2 labels for 12 images", lambda: labeled.encode(PIXELS, [1, 2])),
        ("steps must be at least 2", lambda: model.interpolate(PIXELS, PIXELS, 1)),
        ("2 first images and 3 second ones", lambda: model.interpolate(PIXELS[:2], PIXELS[:3])),
        ("importance_samples must be", lambda: model.score(PIXELS, importance_samples=0)),
        ("unknown proposal x; valid", lambda: model.score(PIXELS, proposal="x")),
        ("unknown path x; valid", lambda: model.interpolate(PIXELS, PIXELS, path="x")),
        (
            r"latents of shape \[2\] do not fit the model: wanted \[3\]",
            lambda: model.decode([0, 0]),
        ),
    ):
        with pytest.raises(vaelab.UserError, match=f"^{message}"):
            call()


@pytest.mark.skipif(CHECKED, reason="types are checked before")
def test_arguments_of_other_types_are_refused_in_one_line(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    with pytest.raises(vaelab.UserError, match=r"^edit changes the class, .* not 8$"):
        model.edit(PIXELS, 8)  # type: ignore[arg-type]
    with pytest.raises(vaelab.UserError, match=r"^importance_samples must be a whole number"):
        model.restore(PIXELS, np.ones((8, 8)), importance_samples=1.5)  # type: ignore[arg-type]


def test_a_model_says_what_it_is(tmp_path: Path) -> None:
    assert repr(loaded(tmp_path)) == (
        "<vae with 3 latent dimensions of images [1, 8, 8] of digits, sampled from the prior, "
        "on cpu>"
    )


def test_missing_pixels_are_restored(tmp_path: Path) -> None:
    model, mask = loaded(tmp_path), np.zeros((8, 8), bool)
    mask[5:] = True
    hidden = PIXELS / 255
    hidden[:, :, mask] = np.nan
    options: dict[str, Any] = {"importance_samples": 50}
    found = model.restore(PIXELS, mask, draws=3, **options, truth=PIXELS)
    assert found.mean.shape == found.stddev.shape == PIXELS.shape
    assert found.draws.shape == (12, 3, *SHAPE)
    close(found.mean[:, :, ~mask], PIXELS[:, :, ~mask] / 255)
    assert found.log_likelihood_nats is not None
    assert found.log_likelihood_nats.shape == found.effective_sample_size.shape == (12,)
    again = model.restore(hidden, draws=3, **options)
    assert again.log_likelihood_nats is None
    close(again.mean, found.mean)
    assert not np.allclose(model.restore(hidden, seed=1, **options).draws[:, 0], again.draws[:, 0])
    noisy = model.restore(hidden, pixel_noise=True, **options)
    assert (noisy.stddev[:, :, mask] > again.stddev[:, :, mask]).all()


def test_a_conditional_model_restores_images_of_labels(tmp_path: Path) -> None:
    model, mask = loaded(tmp_path, CONDITIONAL), np.ones((8, 8))
    zero, one = (
        model.restore(PIXELS[:1], mask, labels=label, importance_samples=300).mean
        for label in (0, 1)
    )
    assert np.abs(zero - one).max() > 0.01


def test_what_cannot_be_restored_is_refused(tmp_path: Path) -> None:
    mask = np.ones((8, 8))
    model = loaded(tmp_path / "vae")
    for wrong, message in (
        ({"draws": 0}, "draws must be a whole number of at least 1 .it is 0"),
        ({"importance_samples": 0}, "importance_samples must be a whole number of at least 1"),
        ({"truth": PIXELS[:2]}, "2 images of truth for 12 images"),
        ({"labels": 1}, "labels: this model was trained without"),
    ):
        with pytest.raises(vaelab.UserError, match=f"^{message}"):
            model.restore(PIXELS, mask, **wrong)
    for networks, changes, lack in (
        (("decoder",), {}, "factorizes over pixels, and this model .gan. has no encoder"),
        (
            ("encoder", "decoder", "discriminator"),
            {},
            "factorizes over pixels, and this model .vae. has no likelihood of pixels",
        ),
        (("encoder", "decoder"), {"posterior": "point"}, "a Gaussian encoder of at most 256"),
    ):
        other = loaded(tmp_path / str(len(lack)), networks=networks, **changes)
        with pytest.raises(vaelab.UserError, match=f"^restore needs .*{lack}"):
            other.restore(PIXELS, mask)
