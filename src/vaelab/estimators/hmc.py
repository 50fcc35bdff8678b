"""Hamiltonian Monte Carlo for many densities at once: Duane et al. 1987; Neal 2011.

Each image has its own density: exp of a weighted sum of terms, such as the initial and the final
density of an annealing path. A chain's state stores the value and gradient of each term, so that
changing the weights needs no new evaluation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Leapfrog steps a transition, followed by one Metropolis correction.
LEAPFROG_STEPS = 3
# Optimal acceptance rate in many dimensions: Beskos et al. 2013
TARGET_ACCEPTANCE = 0.65
INITIAL_STEP_SIZE = 0.25
# Limit on the pixels (chains x images x channels x height x width) that are differentiated at a
# time; the chains of one image are not split.
MAX_DIFFERENTIATED_PIXELS = 2**20
# Each transition scales the step size by a random factor between this and 1, because a fixed
# trajectory length can be periodic (Mackenzie 1989).
MIN_STEP_FRACTION = 0.5
_ADAPTATION_RATE = 0.5

Latents = Float[Tensor, "chains images latent"]
PerChain = Float[Tensor, "chains images"]
Weights = Float[Tensor, "terms"]
StepSizes = Float[Tensor, "images"]
Scale = Float[Tensor, "images latent"] | Float[Tensor, "images latent latent"]
# From latents [chains, images, latent] to [chains, images], differentiable
Term = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ChainState:
    """The chains' latents, with the value and the gradient of every term there."""

    latents: Latents
    values: Float[Tensor, "terms chains images"]
    gradients: Float[Tensor, "terms chains images latent"]

    def log_density(self, weights: Weights) -> PerChain:
        """Compute the weighted sum of terms: the log density in nats, up to a constant."""
        return torch.einsum("t,tci->ci", weights, self.values)

    def gradient(self, weights: Weights) -> Latents:
        """Compute the gradient of `log_density` with respect to the latents."""
        return torch.einsum("t,tcid->cid", weights, self.gradients)


def evaluate_terms(latents: Latents, terms: Sequence[Term]) -> ChainState:
    """Evaluate terms and their gradients with respect to the latents; parameters get no gradient.

    Works under `no_grad`, and in inference mode as long as the terms use no tensor that was
    created in inference mode, which autograd rejects.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = latents.detach().clone().requires_grad_()
        values = [term(leaf) for term in terms]
        gradients = [torch.autograd.grad(value.sum(), leaf)[0] for value in values]
        return ChainState(leaf.detach(), torch.stack(values).detach(), torch.stack(gradients))


@dataclass(frozen=True)
class HamiltonianMonteCarlo:
    """Transitions that leave the density exp(sum of weighted terms) invariant.

    `scale` preconditions the steps of each image's chains, by a number for each dimension or by a
    lower triangular matrix A: in the coordinates A^-1 z the mass is 1. Mixing is fastest where
    A A^T is the density's covariance.
    """

    terms: Sequence[Term]
    scale: Scale

    def transition(
        self, start: ChainState, weights: Weights, step_sizes: StepSizes, generator: torch.Generator
    ) -> tuple[ChainState, PerChain]:
        """Make one transition of every chain; return the new state and acceptance probabilities.

        Reversible as long as step sizes do not depend on the state of these chains. A proposal
        at which the density is not finite is rejected.
        """
        shape, device = start.latents.shape, start.latents.device
        momenta = torch.randn(shape, generator=generator, device=device)
        uniform = torch.rand((2, *shape[:2]), generator=generator, device=device)
        fractions = MIN_STEP_FRACTION + (1 - MIN_STEP_FRACTION) * uniform[0]
        end, end_momenta = self.leapfrog(start, momenta, weights, fractions * step_sizes)
        # min(1, exp(H(start) - H(end))), H = -ln f(z) + |r|^2 / 2
        kinetic = 0.5 * (momenta.square().sum(-1) - end_momenta.square().sum(-1))
        density = end.log_density(weights)
        log_ratio = density - start.log_density(weights) + kinetic
        probabilities = log_ratio.exp().clamp_max(1).nan_to_num(0) * density.isfinite()
        return _select(uniform[1] < probabilities, end, start), probabilities

    def leapfrog(
        self,
        start: ChainState,
        momenta: Latents,
        weights: Weights,
        step_sizes: Float[Tensor, "*any images"],
    ) -> tuple[ChainState, Latents]:
        """Integrate Hamilton's equations by the leapfrog method: Neal 2011, section 2.3.

        Preserves volume and is reversible: from the end with negated momenta it returns to the
        start.
        """
        step, state = step_sizes[..., None], start
        for _ in range(LEAPFROG_STEPS):
            momenta = momenta + 0.5 * step * self._force(state, weights)
            state = evaluate_terms(
                state.latents + step * _apply_scale(self.scale, momenta), self.terms
            )
            momenta = momenta + 0.5 * step * self._force(state, weights)
        return state, momenta

    def _force(self, state: ChainState, weights: Weights) -> Latents:
        """Compute A^T times the gradient of the log density: its gradient by A^-1 z."""
        transposed = self.scale.mT if self.scale.dim() == 3 else self.scale
        return _apply_scale(transposed, state.gradient(weights))


def adapt_step_size(step_sizes: StepSizes, acceptance: PerChain) -> StepSizes:
    """Return step sizes adapted towards `TARGET_ACCEPTANCE`, each image's from its own chains.

    Robbins & Monro 1951, at a constant rate, so that a changing density is tracked.
    """
    excess = acceptance.mean(0) - TARGET_ACCEPTANCE
    return step_sizes * (_ADAPTATION_RATE * excess).exp()


def _apply_scale(scale: Scale, vectors: Latents) -> Latents:
    return scale * vectors if scale.dim() == 2 else torch.einsum("ide,cie->cid", scale, vectors)


def _select(
    accepted: Bool[Tensor, "chains images"], end: ChainState, start: ChainState
) -> ChainState:
    return ChainState(
        torch.where(accepted[..., None], end.latents, start.latents),
        torch.where(accepted, end.values, start.values),
        torch.where(accepted[..., None], end.gradients, start.gradients),
    )
