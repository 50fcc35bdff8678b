"""A mixture of Gaussians fitted to the latents after training: Ghosh et al. 2020, section 4.

How an autoencoder, whose latents nothing pulls anywhere, is sampled from. One component is a
Gaussian.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.config import ModelSettings
from vaelab.models.distributions import LOG_TWO_PI
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, Prior


class Mixture(Prior):
    """Gaussians with full covariances; before it is fitted, all of them are N(0, I)."""

    name = "Gaussians fitted to the latents"
    fitted = True
    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, components: int, latent_dim: int) -> None:
        super().__init__()
        unit = torch.eye(latent_dim)
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, latent_dim))
        # Lower triangular L with covariance L L^T.
        self.register_buffer("factors", unit.repeat(components, 1, 1))

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        offsets = (latents[..., None, :] - self.means)[..., None]
        standardised = torch.linalg.solve_triangular(self.factors, offsets, upper=False)[..., 0]
        log_determinant = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        each = -0.5 * (standardised**2 + LOG_TWO_PI).sum(-1) - log_determinant
        mixed: Tensor = (each + self.log_weights).logsumexp(-1)
        return mixed

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Draw a component for each latent, then from its Gaussian."""
        shares = self.log_weights.exp()
        chosen = torch.multinomial(shares, count, replacement=True, generator=generator)
        shape = (count, self.means.shape[1], 1)
        noise = torch.randn(shape, generator=generator, device=self.means.device)
        return self.means[chosen] + (self.factors[chosen] @ noise)[..., 0]

    def fit(self, latents: Float[Tensor, "images latent"], seed: int) -> None:
        """Maximise the likelihood by expectation maximisation, from k-means.

        Fewer components than set are used where there are fewer than two images for each.
        """
        from sklearn.mixture import GaussianMixture

        components = min(len(self.means), max(1, len(latents) // 2))
        # The covariances' floor, relative to the latents' own scale, keeps dead dimensions apart
        # from 0.
        points = latents.double().cpu()
        floor = 1e-6 * points.var(0, correction=0).mean().item() + 1e-12
        found = GaussianMixture(components, reg_covar=floor, random_state=seed % 2**32)
        found.fit(points.numpy())
        self.log_weights.fill_(-math.inf)
        self.log_weights[:components] = torch.from_numpy(found.weights_).float().log()
        self.means[:components] = torch.from_numpy(found.means_).float()
        covariances = torch.from_numpy(found.covariances_)
        self.factors[:components] = torch.linalg.cholesky(covariances).float()


def build(settings: ModelSettings, image_shape: Shape) -> Mixture:
    """Build it for `model.mixture_components`."""
    return Mixture(settings.mixture_components, settings.latent_dim)
