"""Mixtures of multivariate Student t distributions: proposals with tails wider than Gaussian."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.estimators import as_float64

# Close to Gaussian in the middle; tails wide enough to bound the weights of importance sampling.
DEGREES_OF_FREEDOM = 20
# Weight that all components share equally, whatever the samples say
_KEPT = 0.1

Latents = Float[Tensor, "samples images latent"]
Rows = Int64[Tensor, "images"]
PerComponent = Float[Tensor, "components images"]


@dataclass(frozen=True)
class StudentMixture:
    """For each image, a mixture of t distributions with location m and scale matrix A A^T.

    `log_weights` are normalized over components, `factor` holds A, lower triangular.
    """

    log_weights: PerComponent
    mean: Float[Tensor, "components images latent"]
    factor: Float[Tensor, "components images latent latent"]

    def rsample(self, generator: torch.Generator, samples: int) -> Latents:
        """Sample z = m + A n sqrt(v / u) of a random component, n normal, u chi-squared(v)."""
        weights = self.log_weights.exp().T
        chosen = torch.multinomial(weights, samples, replacement=True, generator=generator).T
        shape, device = (*chosen.shape, self.mean.shape[-1]), self.mean.device
        noise = torch.randn(shape, generator=generator, device=device)
        normals = (*chosen.shape, DEGREES_OF_FREEDOM)
        squares = torch.randn(normals, generator=generator, device=device).square()
        noise = noise * squares.mean(-1, keepdim=True).rsqrt()
        images = torch.arange(chosen.shape[1], device=device)
        turned = torch.einsum("nide,nie->nid", self.factor[chosen, images], noise)
        return self.mean[chosen, images] + turned

    def log_prob(self, latents: Latents) -> Float[Tensor, "samples images"]:
        """Return the log density in nats."""
        return self._log_densities(latents).logsumexp(0)

    @classmethod
    def concatenated(cls, parts: Sequence["StudentMixture"]) -> "StudentMixture":
        """Return the mixtures of the images of all parts."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(torch.cat(column, 1) for column in columns))

    def rows(self, rows: Rows) -> "StudentMixture":
        """Return the mixtures of some of the images."""
        return StudentMixture(self.log_weights[:, rows], self.mean[:, rows], self.factor[:, rows])

    def with_rows(self, rows: Rows, others: "StudentMixture") -> "StudentMixture":
        """Return the mixtures with those of some images replaced by others."""
        replaced = {name: values.clone() for name, values in vars(self).items()}
        for name, values in vars(others).items():
            replaced[name][:, rows] = values
        return StudentMixture(**replaced)

    def reweighted(
        self, latents: Latents, shares: Float64[Tensor, "samples images"]
    ) -> "StudentMixture":
        """Return the mixture with the components' weights of samples that count by their shares.

        The step of Cappé et al. 2008, equation 14, for weights only; each component keeps a little.
        """
        belongs = as_float64(self._log_densities(latents)).softmax(0)
        weights = (belongs * shares).sum(1)
        kept = (1 - _KEPT) * weights + _KEPT / len(weights)
        return StudentMixture(kept.log().float(), self.mean, self.factor)

    def _log_densities(self, latents: Latents) -> Float[Tensor, "components samples images"]:
        """Return ln(weight times density) of each component, in nats."""
        size, v = latents.shape[-1], DEGREES_OF_FREEDOM
        offsets = (latents - self.mean[:, None]).permute(0, 2, 3, 1)
        noise: Tensor = torch.linalg.solve_triangular(self.factor, offsets, upper=False)
        squares = noise.square().sum(2).transpose(1, 2)
        # ln G((v+d)/2) - ln G(v/2) - (d/2) ln(v pi) - ln det A - ((v+d)/2) ln(1 + |n|^2 / v)
        constant = math.lgamma((v + size) / 2) - math.lgamma(v / 2)
        constant -= size / 2 * math.log(v * math.pi)
        log_determinants = self.factor.diagonal(dim1=2, dim2=3).log().sum(2)
        heights = (constant - log_determinants + self.log_weights)[:, None]
        return heights - (v + size) / 2 * torch.log1p(squares / v)
