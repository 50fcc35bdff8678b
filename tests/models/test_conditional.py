"""Models that see labels, against closed forms of linear ones and the same formulas in z."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles import (
    STANDARD_ERRORS,
    assert_mean,
    layer,
    log_normal,
    rand,
    randn,
    set_linear,
)
from vaelab.config import EvaluateSettings, ModelSettings, Settings, UserError, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation.ais_metrics import annealing_metrics
from vaelab.evaluation.bounds import score_test_images
from vaelab.evaluation.scoring import score_images
from vaelab.inference import decoding, sampling
from vaelab.models.conditional import ConditionalDecoder, hide_labels
from vaelab.models.model import Model, build_model
from vaelab.models.priors.flow import Flow
from vaelab.models.saving import ModelDescription, load_model, save_model
from vaelab.objectives import build_objective, conditional_objectives
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer

CPU = torch.device("cpu")
CLASSES, LATENTS, SHAPE = 3, 2, (1, 2, 3)
PIXELS = math.prod(SHAPE)
VARIANCE = 0.3


def conditional(moved: float = 0.3, **changes: object) -> Model:
    """A small model that sees labels, with every parameter moved from its initial value."""
    settings = ModelSettings.model_validate(
        {"network": "mlp", "hidden": [5], "latent_dim": LATENTS, "conditional": "labels"} | changes
    )
    model = build_model(settings, SHAPE, classes=CLASSES)
    noise = rng_stream(0, "randomise")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(moved * torch.randn(parameter.shape, generator=noise))
    return model.eval()


def flow_model() -> Model:
    return conditional(prior="flow", flow_layers=3, flow_width=8)


def decoder(model: Model) -> ConditionalDecoder:
    found = model.networks["decoder"]
    assert isinstance(found, ConditionalDecoder)
    return found


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
def test_encoder_and_decoder_see_the_label_of_each_image(network: str) -> None:
    model = conditional(network=network, channels=[3])
    images, latents, labels = rand(4, *SHAPE), randn(4, LATENTS), torch.tensor([2, 0, -1, 1])
    given = model.given(labels)
    means, pixels = given.encode(images).mean, given.decode(latents).mean
    for row, label in enumerate(labels.tolist()):
        alone = model.given(torch.tensor([label]))
        torch.testing.assert_close(alone.encode(images[row : row + 1]).mean[0], means[row])
        torch.testing.assert_close(alone.decode(latents[row : row + 1]).mean[0], pixels[row])
    every = model.given(torch.arange(CLASSES))
    same_image, same_latent = images[:1].expand(3, *SHAPE), latents[:1].expand(3, LATENTS)
    assert len(set(every.encode(same_image).mean[:, 0].tolist())) == CLASSES
    assert len(set(every.decode(same_latent).mean[:, 0, 0, 0].tolist())) == CLASSES


def test_labels_follow_any_leading_dimensions() -> None:
    model, labels = conditional(), torch.tensor([2, 0, 1, -1])
    latents = randn(5, 4, LATENTS)
    drawn = model.given(labels).decode(latents).mean
    for samples, expected in zip(latents, drawn, strict=True):
        torch.testing.assert_close(model.given(labels).decode(samples).mean, expected)
    grid = model.given(labels[:, None]).decode(latents.transpose(0, 1)).mean
    torch.testing.assert_close(grid.transpose(0, 1), drawn)
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(
        model.given(labels).given_rows(rows).decode(latents[:, rows]).mean, drawn[:, rows]
    )


def test_no_label_is_an_unknown_one_for_every_image() -> None:
    model, latents = conditional(), randn(4, LATENTS)
    unknown = model.given(torch.full((4,), -1)).decode(latents).mean
    torch.testing.assert_close(model.decode(latents).mean, unknown)
    given = model.given(torch.tensor([0, 1, 2, 0]))
    torch.testing.assert_close(given.given(None).decode(latents).mean, unknown)
    assert model.labels is None


def test_an_unconditional_model_is_the_same_whatever_the_labels() -> None:
    model = build_model(ModelSettings(network="mlp", latent_dim=LATENTS), SHAPE, classes=CLASSES)
    assert model.classes == 0
    assert model.given(torch.tensor([0])) is model
    noise = rng_stream(0, "labels")
    assert model.with_sampled_labels(5, noise) is model
    assert torch.equal(noise.get_state(), rng_stream(0, "labels").get_state())


def test_a_flow_is_another_prior_for_each_label() -> None:
    """ln p(z|y) by the change of variables, with the Jacobian by differentiation."""
    model, latents, labels = flow_model(), randn(4, LATENTS), torch.tensor([2, 0, -1, 1])
    given = model.given(labels)
    flow = model.networks["prior"]
    assert isinstance(flow, Flow)
    assert model.prior_sees_labels
    one_hot = given.one_hot_labels(torch.Size([4]))
    assert one_hot.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    for z, label, found in zip(latents, one_hot, given.log_prior(latents), strict=True):
        jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda z, label=label: flow.to_noise(z, label)[0], z
        )
        expected = log_normal(flow.to_noise(z, label)[0]) + jacobian.det().abs().log()
        torch.testing.assert_close(found, expected)
    same = model.given(torch.tensor([0, 1, 2, -1])).log_prior(latents[:1].expand(4, -1))
    assert len(set(same.tolist())) == 4
    torch.testing.assert_close(
        given.log_prior(latents.expand(5, 4, -1))[3], given.log_prior(latents)
    )


def test_samples_of_a_label_follow_its_prior() -> None:
    model, count = flow_model(), 20_000
    for label in (0, -1):
        given = model.given(torch.full((count,), label))
        latents = given.prior(count, rng_stream(0, "prior"))
        other = model.given(torch.full((count,), 2 if label == 0 else 0))
        # E[p'(z) / p(z)] = 1 for z of p, where p' is any other density
        ratio = (other.log_prior(latents) - given.log_prior(latents)).exp()
        assert_mean(ratio.detach(), 1.0)


def test_the_prior_over_all_labels_is_their_mixture() -> None:
    model, latents = flow_model(), randn(5, LATENTS)
    model.set_label_frequencies(torch.tensor([0, 6, 2]))
    one, two = (model.given(torch.full((5,), y)).log_prior(latents).exp() for y in (1, 2))
    torch.testing.assert_close(model.marginal_log_prior(latents), (0.75 * one + 0.25 * two).log())
    assert torch.equal(conditional().marginal_log_prior(latents), conditional().log_prior(latents))


def test_a_latent_under_another_label_is_of_the_same_noise() -> None:
    model, latents, labels = flow_model(), randn(4, LATENTS), torch.tensor([2, 0, -1, 1])
    given, other = model.given(labels), torch.tensor([1, 0, 2, 2])
    moved = given.transfer(latents, other)
    torch.testing.assert_close(moved[1], latents[1])
    assert not torch.isclose(moved[[0, 2, 3]], latents[[0, 2, 3]]).all(1).any()
    torch.testing.assert_close(model.given(other).transfer(moved, labels), latents)
    plain = conditional().given(labels)
    assert torch.equal(plain.transfer(latents, other), latents)


def linear_conditional() -> tuple[Model, Callable[[Tensor, Tensor], Tensor]]:
    """A linear model whose encoder returns the prior, and its exact ln p(x|y)."""
    model = conditional(
        hidden=[], likelihood="gaussian", gaussian_variance=VARIANCE, gaussian_mean="linear"
    )
    with torch.no_grad():
        encoder = layer(model, "encoder")
        set_linear(encoder, torch.zeros_like(encoder.weight), torch.zeros_like(encoder.bias))
    linear = layer(model, "decoder")
    weight, bias = linear.weight.detach(), linear.bias.detach()

    def log_likelihood(images: Tensor, labels: Tensor) -> Tensor:
        # x = W z + V_y + b + noise is Gaussian
        rows = torch.where(labels < 0, CLASSES, labels)
        means = math.sqrt(LATENTS) * weight[:, LATENTS + rows].T + bias
        covariance = weight[:, :LATENTS] @ weight[:, :LATENTS].T + VARIANCE * torch.eye(PIXELS)
        exact = torch.distributions.MultivariateNormal(means, covariance)
        return exact.log_prob(images.flatten(1))  # type: ignore[no-untyped-call,no-any-return]

    return model, log_likelihood


def labeled_images(count: int) -> ImageLoader:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    labels = rng.integers(-1, CLASSES, count)
    return ImageLoader(images, CPU, labels=labels, classes=CLASSES)


def test_evaluation_bounds_the_likelihood_given_the_label_of_each_image() -> None:
    model, log_likelihood = linear_conditional()
    test = labeled_images(30)
    images, labels = next(test.sequential(30, rng_stream(0, "noise")))
    assert labels is not None
    exact = log_likelihood(images, labels).double()
    settings = EvaluateSettings(
        importance_samples=4000, batch_size=7, annealing_images=6, annealing_temperatures=50
    )
    scores = score_test_images(model, test, settings, CPU)
    # The error of ln of the mean weight is about 1 / sqrt(effective sample size).
    errors = scores["effective_sample_size"].rsqrt()
    assert ((-scores["nll"] - exact).abs() < STANDARD_ERRORS * errors).all()
    scored = score_images(model, test, 4000, 0)
    assert ((-scored.nll - exact).abs() < STANDARD_ERRORS * errors).all()
    other = log_likelihood(images, (labels + 1) % CLASSES).double()
    assert (other - exact).abs().mean() > 10 * errors.mean()
    annealed = annealing_metrics(model, test, test, settings, CPU)
    assert abs(annealed["gap_nats"]) < 0.05
    rows = sample_rows(30, 6, settings.seed, "annealing")
    assert annealed["nll_nats"] == pytest.approx(-exact[rows].mean().item(), abs=0.05)
    assert annealed["simulated_importance_weighted_nll_nats"] == pytest.approx(
        annealed["simulated_nll_upper_nats"], abs=0.3
    )


def test_simulated_images_have_labels_of_the_training_split() -> None:
    model, _ = linear_conditional()
    model.set_label_frequencies(torch.tensor([0, 6, 2]))
    count = 4000
    given = model.with_sampled_labels(count, rng_stream(0, "labels"))
    assert given.labels is not None
    for label, share in enumerate((0.0, 0.75, 0.25)):
        assert_mean((given.labels == label).float(), share)
    assert given.with_sampled_labels(count, rng_stream(1, "labels")) is given


@pytest.mark.parametrize("prior", ["standard_normal", "flow"])
def test_samples_by_label_and_counterfactuals_are_of_the_column_s_label(prior: str) -> None:
    model, labels = conditional(prior=prior, likelihood="bernoulli", flow_layers=2), [2, 0]
    columns = torch.tensor(labels)
    grid = sampling.samples_by_label(model, None, labels, 5, rng_stream(0, "noise"))
    latents = model.given(columns.repeat(5)).prior(10, rng_stream(0, "noise")).view(5, 2, -1)
    images, own = rand(5, *SHAPE), torch.tensor([0, 1, 2, -1, 0])
    other = decoding.counterfactuals(model.given(own), images, labels)
    means = model.given(own).encode(images).mean
    for column, label in enumerate(labels):
        target = torch.full((5,), label)
        given = model.given(target)
        torch.testing.assert_close(grid[:, column], given.decode(latents[:, column]).mean)
        moved = model.given(own).transfer(means, target)
        torch.testing.assert_close(other[:, column], given.decode(moved).mean)


def test_batches_of_decoding_keep_the_labels_of_their_images() -> None:
    model, count = conditional(likelihood="bernoulli"), 1203  # three parts, the last short
    labels, images = torch.arange(count) % CLASSES, rand(count, *SHAPE)
    given = model.given(labels)
    torch.testing.assert_close(decoding.encode_means(given, images), given.encode(images).mean)
    means = given.encode(images).mean
    torch.testing.assert_close(decoding.decode_means(given, means), given.decode(means).mean)


def test_training_hides_a_share_of_the_labels() -> None:
    labels = torch.arange(20_000) % CLASSES
    hidden = hide_labels(labels, 0.1, rng_stream(0, "noise"))
    assert_mean((hidden == -1).float(), 0.1)
    assert torch.equal(hidden[hidden >= 0], labels[hidden >= 0])


def settings(objective: str = "vae", **train: object) -> Settings:
    return parse_settings(
        {
            "model": {
                "network": "mlp",
                "hidden": [5],
                "latent_dim": LATENTS,
                "conditional": "labels",
                "spectral_norm": False,
            },
            "train": {"objective": objective, "epochs": 1, "batch_size": 10, **train},
        }
    )


@pytest.mark.parametrize("objective", conditional_objectives())
def test_a_conditional_model_is_trained_saved_and_loaded(tmp_path, objective: str) -> None:
    chosen, data = settings(objective), labeled_images(40)
    trainer = build_trainer(chosen, data, data, CPU)
    trainer.fit(show_progress=False)
    model = trainer.model.eval()
    description = ModelDescription(
        objective=objective,
        networks=trainer.objective.networks(),
        posterior=trainer.objective.posterior,
        image_shape=SHAPE,
        model=trainer.objective.resolve_prior(chosen.model),
        dataset="some",
        levels=256,
        class_names=("a", "b", "c"),
        settings={},
    )
    save_model(tmp_path, model, description)
    loaded, again = load_model(tmp_path, CPU)
    assert (again, loaded.classes) == (description, CLASSES)
    images, labels = next(data.sequential(40, rng_stream(0, "noise")))
    torch.testing.assert_close(
        loaded.given(labels).encode(images).mean, model.given(labels).encode(images).mean
    )
    counts = data.label_counts()
    assert counts is not None
    torch.testing.assert_close(decoder(loaded).label_frequencies, counts / counts.sum())


def test_images_without_labels_are_refused() -> None:
    images = labeled_images(20)
    unlabeled = ImageLoader(images.array, CPU)
    message = "model.conditional: labels needs images with labels, and the data set has none; set"
    with pytest.raises(UserError, match=message):
        build_trainer(settings(), unlabeled, unlabeled, CPU)


@pytest.mark.parametrize("objective", ["gan", "vae_gan", "vq_vae"])
def test_objectives_that_cannot_see_labels_refuse_them(objective: str) -> None:
    message = (
        "model.conditional: labels does not work with this objective; use model.conditional: none, "
        "or one of autoencoder, beta_tc_vae, beta_vae, factor_vae, info_vae, iwae, vae, wae"
    )
    chosen = settings(objective)
    with pytest.raises(UserError, match=message):
        build_objective(chosen).resolve_prior(chosen.model)


def test_a_share_of_hidden_labels_without_labels_is_refused() -> None:
    chosen = parse_settings({"train": {"label_dropout": 0.2}})
    message = "train.label_dropout has no effect with model.conditional: none: remove it, or set"
    with pytest.raises(UserError, match=message):
        build_objective(chosen)


@pytest.mark.parametrize("label", [-2, CLASSES])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=f"label {label} is out of range: 0 to 2, or -1"):
        conditional().given(torch.tensor([0, label]))
