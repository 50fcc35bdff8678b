"""What does not belong among normal images: scores, thresholds, heat maps."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from tests.oracles import STANDARD_ERRORS, rand
from vaelab.config import ModelSettings, UserError
from vaelab.inference.detection import (
    SCORES,
    Measured,
    Reference,
    conformal_p_values,
    conformal_threshold,
    detect,
    halves,
    measure,
    png_nats,
)
from vaelab.models.model import Model, build_model

SHAPE = (1, 8, 8)
SETTINGS = ModelSettings(network="mlp", hidden=(), latent_dim=3, prior="standard_normal")
RNG = np.random.default_rng(0)


def model(settings: ModelSettings = SETTINGS, **changes: object) -> Model:
    """An untrained model."""
    return build_model(settings, SHAPE, **changes).eval()  # type: ignore[arg-type]


def normal(count: int = 200) -> Measured:
    """Measured images whose scores, latents and pixels are independent noise."""
    rng = np.random.default_rng(count)
    return Measured(
        {name: rng.normal(size=count) for name in ("neg_elbo", "nll", "complexity")}
        | {"reconstruction": rng.gamma(2, size=count)},
        rng.normal(size=(count, 3)),
        rng.gamma(2, size=(count, 4, 5)).astype(np.float32),
    )


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (19, 0.5), (20, 0.05), (999, 0.001)])
def test_the_threshold_is_the_smallest_score_with_the_guarantee(count: int, rate: float) -> None:
    scores = RNG.permutation(count).astype(float)
    # A new score is equally likely to fall into each of the count + 1 gaps between normal scores.
    rates = [(count - k) / (count + 1) for k in range(count)]  # of the threshold k
    expected = min(k for k in range(count) if rates[k] <= rate + 1e-12)
    assert conformal_threshold(scores, rate) == expected


def test_new_normal_images_are_called_odd_at_the_rate() -> None:
    trials, rate = 4000, 0.1
    drawn = RNG.exponential(size=(trials, 30))  # 29 normal images, and a new one
    alarms = [row[-1] > conformal_threshold(row[:-1], rate) for row in drawn]
    exact = 3 / 30  # of 29 scores the 27th, above which are 3 of the 30 gaps
    error = math.sqrt(exact * (1 - exact) / trials)
    assert abs(np.mean(alarms) - exact) < STANDARD_ERRORS * error


def test_too_few_normal_images_for_a_rate_are_refused_in_a_line() -> None:
    message = (
        r"^98 normal images are too few for a false-alarm rate of 0.01: the threshold needs 99, "
        r"or a rate of 0.01 or more$"
    )
    with pytest.raises(UserError, match=message):
        conformal_threshold(np.arange(98.0), 0.01)
    assert conformal_threshold(np.arange(99.0), 0.01) == 98
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(UserError, match="false_alarm_rate must be between 0 and 1"):
            conformal_threshold(np.arange(9.0), rate)


def test_a_p_value_is_at_most_the_rate_where_the_score_is_above_the_threshold() -> None:
    known, scores = RNG.normal(size=39), RNG.normal(size=500) * 2
    p = conformal_p_values(scores, known)
    np.testing.assert_allclose(p, [(1 + (known >= s).sum()) / 40 for s in scores])
    for rate in (0.025, 0.05, 0.1, 0.5):
        assert ((p <= rate + 1e-12) == (scores > conformal_threshold(known, rate))).all()


def test_unusualness_is_minus_the_log_of_the_share_above_and_rises_beyond_it() -> None:
    known = normal(999)
    reference, scores = Reference(known), known.scores["nll"]
    middle = np.quantile(scores, [0.3, 0.5, 0.8])
    expected = [-math.log(((scores >= s).sum() + 1) / 1000) for s in middle]
    np.testing.assert_allclose(reference.unusualness("nll", middle), expected)
    grid = np.linspace(-4, 40, 500)
    rising = np.diff(reference.unusualness("nll", grid))
    assert (rising >= -1e-9).all()
    assert (rising[grid[:-1] > scores.max()] > 0).all()


def test_the_combination_is_fishers_sum_over_bound_surprise_and_latent_distance() -> None:
    reference, images = Reference(normal(200)), normal(7)
    found = reference.scores(images)
    assert list(found) == [*images.scores, "surprise", "latent_distance", "combination"]
    assert set(found) == SCORES.keys()
    parts = ("neg_elbo", "surprise", "latent_distance")
    expected = sum(reference.unusualness(name, found[name]) for name in parts)
    np.testing.assert_allclose(found["combination"], expected)


def test_the_latent_distance_is_that_of_mahalanobis() -> None:
    known, images = normal(200), normal(5)
    fitted = LedoitWolf().fit(known.latents)
    apart = images.latents - known.latents.mean(0)
    expected = [math.sqrt(d @ np.linalg.inv(fitted.covariance_) @ d) for d in apart]
    np.testing.assert_allclose(Reference(known).scores(images)["latent_distance"], expected)


def test_a_heat_map_is_in_standard_deviations_of_each_pixel() -> None:
    known = normal(2000)
    maps = Reference(known).heat_maps(known)
    np.testing.assert_allclose(maps.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(maps.std(0), 1, atol=0.01)
    pixels = known.pixels[:1].copy()
    pixels[0, 2, 3] += 5 * known.pixels[:, 2, 3].std()
    heat = Reference(known).heat_maps(Measured({}, known.latents[:1], pixels))
    np.testing.assert_allclose((heat - maps[:1])[0, 2, 3], 5, rtol=0.01)
    assert np.count_nonzero((heat - maps[:1]).round(4)) == 1


def test_a_pixel_that_never_changes_has_no_endless_heat() -> None:
    known = normal(200)
    known.pixels[:, 0, 0] = 1.0
    reference = Reference(known)
    images = normal(3)
    images.pixels[:, 0, 0] = 1.0
    assert np.isfinite(reference.heat_maps(images)).all()
    np.testing.assert_allclose(reference.heat_maps(images)[:, 0, 0], 0, atol=1e-5)


def test_the_bound_and_the_likelihood_are_those_of_importance_sampling() -> None:
    vae, images = model(), rand(4, *SHAPE)
    one, many = measure(vae, images, samples=1), measure(vae, images, samples=2000)
    np.testing.assert_allclose(one.scores["nll"], one.scores["neg_elbo"])
    assert (many.scores["nll"] <= many.scores["neg_elbo"]).all()
    with torch.no_grad():
        posterior = vae.encode(images)
        drawn = posterior.rsample(torch.Generator().manual_seed(1), 2000)
        losses = posterior.kl() - vae.decode(drawn).log_prob(images)  # type: ignore[union-attr]
    error = losses.std(0) / math.sqrt(1000)  # of the difference of two means of 2000
    apart = np.abs(many.scores["neg_elbo"] - losses.double().mean(0).numpy())
    assert (apart < STANDARD_ERRORS * error.numpy() + 0.05).all()


def test_pixels_and_reconstruction_are_at_the_posterior_mean() -> None:
    vae, images = model(), rand(4, *SHAPE)
    found = measure(vae, images, samples=1)
    with torch.no_grad():
        posterior = vae.encode(images)
        decoded = vae.decode(posterior.mean)
    np.testing.assert_allclose(
        found.pixels.sum((1, 2)), -decoded.log_prob(images).numpy(), rtol=1e-4
    )
    squares = (images - decoded.mean).square().flatten(1).sum(1)
    np.testing.assert_allclose(found.scores["reconstruction"], squares.numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.latents, posterior.mean.numpy(), rtol=1e-6)


def test_the_complexity_subtracts_the_length_of_the_png() -> None:
    vae, images = model(), torch.cat([rand(1, *SHAPE), torch.full((1, *SHAPE), 0.5)])
    found = measure(vae, images)
    noisy, blank = png_nats(images)
    assert noisy > blank + 30 * 8 * math.log(2)  # 64 bytes of noise
    np.testing.assert_allclose(
        found.scores["neg_elbo"] - found.scores["complexity"], [noisy, blank]
    )
    assert len(png_nats(rand(2, 3, 8, 8))) == len(png_nats(rand(2, 2, 8, 8))) == 2


def test_without_a_bound_there_are_the_other_scores() -> None:
    plain = model(posterior="point")
    found = Reference(measure(plain, rand(20, *SHAPE))).scores(measure(plain, rand(3, *SHAPE)))
    assert set(found) == {"reconstruction", "surprise", "latent_distance", "combination"}


def test_detections_are_ranked_and_judged() -> None:
    known, held_out, images = normal(300), normal(99), normal(50)
    images.scores["nll"][17] = 99.0
    found = detect(images, held_out, Reference(known), false_alarm_rate=0.01, score="nll")
    assert found.order[0] == 17
    assert found.is_odd[17]
    assert found.p_values[17] == pytest.approx(0.01)
    assert found.threshold == held_out.scores["nll"].max()
    assert found.normal_images == 99
    assert (np.diff(found.scores[found.order]) <= 0).all()


def test_what_cannot_be_detected_is_refused() -> None:
    known = normal(50)
    with pytest.raises(UserError, match=r"unknown score nl; did you mean nll\? valid: neg_elbo"):
        detect(known, known, Reference(known), score="nl")
    with pytest.raises(UserError, match="detect needs an encoder and a likelihood of pixels"):
        measure(model(networks=("decoder",)), rand(2, *SHAPE))
    with pytest.raises(UserError, match="needs more than 1 normal images"):
        Reference(normal(1))


def test_normal_images_are_halved_without_overlap() -> None:
    first, second = halves(11, seed=0)
    assert sorted([*first, *second]) == list(range(11))
    assert (len(first), len(second)) == (5, 6)
    assert (first != halves(11, seed=1)[0]).any()
