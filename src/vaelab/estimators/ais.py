"""The log-likelihood ln p(x) by annealed importance sampling: Neal 2001; Wu et al. 2017.

Chains move from a distribution q0 that is easy to draw from to the posterior p(z|x), along

    f_b(z) = q0(z)^(1 - b) (p(z) p(x|z))^b,  b from 0 to 1,

and gather the weight w, with E[w] = p(x). Backwards, from a draw of the posterior to q0, the same
chains gather a w with E[1 / w] = 1 / p(x): that is bidirectional Monte Carlo (Grosse et al. 2015,
2016), and such a draw is at hand for an image that the model itself made, x ~ p(x|z), z ~ p(z).
By Jensen's inequality ln p(x) is then between the two bounds, each in expectation.

All of this is exact for any q0, temperatures and step sizes that are fixed beforehand, and so for
those that a preliminary run of other chains found, which knew x but not the z that made it
(`fitted_start`, `tuned_step_sizes`). Chains that adapted while they are weighed would give neither.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaelab.estimators import as_float64
from vaelab.estimators.hmc import (
    FIRST_STEP_SIZE,
    Hamiltonian,
    Latents,
    OfChains,
    Point,
    Scale,
    StepSizes,
    Term,
    adapt_step_size,
    point,
)
from vaelab.models.distributions import LOG_TWO_PI, DiagonalGaussian

# Transitions of the preliminary run, after those that anneal, that a Gaussian is fitted to
FITTED_TRANSITIONS = 60
# Above this many dimensions the Gaussian has no correlations.
CORRELATED_DIMENSIONS = 256
# The schedule is the logistic function from minus this to this.
_STEEPNESS = 4

Schedule = Sequence[float]
ScheduledSteps = Float[Tensor, "temperatures images"]
LogWeights = Float64[Tensor, "chains images"]


@runtime_checkable
class InitialDistribution(Protocol):
    """A normalised q0 for each image, such as `DiagonalGaussian`."""

    def rsample(self, generator: torch.Generator, samples: int) -> Tensor:
        """Draw latents [samples, images, latent]."""

    def log_prob(self, latents: Tensor) -> Tensor:
        """Log density [samples, images] in nats, differentiable."""


@dataclass(frozen=True)
class CorrelatedGaussian:
    """N(mean, A A^T) for each image, A lower triangular."""

    mean: Float[Tensor, "images latent"]
    factor: Float[Tensor, "images latent latent"]

    def rsample(self, generator: torch.Generator, samples: int) -> Latents:
        """Draw z = mean + A noise."""
        shape = (samples, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, device=self.mean.device)
        return self.mean + torch.einsum("ide,cie->cid", self.factor, noise)

    def log_prob(self, latents: Latents) -> OfChains:
        """Log density in nats."""
        offsets = (latents - self.mean).permute(1, 2, 0)
        noise: Tensor = torch.linalg.solve_triangular(self.factor, offsets, upper=False)
        log_determinant = self.factor.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
        return (-0.5 * (noise**2 + LOG_TWO_PI).sum(1) - log_determinant).T


@dataclass(frozen=True)
class Path:
    """From q0 to p(z) p(x|z), for a batch of images.

    `log_joint` gives ln p(x, z) in nats, [chains, images], of latents [chains, images, latent].
    `scale` is that of `Hamiltonian`, best where it is near to q0's own. `progress` is told of
    each transition how many chains it moved.
    """

    initial: InitialDistribution
    log_joint: Term
    scale: Scale
    progress: Callable[[int], object] = lambda chains: None

    def start(self, latents: Latents) -> Point:
        """Give ln q0 and ln p(x, z), in this order, with their gradients."""
        return point(latents, self._terms)

    def move(
        self, here: Point, inverse_temperature: float, steps: StepSizes, generator: torch.Generator
    ) -> tuple[Point, OfChains]:
        """Move the chains once in f_b, as `Hamiltonian.transition` does."""
        both = [1 - inverse_temperature, inverse_temperature]
        weights = torch.tensor(both, device=here.latents.device)
        moved = Hamiltonian(self._terms, self.scale).transition(here, weights, steps, generator)
        self.progress(here.latents.shape[:2].numel())
        return moved

    @property
    def _terms(self) -> tuple[Term, Term]:
        return self.initial.log_prob, self.log_joint


def sigmoidal_schedule(temperatures: int) -> list[float]:
    """Give the inverse temperatures 0 = b_0 < ... < b_n = 1, densest at both ends.

    The logistic function at even steps: Grosse et al. 2015. Raises ValueError for n < 1.
    """
    if temperatures < 1:
        raise ValueError(f"annealing needs 1 temperature or more, not {temperatures}")
    steps = [_STEEPNESS * (2 * step / temperatures - 1) for step in range(temperatures + 1)]
    values = [1 / (1 + math.exp(-step)) for step in steps]
    return [(value - values[0]) / (values[-1] - values[0]) for value in values]


def forward_log_weights(
    path: Path, schedule: Schedule, steps: ScheduledSteps, chains: int, generator: torch.Generator
) -> LogWeights:
    """Anneal from q0 to the posterior; give ln w in nats, with E[w] = p(x).

    Neal 2001, section 2. The schedule 0, 1 is importance sampling from q0.
    """
    here = path.start(path.initial.rsample(generator, chains))
    total = torch.zeros_like(_log_ratio(here))
    for (before, after), sizes in zip(pairwise(schedule), steps, strict=True):
        # ln w is the sum over n of ln f_n(z) - ln f_(n-1)(z), at the z that was drawn from f_(n-1)
        total = total + (after - before) * _log_ratio(here)
        here, _ = path.move(here, after, sizes, generator)
    return total


def reverse_log_weights(
    path: Path,
    schedule: Schedule,
    steps: ScheduledSteps,
    latents: Float[Tensor, "images latent"],
    chains: int,
    generator: torch.Generator,
) -> LogWeights:
    """Anneal from one draw of p(z|x) to q0; give ln w in nats, with E[1 / w] = 1 / p(x).

    Grosse et al. 2015. Every step of `forward_log_weights` is taken back, so schedule and steps
    are those of the way forward. An image's chains share their first latent.
    """
    here = path.start(latents.expand(chains, *latents.shape))
    total = torch.zeros_like(_log_ratio(here))
    ways = zip(pairwise(schedule), steps, strict=True)
    for (before, after), sizes in reversed(list(ways)):
        here, _ = path.move(here, after, sizes, generator)
        total = total + (after - before) * _log_ratio(here)
    return total


def lower_bound(log_weights: LogWeights) -> Float64[Tensor, "images"]:
    """Estimate ln p(x) in nats by the mean of `forward_log_weights`' weights: too low on average.

    Above it by more than c nats at most with probability e^-c, by Markov's inequality.
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def upper_bound(log_weights: LogWeights) -> Float64[Tensor, "images"]:
    """Estimate ln p(x) in nats from `reverse_log_weights`' weights: too high on average."""
    return -lower_bound(-log_weights)


def tuned_step_sizes(
    path: Path, schedule: Schedule, chains: int, generator: torch.Generator
) -> ScheduledSteps:
    """Find step sizes for each temperature and image, by chains that are annealed for this alone.

    About `hamiltonian.TARGET_ACCEPTANCE` of the proposals are accepted with them.
    """
    moves = _adaptive_moves(path, schedule[1:], chains, generator)
    return torch.stack([sizes for _, sizes in moves])


def fitted_start(path: Path, schedule: Schedule, chains: int, generator: torch.Generator) -> Path:
    """Let a path start from Gaussians near the posteriors: far fewer temperatures will do then.

    Chains are annealed along the given path and go on at its end; each image's mean and covariance
    there, shrunk towards independent dimensions, make its Gaussian. It may miss a far mode of the
    posterior; what that costs is between the bounds, and falls with more temperatures.
    """
    moves = _adaptive_moves(path, [*schedule[1:], *[1.0] * FITTED_TRANSITIONS], chains, generator)
    last = deque((here.latents for here, _ in moves), maxlen=FITTED_TRANSITIONS)
    visited = torch.cat(list(last))
    mean, stddev = visited.mean(0), visited.std(0).clamp_min(1e-6)
    if visited.shape[2] > CORRELATED_DIMENSIONS:
        return replace(path, initial=DiagonalGaussian(mean, stddev), scale=stddev)
    factor = stddev[..., None] * _correlation_factor((visited - mean) / stddev)
    return replace(path, initial=CorrelatedGaussian(mean, factor), scale=factor)


def _correlation_factor(points: Latents) -> Float[Tensor, "images latent latent"]:
    """Give the Cholesky factor of each image's correlations, of standardised points."""
    count, _, size = points.shape
    # As if as many more points as there are dimensions had shown no correlation
    unit = torch.eye(size, device=points.device)
    correlations = (torch.einsum("nid,nie->ide", points, points) + size * unit) / (count + size)
    # Unlike `cholesky`, this lets what is not a number through, to where it is reported.
    factor: Tensor = torch.linalg.cholesky_ex(correlations).L
    return factor


def _adaptive_moves(
    path: Path, inverse_temperatures: Sequence[float], chains: int, generator: torch.Generator
) -> Iterator[tuple[Point, StepSizes]]:
    """Move chains from q0 through temperatures; give where they are, and with which step sizes."""
    here = path.start(path.initial.rsample(generator, chains))
    sizes = torch.full_like(here.values[0, 0], FIRST_STEP_SIZE)
    for inverse_temperature in inverse_temperatures:
        here, acceptance = path.move(here, inverse_temperature, sizes, generator)
        yield here, sizes
        sizes = adapt_step_size(sizes, acceptance)


def _log_ratio(here: Point) -> LogWeights:
    """Give ln p(x, z) - ln q0(z) in nats."""
    return as_float64(here.values[1]) - as_float64(here.values[0])
