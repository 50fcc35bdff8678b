"""Models of different latent sizes in one batch: each is padded to the largest latent size.

A padded dimension has weights that are 0 and stay 0, a posterior N(0, 1), whose KL is 0 nats, and
noise 0, so that it has no effect on the decoder.
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.layers.upsample import SubPixelConvTranspose2d
from vaelab.models.model import Images, Model


@dataclass(frozen=True)
class PresampledGaussian(DiagonalGaussian):
    """A posterior with noise that was sampled before; mean and stddev are [*batch, latent]."""

    noise: Float[Tensor, "*samples_batch latent"]

    def rsample(
        self, generator: torch.Generator | None = None, samples: int | None = None
    ) -> Float[Tensor, "*samples_batch latent"]:
        """Return z = mean + stddev * noise, as many samples as there is noise."""
        return self.mean + self.stddev * self.noise


class PaddedModel(Model):
    """The model with the largest latent; functional calls pass in the weights of any member.

    They also pass in the buffers `noise` [*samples, batch, latent] and `is_real` [latent], which
    is false for padded dimensions.
    """

    noise: Float[Tensor, "*samples_batch latent"]
    is_real: Bool[Tensor, "latent"]

    def __init__(self, widest: Model) -> None:
        networks = {name: copy.deepcopy(network) for name, network in widest.networks.items()}
        likelihood = copy.deepcopy(widest.likelihood)
        super().__init__(networks, likelihood, widest.latent_dim, widest.image_shape)
        device = widest.output_offset.device
        self.register_buffer("noise", torch.zeros(0, widest.latent_dim))
        self.register_buffer("is_real", torch.ones(widest.latent_dim, dtype=torch.bool))
        self.to(device)
        self.sees_gaps = widest.sees_gaps
        self.output_offset.copy_(widest.output_offset)
        for module in self.modules():
            if isinstance(module, SubPixelConvTranspose2d):
                module.transposes = True

    def encode(self, images: Images) -> PresampledGaussian:
        """Return q(z|x) with the presampled noise, and N(0, 1) in padded dimensions."""
        posterior = super().encode(images)
        # Exactly 1, without a gradient: softplus would be off by rounding.
        one = torch.ones_like(posterior.mean)
        assert isinstance(posterior, DiagonalGaussian)
        stddev = torch.where(self.is_real, posterior.stddev, one)
        return PresampledGaussian(posterior.mean, stddev, self.noise)


class Padding:
    """Where the weights of a model of any latent size are in a row of the largest one's.

    The encoder's last layer returns means, then raw standard deviations; the decoder's first one
    takes latents. All other layers have the same shape in all models.
    """

    def __init__(self, widest: Model) -> None:
        self.latent_dim = widest.latent_dim
        self.shapes = {name: p.shape for name, p in widest.named_parameters()}
        self.count = sum(shape.numel() for shape in self.shapes.values())
        encoder, decoder = (list(widest.networks[n].parameters()) for n in ("encoder", "decoder"))
        named = widest.named_parameters()
        roles = {id(encoder[-2]): "codes", id(encoder[-1]): "codes", id(decoder[0]): "latents"}
        self.roles = {name: roles.get(id(parameter)) for name, parameter in named}

    def param_indices(self, latent_dim: int) -> Int64[Tensor, "own"]:
        """Return the indices in a row of the weights of a latent size, in parameter order."""
        start, parts = 0, []
        for name, shape in self.shapes.items():
            whole = torch.arange(start, start + shape.numel()).view(shape)
            parts.append(self._cut(self.roles[name], whole, latent_dim).flatten())
            start += shape.numel()
        return torch.cat(parts)

    def views(self, rows: Float[Tensor, "member weight"]) -> dict[str, Tensor]:
        """Return rows as parameters by name, [member, *shape], views of the same memory."""
        parts = torch.split(rows, [shape.numel() for shape in self.shapes.values()], dim=1)
        shaped = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(-1, *shape) for (name, shape), part in shaped}

    def _cut(self, role: str | None, whole: Tensor, latent_dim: int) -> Tensor:
        if role == "codes":
            return whole.view(2, self.latent_dim, -1)[:, :latent_dim]
        return whole[:, :latent_dim] if role == "latents" else whole


def flatten_params(model: nn.Module) -> Float[Tensor, "own"]:
    """Return a model's weights copied into one row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@torch.no_grad()
def unflatten_params(model: nn.Module, row: Float[Tensor, "own"]) -> None:
    """Copy weights from a row into a model."""
    parameters = list(model.parameters())
    parts = torch.split(row, [parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))
