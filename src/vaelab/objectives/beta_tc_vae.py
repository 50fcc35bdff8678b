"""The beta-TC-VAE: Chen et al. 2018, equation 4, with the stratified weights of their code.

The mean KL loss is the sum of three terms: the mutual information between image and latent, the
total correlation of the aggregate posterior q(z), and the KL of each of its dimensions from the
prior. Each has a weight; a large weight on the total correlation makes dimensions independent.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vaelab.distributed.process_group import ProcessGroup
from vaelab.models.distributions import LOG_TWO_PI, standard_normal
from vaelab.models.model import Model
from vaelab.models.priors import PriorKind
from vaelab.objectives.vae import Vae, VaeOutput


class BetaTcVae(Vae):
    """Weight the three parts of the KL loss, and all of them by `kl_weight`."""

    prior_kinds: ClassVar[tuple[PriorKind, ...]] = ("standard_normal",)
    # Not a setting here: free bits are defined per dimension, and these parts are not.
    free_bits_nats: ClassVar[float] = 0.0  # type: ignore[misc]

    mutual_information_weight: float = Field(default=1.0, ge=0)
    total_correlation_weight: float = Field(default=6.0, ge=0)
    dimension_kl_weight: float = Field(default=1.0, ge=0)

    def latent_loss(
        self, model: Model, output: VaeOutput, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Split ln q(z|x) - ln p(z) at the sampled latents, in nats, and weight the parts."""
        each = _log_densities(output, self.group)  # ln q(z_i,d | x_j), [i, j, d]
        log_weights = log_stratified_weights(each.shape[1], self.training_images, each.device)
        log_conditional = output.posterior.log_prob(output.latents)
        log_aggregate = (self.group.local_rows(log_weights) + each.sum(-1)).logsumexp(1)
        log_product = (self.group.local_rows(log_weights)[..., None] + each).logsumexp(1).sum(-1)
        log_prior = standard_normal(output.latents).log_prob(output.latents)
        parts = {
            "mutual_information_nats": log_conditional - log_aggregate,
            "total_correlation_nats": log_aggregate - log_product,
            "dimension_kl_nats": log_product - log_prior,
        }
        weights = (
            self.mutual_information_weight,
            self.total_correlation_weight,
            self.dimension_kl_weight,
        )
        weighted = [w * part for w, part in zip(weights, parts.values(), strict=True)]
        return self.kl_weight * torch.stack(weighted).sum(0), parts


def _log_densities(
    output: VaeOutput, group: ProcessGroup
) -> Float[Tensor, "latents posteriors latent"]:
    posterior = output.posterior
    mean, stddev = group.gather_batch(posterior.mean), group.gather_batch(posterior.stddev)
    standardized = (output.latents[:, None] - mean) / stddev
    return -0.5 * (standardized**2 + LOG_TWO_PI) - stddev.log()


def log_stratified_weights(
    batch: int, images: int, device: torch.device | None = None
) -> Float[Tensor, "latents posteriors"]:
    """Return the log weight of each posterior in the estimate of q(z) from a batch.

    Chen et al. 2018, appendix C.2: a latent's own posterior counts as one of N images, another
    one of the batch stands for all that are left over, and every row sums to 1.
    """
    others = batch - 1
    if not others:
        return torch.zeros(1, 1, device=device)
    images = max(images, batch)
    own = torch.eye(batch, device=device)
    left_over = own.roll(1, dims=1)
    # 1 / N, (N - M) / (N M), and 1 / M for the other M - 1
    weights = own / images + left_over * (images - others) / (images * others)
    return (weights + (1 - own - left_over) / others).log()


OBJECTIVE = BetaTcVae
