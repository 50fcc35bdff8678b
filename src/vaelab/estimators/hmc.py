"""Hamiltonian Monte Carlo for many densities at once: Duane et al. 1987; Neal 2011.

Each chain of each image has a density of its own: exp of a weighted sum of terms, such as the two
ends of an annealing path. What a term is at a point is kept, so that other weights cost nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Steps of the integrator in a transition; the Metropolis correction follows the last.
LEAPFROG_STEPS = 3
# Share of proposals accepted: the best one in many dimensions (Beskos et al. 2013)
TARGET_ACCEPTANCE = 0.65
FIRST_STEP_SIZE = 0.25
# A transition's steps are this share of the step size, or more, at random: else a chain may come
# round to where it was (Mackenzie 1989).
SHORTEST_SHARE = 0.5
_ADAPTATION_RATE = 0.5

Latents = Float[Tensor, "chains images latent"]
OfChains = Float[Tensor, "chains images"]
Weights = Float[Tensor, "terms"]
StepSizes = Float[Tensor, "images"]
Scale = Float[Tensor, "images latent"] | Float[Tensor, "images latent latent"]
# From latents [chains, images, latent] to [chains, images], differentiable
Term = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Point:
    """Where chains are, with the value and the gradient of every term there."""

    latents: Latents
    values: Float[Tensor, "terms chains images"]
    gradients: Float[Tensor, "terms chains images latent"]

    def log_density(self, weights: Weights) -> OfChains:
        """Sum the weighted terms: a log density in nats, but for a constant."""
        return torch.einsum("t,tci->ci", weights, self.values)

    def gradient(self, weights: Weights) -> Latents:
        """Give the gradient of `log_density` by the latents."""
        return torch.einsum("t,tcid->cid", weights, self.gradients)


def point(latents: Latents, terms: Sequence[Term]) -> Point:
    """Evaluate terms and differentiate them by the latents alone: parameters get no gradient.

    Works where the caller has switched gradients off, but in inference mode only if the terms
    hold no tensor that was made in it: autograd refuses those.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = latents.detach().clone().requires_grad_()
        values = [term(leaf) for term in terms]
        gradients = [torch.autograd.grad(value.sum(), leaf)[0] for value in values]
        return Point(leaf.detach(), torch.stack(values).detach(), torch.stack(gradients))


@dataclass(frozen=True)
class Hamiltonian:
    """Transitions that leave the density exp(sum of weighted terms) invariant.

    `scale` stretches the steps of each image's chains, by a number for each dimension or by a
    lower triangular matrix A: in the coordinates A^-1 z the mass is 1. Chains move fastest where
    A A^T is the density's covariance.
    """

    terms: Sequence[Term]
    scale: Scale

    def transition(
        self, start: Point, weights: Weights, step_sizes: StepSizes, generator: torch.Generator
    ) -> tuple[Point, OfChains]:
        """Move every chain once; give where they are, and the probabilities of acceptance.

        Reversible as long as step sizes do not depend on the chains that they move. A proposal
        at which the density is not finite is refused.
        """
        shape, device = start.latents.shape, start.latents.device
        momenta = torch.randn(shape, generator=generator, device=device)
        uniform = torch.rand((2, *shape[:2]), generator=generator, device=device)
        shares = SHORTEST_SHARE + (1 - SHORTEST_SHARE) * uniform[0]
        end, last = self.leapfrog(start, momenta, weights, shares * step_sizes)
        # min(1, exp(H(start) - H(end))), H = -ln f(z) + |r|^2 / 2
        kinetic = 0.5 * (momenta.square().sum(-1) - last.square().sum(-1))
        density = end.log_density(weights)
        gain = density - start.log_density(weights) + kinetic
        probabilities = gain.exp().clamp_max(1).nan_to_num(0) * density.isfinite()
        return _choose(uniform[1] < probabilities, end, start), probabilities

    def leapfrog(
        self,
        start: Point,
        momenta: Latents,
        weights: Weights,
        step_sizes: Float[Tensor, "*any images"],
    ) -> tuple[Point, Latents]:
        """Follow Hamilton's equations by the leapfrog method: Neal 2011, section 2.3.

        Volume is preserved, and the end with its momenta turned round leads back to the start.
        """
        step, here = step_sizes[..., None], start
        for _ in range(LEAPFROG_STEPS):
            momenta = momenta + 0.5 * step * self._force(here, weights)
            here = point(here.latents + step * _stretch(self.scale, momenta), self.terms)
            momenta = momenta + 0.5 * step * self._force(here, weights)
        return here, momenta

    def _force(self, here: Point, weights: Weights) -> Latents:
        """Give A^T times the gradient of the log density: its gradient by A^-1 z."""
        transposed = self.scale.mT if self.scale.dim() == 3 else self.scale
        return _stretch(transposed, here.gradient(weights))


def adapt_step_size(step_sizes: StepSizes, acceptance: OfChains) -> StepSizes:
    """Give step sizes that are nearer to `TARGET_ACCEPTANCE`, each image's by its own chains.

    Robbins & Monro 1951, at a constant rate: a density that changes is followed.
    """
    excess = acceptance.mean(0) - TARGET_ACCEPTANCE
    return step_sizes * (_ADAPTATION_RATE * excess).exp()


def _stretch(scale: Scale, vectors: Latents) -> Latents:
    return scale * vectors if scale.dim() == 2 else torch.einsum("ide,cie->cid", scale, vectors)


def _choose(accepted: Bool[Tensor, "chains images"], end: Point, start: Point) -> Point:
    return Point(
        torch.where(accepted[..., None], end.latents, start.latents),
        torch.where(accepted, end.values, start.values),
        torch.where(accepted[..., None], end.gradients, start.gradients),
    )
