"""A mixture of Gaussians fitted to the latents after training: Ghosh et al. 2020, section 4.

For sampling from an autoencoder, whose training does not constrain the distribution of latents.
With one component it is a Gaussian.
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.config import Section, Width
from vaelab.models.distributions import LOG_TWO_PI
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, Prior, PriorKind


class MixtureSettings(Section):
    """Number of Gaussians."""

    mixture_components: Width


class Mixture(Prior):
    """Gaussians with full covariances; before `fit`, each is N(0, I)."""

    settings_class: ClassVar[type[Section]] = MixtureSettings
    kind: ClassVar[PriorKind] = "fitted"
    title: ClassVar[str] = "Gaussians fitted to the latents"
    fitted: ClassVar[bool] = True
    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, settings: MixtureSettings, latent_dim: int, image_shape: Shape) -> None:
        super().__init__(settings, latent_dim, image_shape)
        components = settings.mixture_components
        unit = torch.eye(latent_dim)
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, latent_dim))
        # Lower triangular L with covariance L L^T.
        self.register_buffer("factors", unit.repeat(components, 1, 1))

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Return the log density in nats."""
        offsets = (latents[..., None, :] - self.means)[..., None]
        standardized = torch.linalg.solve_triangular(self.factors, offsets, upper=False)[..., 0]
        log_determinant = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        each = -0.5 * (standardized**2 + LOG_TWO_PI).sum(-1) - log_determinant
        total: Tensor = (each + self.log_weights).logsumexp(-1)
        return total

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Sample a component for each latent, then from its Gaussian."""
        weights = self.log_weights.exp()
        chosen = torch.multinomial(weights, count, replacement=True, generator=generator)
        shape = (count, self.means.shape[1], 1)
        noise = torch.randn(shape, generator=generator, device=self.means.device)
        return self.means[chosen] + (self.factors[chosen] @ noise)[..., 0]

    def fit(self, latents: Float[Tensor, "images latent"], seed: int) -> None:
        """Maximize the likelihood by expectation maximization, initialized by k-means.

        With fewer than two images a component, fewer components are used.
        """
        from sklearn.mixture import GaussianMixture

        components = min(len(self.means), max(1, len(latents) // 2))
        # A floor on the covariances, relative to the scale of the latents: constant dimensions
        # would have variance 0.
        points = latents.double().cpu()
        floor = 1e-6 * points.var(0, correction=0).mean().item() + 1e-12
        fitted = GaussianMixture(components, reg_covar=floor, random_state=seed % 2**32)
        fitted.fit(points.numpy())
        self.log_weights.fill_(-math.inf)
        self.log_weights[:components] = torch.from_numpy(fitted.weights_).float().log()
        self.means[:components] = torch.from_numpy(fitted.means_).float()
        covariances = torch.from_numpy(fitted.covariances_)
        self.factors[:components] = torch.linalg.cholesky(covariances).float()


PRIOR = Mixture
