"""A normalizing flow as prior: RealNVP, Dinh et al. 2017, section 3.

ln p(z) = ln N(f(z); 0, I) + ln |det df/dz|, where f is a stack of affine couplings: half of
the dimensions are scaled and shifted by a network of the other half, so that f has an exact
inverse and a triangular Jacobian. In a conditional model these networks see the label too, so that
f, and the prior p(z|y), are another one for each label (Bhattacharyya et al. 2019, section 3).
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelab.config import Section, Width
from vaelab.models.distributions import standard_normal
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, OneHot, Prior


class FlowSettings(Section):
    """Number of couplings, and the width of their networks."""

    flow_layers: Width
    flow_width: Width


class Coupling(nn.Module):
    """Scales and shifts the dimensions where `mask` is 0, given those where it is 1, and labels."""

    mask: Tensor

    def __init__(self, mask: Float[Tensor, "latent"], width: int, labels: int) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone(), persistent=False)
        size = len(mask)
        last = nn.Linear(width, 2 * size)
        # The flow starts as the identity, the prior as the unit Gaussian.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(size + labels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last
        )

    def forward(
        self, latents: Latents, labels: OneHot | None = None
    ) -> tuple[Latents, Float[Tensor, "*batch"]]:
        """Return f(z) and ln |det df/dz|."""
        log_scale, shift = self._affine(latents, labels)
        return latents * log_scale.exp() + shift, log_scale.sum(-1)

    def inverse(self, noise: Latents, labels: OneHot | None = None) -> Latents:
        """Return the z with f(z) = noise: dimensions where the mask is 1 are the same in both."""
        log_scale, shift = self._affine(noise, labels)
        return (noise - shift) * (-log_scale).exp()

    def _affine(self, latents: Latents, labels: OneHot | None) -> tuple[Tensor, Tensor]:
        kept = latents * self.mask
        inputs = kept if labels is None else torch.cat([kept, labels], dim=-1)
        raw, shift = self.network(inputs).chunk(2, dim=-1)
        changed = 1 - self.mask
        # The log-scale is bounded, so that no step of the optimizer makes the flow diverge.
        return raw.tanh() * changed, shift * changed


class Flow(Prior):
    """Couplings with alternating masks, from latents to unit Gaussian noise."""

    settings_class: ClassVar[type[Section]] = FlowSettings
    title: ClassVar[str] = "a normalizing flow"
    conditional: ClassVar[bool] = True

    def __init__(
        self, settings: FlowSettings, latent_dim: int, image_shape: Shape, classes: int = 0
    ) -> None:
        super().__init__(settings, latent_dim, image_shape)
        self.classes = classes
        labels = classes + 1 if classes else 0
        even = (torch.arange(latent_dim) % 2).float()
        masks = [even if layer % 2 else 1 - even for layer in range(settings.flow_layers)]
        self.couplings = nn.ModuleList(
            Coupling(mask, settings.flow_width, labels) for mask in masks
        )

    def log_prob(
        self, latents: Latents, encode: Encode, labels: OneHot | None = None
    ) -> Float[Tensor, "*batch"]:
        """Return the log density in nats, by the change of variables: equation 3."""
        noise, log_determinant = self.to_noise(latents, labels)
        return standard_normal(noise).log_prob(noise) + log_determinant

    def sample(
        self,
        count: int,
        generator: torch.Generator | None,
        encode: Encode,
        labels: OneHot | None = None,
    ) -> Float[Tensor, "count latent"]:
        """Sample noise and apply the inverse couplings in reverse order."""
        device = next(self.parameters()).device
        noise = torch.randn(count, self.latent_dim, generator=generator, device=device)
        return self.from_noise(noise, labels)

    def to_noise(
        self, latents: Latents, labels: OneHot | None = None
    ) -> tuple[Latents, Float[Tensor, "*batch"]]:
        """Return f(z), which is N(0, I) under the prior, and ln |det df/dz|."""
        total = torch.zeros_like(latents[..., 0])
        for coupling in self.couplings:
            latents, log_determinant = coupling(latents, labels)
            total = total + log_determinant
        return latents, total

    def from_noise(self, noise: Latents, labels: OneHot | None = None) -> Latents:
        """Return the latents z with f(z) = noise."""
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            noise = coupling.inverse(noise, labels)
        return noise

    def transfer(self, latents: Latents, source: OneHot, target: OneHot) -> Latents:
        """Return the latents of the same noise under other labels."""
        return self.from_noise(self.to_noise(latents, source)[0], target)


PRIOR = Flow
