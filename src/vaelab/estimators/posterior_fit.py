"""ln p(x) by importance sampling from a proposal that is fitted to each image's posterior p(z|x).

An encoder's Gaussian has independent dimensions; where the likelihood is precise, nearly all its
samples miss p(z|x), and the bound of K samples stays far from ln p(x) at any K that can be paid.
Here each image gets a proposal of its own. Hamiltonian Monte Carlo chains start at samples of the
encoder's Gaussian; a t distribution is fitted to where they have been, and is the scale of their
next steps, until its importance weights are even enough. Other chains start far away, at a sample
of the prior, and find a second mode if there is one.

The proposal is fixed before the samples are drawn whose weights are averaged, so that the estimate
is a lower bound of ln p(x) in expectation, as it is with the encoder's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vaelab.estimators import as_float64
from vaelab.estimators.hmc import (
    MAX_DIFFERENTIATED_PIXELS,
    HamiltonianMonteCarlo,
    Latents,
    StepSizes,
    adapt_step_size,
    evaluate_terms,
)
from vaelab.estimators.importance import (
    importance_weighted_log_likelihood,
    log_importance_weights,
)
from vaelab.estimators.student_mixture import StudentMixture
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model

# Latents with more dimensions have no full covariance matrix for each image.
MAX_DIMENSIONS = 256
# Chains an image that start at the encoder's Gaussian, and at another place
CHAINS, DISTANT_CHAINS = 12, 4
# Samples of the prior, and the share of highest joint density of which the most distant one is that
PRIOR_SAMPLES, BEST_SHARE = 128, 0.1
INITIAL_STEP_SIZE = 0.4
# Transitions of each round, of which the first half is left out. After the third, only images
# whose effective sample size is below a share of the samples that judge their proposals go on.
TRANSITIONS = (8, 8, 16, 16, 32)
JUDGED_AFTER = 3
JUDGING_SAMPLES, ENOUGH = 400, 0.25

Images = Float[Tensor, "images channel height width"]
Matrix = Float[Tensor, "images latent latent"]


@dataclass(frozen=True)
class Start:
    """Where some chains of each image start: at samples of a Gaussian."""

    gaussian: DiagonalGaussian
    chains: int


def can_be_fitted(model: Model) -> bool:
    """Return whether a model has a Gaussian encoder, a bound and at most `MAX_DIMENSIONS`."""
    gaussian = model.has_bound and model.posterior == "gaussian" and not model.is_discrete
    return gaussian and model.latent_dim <= MAX_DIMENSIONS


def differentiable_parts(images: Images) -> Sequence[Tensor]:
    """Return the rows of the images to which proposals are fitted at a time."""
    size = max(1, MAX_DIFFERENTIATED_PIXELS // (CHAINS * images[0].numel()))
    return torch.split(torch.arange(len(images), device=images.device), size)


def fit_proposal(
    model: Model,
    images: Images,
    generator: torch.Generator,
    starts: Sequence[Start] | None = None,
) -> StudentMixture:
    """Fit a mixture of t distributions to p(z|x) of each image, from `starts` or `default_starts`.

    For models of which `can_be_fitted` is true; the effective sample size of the importance weights
    tells for which images it fits. Each group of chains gives two distributions: one that fits the
    gradients, and one with mean and covariance of the latents, which is wider where the posterior
    is far from normal.
    """
    if starts is None:
        starts = default_starts(model, images, generator)
    groups = [_group(start, generator) for start in starts]
    proposal = _mixture(groups)
    rows = torch.arange(len(images), device=images.device)
    for finished, transitions in enumerate(TRANSITIONS, 1):
        given, part = model.given_rows(rows), images[rows]
        groups = [group.run(given, part, transitions, generator) for group in groups]
        if finished < JUDGED_AFTER:
            continue
        fitted = _weighted(given, part, _mixture(groups), generator)
        proposal = proposal.with_rows(rows, fitted)
        judged = importance_weighted_log_likelihood(given, part, fitted, JUDGING_SAMPLES, generator)
        uneven = judged.effective_sample_size < ENOUGH * JUDGING_SAMPLES
        rows, groups = rows[uneven], [group.rows(uneven) for group in groups]
        if not len(rows):
            break
    return proposal


@dataclass(frozen=True)
class Normal:
    """A normal distribution of the latent of each image."""

    mean: Float[Tensor, "images latent"]
    covariance: Matrix

    def rows(self, rows: Bool[Tensor, "images"]) -> "Normal":
        """Return the distributions of some of the images."""
        return Normal(self.mean[rows], self.covariance[rows])

    def factor(self) -> Matrix:
        """Return the lower triangular A with A A^T the covariance."""
        # Unlike `cholesky`, `cholesky_ex` passes NaN on.
        factor: Tensor = torch.linalg.cholesky_ex(self.covariance).L
        return factor


@dataclass(frozen=True)
class _Group:
    """Chains of some images, and what fits where they have been."""

    latents: Latents
    step_sizes: StepSizes
    fitted: Normal
    moments: Normal

    def rows(self, rows: Bool[Tensor, "images"]) -> "_Group":
        """Return the chains of some of the images."""
        fits = self.fitted.rows(rows), self.moments.rows(rows)
        return _Group(self.latents[:, rows], self.step_sizes[rows], *fits)

    def run(
        self, model: Model, images: Images, transitions: int, generator: torch.Generator
    ) -> "_Group":
        """Continue the chains, and fit to the second half of their ways."""
        kernel = HamiltonianMonteCarlo((_log_joint(model, images),), self.fitted.factor())
        state, sizes = evaluate_terms(self.latents, kernel.terms), self.step_sizes
        weights, visited = torch.ones(1, device=images.device), []
        for _ in range(transitions):
            state, acceptance = kernel.transition(state, weights, sizes, generator)
            sizes = adapt_step_size(sizes, acceptance)
            visited.append(state)
        kept = visited[transitions // 2 :]
        latents = torch.cat([state.latents for state in kept])
        gradients = torch.cat([state.gradients[0] for state in kept])
        fits = fit_normals(latents, gradients, self.fitted.covariance)
        return _Group(state.latents, sizes.clamp_min(INITIAL_STEP_SIZE), *fits)


def fit_normals(
    latents: Float[Tensor, "samples images latent"],
    gradients: Float[Tensor, "samples images latent"],
    former: Matrix,
) -> tuple[Normal, Normal]:
    """Return the normal distribution of least Fisher divergence, and that of the same moments.

    Seyboldt, Carlson & Carpenter 2026, arXiv:2603.18845: with A the covariance of the latents and B
    that of the gradients of the log density there, it is their geometric mean A # B^-1. For a
    normal density it is exact from `latent` + 1 samples, while A alone needs hundreds. Both are
    shrunk as by `latent` more samples of a normal distribution of the former covariance, so that
    few samples suffice, and repeated fits converge.
    """
    size, (z, g) = latents.shape[-1], (as_float64(latents), as_float64(gradients))
    before, count = as_float64(former), len(z) + size
    a, b = (
        (torch.einsum("nid,nie->ide", offsets, offsets) + size * pseudo) / count
        for offsets, pseudo in ((z - z.mean(0), before), (g - g.mean(0), torch.linalg.inv(before)))
    )
    root = _power(a, 0.5)
    # A # B^-1 = A^1/2 (A^1/2 B A^1/2)^-1/2 A^1/2
    covariance = root @ _power(root @ b @ root, -0.5) @ root
    # The score of N(m, S) at z is -S^-1 (z - m): on average it matches for m = mean z + S mean g
    mean = z.mean(0) + torch.einsum("ide,ie->id", covariance, g.mean(0))
    fitted = Normal(mean.to(latents), covariance.to(latents))
    return fitted, Normal(z.mean(0).to(latents), a.to(latents))


def _power(matrix: Matrix, exponent: float) -> Matrix:
    """Return a power of symmetric positive definite matrices."""
    values, vectors = torch.linalg.eigh(matrix)
    smallest = values[..., -1:] * torch.finfo(values.dtype).eps
    powers = torch.maximum(values, smallest).pow(exponent)
    result: Matrix = (vectors * powers[..., None, :]) @ vectors.mT
    return result


def default_starts(model: Model, images: Images, generator: torch.Generator) -> list[Start]:
    """Return the encoder's Gaussian, and one with its spread at a distant place."""
    posterior = model.encode(images)
    assert isinstance(posterior, DiagonalGaussian)
    distant = DiagonalGaussian(_distant(model, images, posterior, generator), posterior.stddev)
    return [Start(posterior, CHAINS), Start(distant, DISTANT_CHAINS)]


def _group(start: Start, generator: torch.Generator) -> _Group:
    normal = Normal(start.gaussian.mean, start.gaussian.stddev.square().diag_embed())
    sizes = torch.full_like(normal.mean[:, 0], INITIAL_STEP_SIZE)
    return _Group(start.gaussian.rsample(generator, start.chains), sizes, normal, normal)


def _distant(
    model: Model, images: Images, posterior: DiagonalGaussian, generator: torch.Generator
) -> Float[Tensor, "images latent"]:
    """Return a probable sample of the prior that is far from the encoder's mean."""
    count = math.ceil(BEST_SHARE * PRIOR_SAMPLES)
    candidates = probable_prior_samples(model, images, count, generator)
    farthest = (candidates - posterior.mean).norm(dim=-1).argmax(0)
    return candidates.take_along_dim(farthest[None, :, None], 0)[0]


def probable_prior_samples(
    model: Model, images: Images, count: int, generator: torch.Generator
) -> Latents:
    """Return those of `PRIOR_SAMPLES` samples of the prior with the highest joint density."""
    log_joint = _log_joint(model, images)
    drawn = [model.prior(len(images), generator) for _ in range(PRIOR_SAMPLES)]
    best = torch.stack([log_joint(latents) for latents in drawn]).topk(count, dim=0).indices
    return torch.stack(drawn).take_along_dim(best[..., None], 0)


def _mixture(groups: Sequence[_Group]) -> StudentMixture:
    """Return the mixture of t distributions with equal weights."""
    normals = [normal for group in groups for normal in (group.fitted, group.moments)]
    mean = torch.stack([normal.mean for normal in normals])
    factor = torch.stack([normal.factor() for normal in normals])
    return StudentMixture(torch.full_like(mean[..., 0], -math.log(len(mean))), mean, factor)


def _weighted(
    model: Model, images: Images, mixture: StudentMixture, generator: torch.Generator
) -> StudentMixture:
    """Return the mixture with the weights that its importance weights ask for."""
    latents = mixture.rsample(generator, JUDGING_SAMPLES // 2)
    log_weights = log_importance_weights(model, images, mixture, latents)
    return mixture.reweighted(latents, log_weights.softmax(0))


def _log_joint(model: Model, images: Images) -> Callable[[Tensor], Tensor]:
    return lambda latents: model.decode(latents).log_prob(images) + model.log_prior(latents)
