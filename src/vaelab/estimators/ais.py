"""The log-likelihood ln p(x) by annealed importance sampling: Neal 2001; Wu et al. 2017.

Chains move from a distribution q0 that is easy to sample to the posterior p(z|x), along

    f_b(z) = q0(z)^(1 - b) (p(z) p(x|z))^b,  b from 0 to 1,

and accumulate a weight w with E[w] = p(x). In reverse, from a sample of the posterior to q0, the
same chains accumulate a w with E[1 / w] = 1 / p(x): that is bidirectional Monte Carlo (Grosse et
al. 2015, 2016). A posterior sample is known for a simulated image, x ~ p(x|z), z ~ p(z). By
Jensen's inequality ln p(x) is then between the two bounds, each in expectation.

The bounds hold for any q0, temperatures and step sizes that are fixed beforehand, and so for
those found by a preliminary run of other chains that had access to x but not to the z that
generated it (`with_fitted_initial`, `tune_step_sizes`). They do not hold for chains that adapt
while their weights are accumulated.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaelab.estimators import as_float64
from vaelab.estimators.hmc import (
    INITIAL_STEP_SIZE,
    ChainState,
    HamiltonianMonteCarlo,
    Latents,
    PerChain,
    Scale,
    StepSizes,
    Term,
    adapt_step_size,
    evaluate_terms,
)
from vaelab.models.distributions import LOG_TWO_PI, DiagonalGaussian, LatentDistribution

# Transitions of the preliminary run, after annealing, to which a Gaussian is fitted
FITTED_TRANSITIONS = 60
# Above this many dimensions the fitted Gaussian has a diagonal covariance.
MAX_CORRELATED_DIMENSIONS = 256
# The schedule is the logistic function from minus this to this.
_STEEPNESS = 4

Schedule = Sequence[float]
ScheduledSteps = Float[Tensor, "temperatures images"]
LogWeights = Float64[Tensor, "chains images"]


@dataclass(frozen=True)
class CorrelatedGaussian:
    """N(mean, A A^T) for each image, A lower triangular."""

    mean: Float[Tensor, "images latent"]
    factor: Float[Tensor, "images latent latent"]

    def rsample(self, generator: torch.Generator, samples: int) -> Latents:
        """Sample z = mean + A noise."""
        shape = (samples, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, device=self.mean.device)
        return self.mean + torch.einsum("ide,cie->cid", self.factor, noise)

    def log_prob(self, latents: Latents) -> PerChain:
        """Compute the log density [samples, images] in nats."""
        offsets = (latents - self.mean).permute(1, 2, 0)
        noise: Tensor = torch.linalg.solve_triangular(self.factor, offsets, upper=False)
        log_determinant = self.factor.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
        return (-0.5 * (noise**2 + LOG_TWO_PI).sum(1) - log_determinant).T


@dataclass(frozen=True)
class AnnealingPath:
    """The annealing path from q0 to p(z) p(x|z), for a batch of images.

    `log_joint` returns ln p(x, z) in nats, [chains, images], of latents [chains, images, latent].
    `scale` is that of `HamiltonianMonteCarlo`; q0's own scale is a good choice. `progress` is
    called after each transition with the number of chains.
    """

    initial: LatentDistribution
    log_joint: Term
    scale: Scale
    progress: Callable[[int], object] = lambda chains: None

    def evaluate(self, latents: Latents) -> ChainState:
        """Evaluate ln q0 and ln p(x, z), in this order, with their gradients."""
        return evaluate_terms(latents, self._terms)

    def transition(
        self,
        state: ChainState,
        inverse_temperature: float,
        steps: StepSizes,
        generator: torch.Generator,
    ) -> tuple[ChainState, PerChain]:
        """Make one transition that leaves f_b invariant; see `HamiltonianMonteCarlo.transition`."""
        exponents = [1 - inverse_temperature, inverse_temperature]
        weights = torch.tensor(exponents, device=state.latents.device)
        moved = HamiltonianMonteCarlo(self._terms, self.scale).transition(
            state, weights, steps, generator
        )
        self.progress(state.latents.shape[:2].numel())
        return moved

    @property
    def _terms(self) -> tuple[Term, Term]:
        return self.initial.log_prob, self.log_joint


def sigmoidal_schedule(temperatures: int) -> list[float]:
    """Return the inverse temperatures 0 = b_0 < ... < b_n = 1, densest at both ends.

    The logistic function at even steps: Grosse et al. 2015. Raises ValueError for n < 1.
    """
    if temperatures < 1:
        raise ValueError(f"annealing needs at least 1 temperature, got {temperatures}")
    steps = [_STEEPNESS * (2 * step / temperatures - 1) for step in range(temperatures + 1)]
    values = [1 / (1 + math.exp(-step)) for step in steps]
    return [(value - values[0]) / (values[-1] - values[0]) for value in values]


def forward_log_weights(
    path: AnnealingPath,
    schedule: Schedule,
    steps: ScheduledSteps,
    chains: int,
    generator: torch.Generator,
) -> LogWeights:
    """Anneal from q0 to the posterior; return ln w in nats, with E[w] = p(x).

    Neal 2001, section 2. The schedule 0, 1 is importance sampling from q0.
    """
    state = path.evaluate(path.initial.rsample(generator, chains))
    total = torch.zeros_like(_log_ratio(state))
    for (before, after), sizes in zip(pairwise(schedule), steps, strict=True):
        # ln w is the sum over n of ln f_n(z) - ln f_(n-1)(z), at the z sampled from f_(n-1)
        total = total + (after - before) * _log_ratio(state)
        state, _ = path.transition(state, after, sizes, generator)
    return total


def reverse_log_weights(
    path: AnnealingPath,
    schedule: Schedule,
    steps: ScheduledSteps,
    latents: Float[Tensor, "images latent"],
    chains: int,
    generator: torch.Generator,
) -> LogWeights:
    """Anneal from one sample of p(z|x) to q0; return ln w in nats, with E[1 / w] = 1 / p(x).

    Grosse et al. 2015. It reverses `forward_log_weights`, so schedule and steps must be the same
    as there. All chains of an image start at the same latent.
    """
    state = path.evaluate(latents.expand(chains, *latents.shape))
    total = torch.zeros_like(_log_ratio(state))
    stages = zip(pairwise(schedule), steps, strict=True)
    for (before, after), sizes in reversed(list(stages)):
        state, _ = path.transition(state, after, sizes, generator)
        total = total + (after - before) * _log_ratio(state)
    return total


def lower_bound(log_weights: LogWeights) -> Float64[Tensor, "images"]:
    """Estimate ln p(x) in nats by the mean of `forward_log_weights`' weights: a lower bound.

    In expectation. By Markov's inequality it exceeds ln p(x) by more than c nats with probability
    at most e^-c.
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def upper_bound(log_weights: LogWeights) -> Float64[Tensor, "images"]:
    """Estimate ln p(x) in nats from `reverse_log_weights`' weights: an upper bound on average."""
    return -lower_bound(-log_weights)


def tune_step_sizes(
    path: AnnealingPath, schedule: Schedule, chains: int, generator: torch.Generator
) -> ScheduledSteps:
    """Tune step sizes for each temperature and image with separate annealed chains.

    About `hmc.TARGET_ACCEPTANCE` of the proposals are accepted with them.
    """
    transitions = _adaptive_transitions(path, schedule[1:], chains, generator)
    return torch.stack([sizes for _, sizes in transitions])


def with_fitted_initial(
    path: AnnealingPath, schedule: Schedule, chains: int, generator: torch.Generator
) -> AnnealingPath:
    """Return the path with q0 replaced by Gaussians fitted to the posteriors.

    It needs far fewer temperatures. Chains are annealed along the given path and continue at its
    end; each image's Gaussian has their mean and covariance, shrunk towards independent
    dimensions. It may miss modes of the posterior: chains from one mode do not find another,
    however many the temperatures. Of two equal modes of two latents the lower bound was 0.3 nats
    too low on average, and the upper one 25 to 65 nats too high at 30 to 300 temperatures, where
    from the prior both were within 0.1 at 300. A gap between the bounds of simulated images shows
    it: then anneal from the prior.
    """
    transitions = _adaptive_transitions(
        path, [*schedule[1:], *[1.0] * FITTED_TRANSITIONS], chains, generator
    )
    last = deque((state.latents for state, _ in transitions), maxlen=FITTED_TRANSITIONS)
    visited = torch.cat(list(last))
    mean, stddev = visited.mean(0), visited.std(0).clamp_min(1e-6)
    if visited.shape[2] > MAX_CORRELATED_DIMENSIONS:
        return replace(path, initial=DiagonalGaussian(mean, stddev), scale=stddev)
    factor = stddev[..., None] * _correlation_factor((visited - mean) / stddev)
    return replace(path, initial=CorrelatedGaussian(mean, factor), scale=factor)


def _correlation_factor(points: Latents) -> Float[Tensor, "images latent latent"]:
    """Compute the Cholesky factor of each image's correlations, from standardized points."""
    count, _, size = points.shape
    # Shrunk as by `size` additional points without correlation
    unit = torch.eye(size, device=points.device)
    correlations = (torch.einsum("nid,nie->ide", points, points) + size * unit) / (count + size)
    # Unlike `cholesky`, `cholesky_ex` passes NaN on to the check of the metrics, which reports it.
    factor: Tensor = torch.linalg.cholesky_ex(correlations).L
    return factor


def _adaptive_transitions(
    path: AnnealingPath,
    inverse_temperatures: Sequence[float],
    chains: int,
    generator: torch.Generator,
) -> Iterator[tuple[ChainState, StepSizes]]:
    """Anneal chains from q0; yield their state after each temperature, and its step sizes."""
    state = path.evaluate(path.initial.rsample(generator, chains))
    sizes = torch.full_like(state.values[0, 0], INITIAL_STEP_SIZE)
    for inverse_temperature in inverse_temperatures:
        state, acceptance = path.transition(state, inverse_temperature, sizes, generator)
        yield state, sizes
        sizes = adapt_step_size(sizes, acceptance)


def _log_ratio(state: ChainState) -> LogWeights:
    """Compute ln p(x, z) - ln q0(z) in nats."""
    return as_float64(state.values[1]) - as_float64(state.values[0])
