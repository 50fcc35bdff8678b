"""Flow matching against aggregate posteriors that are known in closed form."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from tests.samplers.factories import (
    SMALL,
    cell_middles,
    fitted,
    gaussian_posteriors,
    generator,
    log_density,
    two_clusters,
)
from vaelab.runtime import matmul
from vaelab.samplers import (
    Posteriors,
    Sampler,
    build_sampler,
    flow_matching,
)
from vaelab.samplers._velocity import Velocity
from vaelab.samplers.flow_matching import FlowMatching, StandardizedPosteriors

Known = tuple[Sampler, MultivariateNormal]


@pytest.fixture(scope="module")
def known() -> Known:
    posteriors, aggregate = gaussian_posteriors(4_000, 2)
    return fitted(posteriors), aggregate


@pytest.fixture(scope="module")
def clusters() -> Sampler:
    return fitted(two_clusters(3_000))


def untrained(latent_dim: int, classes: int = 0) -> FlowMatching:
    """A sampler whose velocity is not 0, as it is before training."""
    sampler = build_sampler("flow_matching", SMALL | {"solver_steps": 5}, latent_dim, classes)
    assert isinstance(sampler, FlowMatching)
    torch.nn.init.normal_(sampler.velocity.head.weight, std=0.1, generator=generator(3))
    torch.nn.init.normal_(sampler.velocity.label.weight, generator=generator(4))
    return sampler.eval()


def test_targets_are_the_mean_velocity_at_a_point() -> None:
    """Their products with the point have the mean of those of straight paths' velocities."""
    count, mean, stddev = 200_000, 0.7, 0.3
    rows = torch.zeros(count, dtype=torch.long)
    data = StandardizedPosteriors(torch.tensor([[mean]]), torch.tensor([[stddev]]), rows[:1], 0)
    paths = data.paths(rows, generator(1))
    start = torch.randn(count, 1, generator=generator(2))
    end = mean + stddev * torch.randn(count, 1, generator=generator(3))
    points = (1 - paths.times[:, None]) * start + paths.times[:, None] * end
    for weight in (torch.ones_like, torch.clone, torch.square, torch.sin):
        ours = weight(paths.points) * paths.targets
        straight = weight(points) * (end - start)
        error = ((ours.var() + straight.var()) / count).sqrt()
        assert (ours.mean() - straight.mean()).abs() < 4 * error
    assert paths.targets.var() < 0.7 * (end - start).var()


def test_hidden_labels_are_the_label_of_none() -> None:
    data = StandardizedPosteriors(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([1]), 2)
    rows = torch.zeros(10_000, dtype=torch.long)
    assert set(data.paths(rows, generator()).labels.tolist()) == {1}
    hidden = data.paths(rows, generator(), hidden_labels=0.1).labels
    assert set(hidden.tolist()) == {1, 2}
    assert (hidden == 2).float().mean().item() == pytest.approx(0.1, abs=0.012)


def test_density_is_the_aggregate_posterior(known: Known) -> None:
    sampler, aggregate = known
    torch.manual_seed(0)
    latents = aggregate.sample((2_000,))
    difference = sampler.log_prob(latents) - log_density(aggregate, latents)
    # its mean is -KL(aggregate || sampler)
    assert -0.02 < difference.mean() < 3 * difference.std() / math.sqrt(2_000)
    assert difference.std() < 0.2


def test_samples_have_the_moments_of_the_aggregate_posterior(known: Known) -> None:
    sampler, aggregate = known
    samples = sampler.sample(10_000, generator())
    covariance = aggregate.covariance_matrix
    error = (covariance.diagonal() / 10_000).sqrt()
    assert ((samples.mean(0) - aggregate.mean).abs() < 4 * error + 0.05).all()
    torch.testing.assert_close(samples.T.cov(), covariance, rtol=0.1, atol=0.05)


def test_density_integrates_to_one_in_two_dimensions(known: Known) -> None:
    sampler, aggregate = known
    axes = [
        cell_middles(center.item() - reach, center.item() + reach, 60)
        for center, reach in zip(aggregate.mean, (6 * aggregate.stddev).tolist(), strict=True)
    ]
    grid = torch.cartesian_prod(*(middles for middles, _ in axes))
    area = axes[0][1] * axes[1][1]
    assert sampler.log_prob(grid).exp().sum().item() * area == pytest.approx(1, abs=0.003)


def test_two_modes_samples_and_density_agree(clusters: Sampler) -> None:
    middles, width = cell_middles(-5, 5, 1_000)
    mass = clusters.log_prob(middles[:, None]).exp() * width
    assert mass.sum().item() == pytest.approx(1, abs=0.003)
    samples = clusters.sample(20_000, generator())
    shares = torch.histc(samples, 25, -5, 5) / len(samples)
    expected = mass.reshape(25, 40).sum(-1)
    error = (expected * (1 - expected) / len(samples)).sqrt()
    assert ((shares - expected).abs() < 5 * error + 0.004).all()
    labels = two_clusters(3_000).labels
    assert labels is not None
    assert (samples > 0).float().mean().item() == pytest.approx(
        labels.float().mean().item(), abs=0.02
    )
    # Entropy: the mean of -ln p over samples is the integral of -p ln p.
    entropy = -torch.xlogy(mass / width, mass / width).sum() * width
    values = -clusters.log_prob(samples[:2_000])
    assert (values.mean() - entropy).abs() < 4 * values.std() / math.sqrt(2_000) + 0.02


def test_density_of_a_label_is_its_cluster(clusters: Sampler) -> None:
    latents = torch.randn(2_000, 1, generator=generator()) * 0.4 + 2
    ours = clusters.log_prob(latents, torch.ones(2_000, dtype=torch.long))
    difference = ours - log_density(Normal(2, 0.4), latents)[:, 0]
    assert difference.mean().item() == pytest.approx(0, abs=0.03)
    asked = clusters.sample(2_000, generator(), torch.ones(2_000, dtype=torch.long))
    assert (asked > 0).float().mean() > 0.999


def test_densities_of_labels_sum_to_the_density(clusters: Sampler) -> None:
    latents = torch.linspace(-3, 3, 12).reshape(3, 4, 1)
    shares = clusters.label_log_frequencies.exp()
    parts = [shares[k] * clusters.log_prob(latents, torch.tensor(k)).exp() for k in (0, 1)]
    torch.testing.assert_close(clusters.log_prob(latents).exp(), sum(parts))
    labels = two_clusters(3_000).labels
    assert labels is not None
    assert shares[1].item() == pytest.approx(labels.float().mean().item())


def test_labels_broadcast_to_latents(clusters: Sampler) -> None:
    latents = torch.randn(5, 2, 1, generator=generator())
    labels = torch.tensor([0, 1])
    columns = [clusters.log_prob(latents[:, k], torch.tensor(k)) for k in (0, 1)]
    torch.testing.assert_close(clusters.log_prob(latents, labels), torch.stack(columns, -1))


def test_density_under_inference_mode(clusters: Sampler) -> None:
    latents = torch.randn(5, 1, generator=generator())
    expected = clusters.log_prob(latents)
    with torch.inference_mode():
        torch.testing.assert_close(clusters.log_prob(latents.clone()), expected)


def test_hutchinsons_estimate_is_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, count = untrained(6), 5_000
    latent = torch.randn(1, 6, generator=generator())
    exact = sampler.log_prob(latent)
    monkeypatch.setattr(flow_matching, "EXACT_DIMENSIONS", 5)
    # The same point with as many probes. Its path is the same: the density is a mean over probes.
    estimates = sampler.log_prob(latent.expand(count, 6))
    assert estimates.std() > 0.001
    assert (estimates.mean() - exact).abs() < 4 * estimates.std() / math.sqrt(count)


def test_density_of_many_latents_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = untrained(3, classes=2)
    latents = torch.randn(7, 3, generator=generator())
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 1])
    whole = sampler.log_prob(latents, labels)
    monkeypatch.setattr(flow_matching, "DIRECTIONS", 6)
    torch.testing.assert_close(sampler.log_prob(latents, labels), whole)


def test_density_undoes_the_samples_path() -> None:
    """ln p at a sample is that of its noise, less ln |det| of the map from noise to sample."""
    sampler = untrained(2)
    sampler.settings = sampler.settings.model_copy(update={"solver_steps": 200})
    noise = torch.randn(1, 2, generator=generator(5))

    def carry(noise: torch.Tensor) -> torch.Tensor:
        field = sampler._field(None)
        return flow_matching._heun(field, noise[None], 0, 1, 200)[0]

    jacobian: torch.Tensor = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
        carry, noise[0]
    )
    expected = log_density(Normal(0, 1), noise[0]).sum() - jacobian.slogdet().logabsdet
    latent = sampler.sample(1, generator(5))
    torch.testing.assert_close(sampler.log_prob(latent)[0], expected, atol=1e-4, rtol=0)


def test_guidance_extrapolates_from_the_velocity_without_a_label() -> None:
    sampler = untrained(2, classes=3)
    points, labels = torch.randn(5, 2, generator=generator()), torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        none, own = (sampler._field(y)(points, 0.3) for y in (None, labels))
        torch.testing.assert_close(sampler._field(labels, 0.0)(points, 0.3), none)
        guided = sampler._field(labels, 1.5)(points, 0.3)
    assert (none - own).abs().max() > 0.01
    torch.testing.assert_close(guided, none + 1.5 * (own - none))


def test_guidance_makes_samples_more_typical_of_their_label() -> None:
    """Of overlapping clusters, fewer samples of one are on the other's side."""
    sampler = fitted(two_clusters(3_000, distance=1.0, stddev=1.0))
    assert isinstance(sampler, FlowMatching)
    labels, shares = torch.ones(4_000, dtype=torch.long), {}
    for guidance in (1.0, 2.0):
        sampler.settings = sampler.settings.model_copy(update={"guidance": guidance})
        samples = sampler.sample(4_000, generator(), labels)
        shares[guidance] = (samples > 0).float().mean().item()
    expected = torch.special.ndtr(torch.tensor(1.0)).item()
    assert shares[1.0] == pytest.approx(expected, abs=0.03)
    assert shares[2.0] > shares[1.0] + 0.05


def test_a_seed_gives_the_same_fit_and_samples() -> None:
    posteriors = two_clusters(300)
    first, second = (fitted(posteriors, steps=20) for _ in range(2))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    other = build_sampler("flow_matching", SMALL | {"steps": 20}, 1, 2)
    other.fit(posteriors, seed=1)
    assert not torch.equal(first.sample(5, generator()), other.eval().sample(5, generator()))
    assert torch.equal(first.sample(5, generator()), second.sample(5, generator()))
    assert not torch.equal(first.sample(5, generator()), first.sample(5, generator(1)))


@pytest.mark.parametrize("has_it", [True, False])
def test_a_fit_in_bfloat16_is_as_good(has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without it the density is that of the latents, of float32 weights."""
    monkeypatch.setattr(matmul, "has_bfloat16", lambda: has_it)
    seen = set()
    whole = Velocity.forward

    def forward(self: Velocity, *inputs: torch.Tensor) -> torch.Tensor:
        found = whole(self, *inputs)
        seen.add(found.dtype)
        return found

    monkeypatch.setattr(Velocity, "forward", forward)
    posteriors, aggregate = gaussian_posteriors(4_000, 2)
    sampler = fitted(posteriors)
    latents = aggregate.mean + torch.randn(1_000, 2, generator=generator())
    error = sampler.log_prob(latents) - log_density(aggregate, latents)
    assert error.abs().mean() < 0.1
    # Held-out latents are compared in float32.
    assert seen == ({torch.bfloat16, torch.float32} if has_it else {torch.float32})
    assert {weight.dtype for weight in sampler.parameters()} == {torch.float32}


def test_fit_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    fitted(two_clusters(300), steps=3)
    assert torch.equal(torch.rand(3), expected)


def test_training_ends_when_held_out_latents_do_not_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_matching, "CHECK_STEPS", 10)
    # Posteriors that are points are learned by heart.
    means = torch.randn(200, 8, generator=generator())
    sampler = build_sampler("flow_matching", SMALL | {"width": 128}, 8)
    facts = sampler.fit(Posteriors(means, torch.zeros_like(means)), 0)
    assert facts["steps"] < 500
    assert math.isfinite(facts["held_out_loss"])


@pytest.mark.parametrize("spread", [0.0, 1e-9])
def test_constant_dimensions(spread: float) -> None:
    """A dimension that is equal for all images stays what it is, at the scale of the others."""
    means = torch.randn(400, 3, generator=generator())
    means[:, 1] = 5 + spread * means[:, 1]
    sampler = fitted(Posteriors(means, torch.zeros_like(means)), steps=200)
    samples = sampler.sample(500, generator())
    assert (samples[:, 1] - 5).abs().max() < 1e-3
    assert samples[:, 0].std() > 0.7
    assert sampler.log_prob(samples).isfinite().all()


def test_equal_latents_of_all_images() -> None:
    means = torch.full((400, 2), 3.0)
    sampler = fitted(Posteriors(means, torch.zeros_like(means)), steps=20)
    torch.testing.assert_close(sampler.sample(50, generator()), means[:50], atol=1e-3, rtol=0)


def test_a_class_without_images_is_not_sampled() -> None:
    labels = torch.tensor([0, 2, -1, 2]).repeat(100)
    means = labels[:, None].float()
    sampler = fitted(Posteriors(means, torch.full_like(means, 0.1), labels, 4), steps=50)
    shares = sampler.label_log_frequencies.exp()
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 0, 2 / 3, 0]))
    drawn = sampler.sample_labels(2_000, generator())
    assert set(drawn.tolist()) == {0, 2}
    assert sampler.log_prob(means[:5]).isfinite().all()


def test_without_any_known_label_the_sampler_is_not_conditional() -> None:
    means = torch.randn(300, 1, generator=generator())
    posteriors = Posteriors(means, torch.ones_like(means), torch.full((300,), -1), 0)
    sampler = fitted(posteriors, steps=20)
    assert sampler.sample(3, generator()).shape == (3, 1)
    with pytest.raises(ValueError, match="is not conditional"):
        sampler.sample(3, generator(), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_none_of_the_classes_is_refused(clusters: Sampler, label: int) -> None:
    labels = torch.tensor([0, label])
    with pytest.raises(ValueError, match=f"label {label} is out of range: 0 to 1"):
        clusters.sample(2, generator(), labels)
    with pytest.raises(ValueError, match=f"label {label} is out of range: 0 to 1"):
        clusters.log_prob(torch.zeros(2, 1), labels)
