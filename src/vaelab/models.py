"""A model: the networks that an objective asks for, read as distributions."""

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vaelab.config import ModelSettings
from vaelab.distributions import DiagonalGaussian, PixelDistribution
from vaelab.likelihoods import GaussianLikelihood, Likelihood, build_likelihood
from vaelab.networks import Shape, family
from vaelab.randomness import stream

Images = Float[Tensor, "*batch channel height width"]
Latents = Float[Tensor, "*batch latent"]

# softplus(0 + this) = 1: a new encoder's standard deviations start near the prior's
_UNIT_STDDEV = math.log(math.e - 1)


class Model(nn.Module):
    """Networks by name, the likelihood of the decoder's outputs, and the latent's prior.

    `precision` is that of the networks alone; every distribution is float32.
    """

    networks: nn.ModuleDict
    output_offset: Tensor

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        likelihood: Likelihood,
        latent_dim: int,
        image_shape: Shape,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.likelihood = likelihood
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.precision = torch.float32
        outputs = likelihood.outputs_per_channel * image_shape[0]
        self.register_buffer("output_offset", torch.zeros(outputs, *image_shape[1:]))

    def has(self, network: str) -> bool:
        """Tell whether the model has a network, such as an encoder."""
        return network in self.networks

    def encode(self, images: Images) -> DiagonalGaussian:
        """q(z|x), with mean and standard deviation [*batch, latent]."""
        mean, raw_stddev = self.apply_network("encoder", images, 3).chunk(2, dim=-1)
        # The floor keeps ln(stddev) finite where softplus underflows.
        stddev = functional.softplus(raw_stddev + _UNIT_STDDEV).clamp_min(1e-6)
        return DiagonalGaussian(mean, stddev)

    def decode(self, latents: Latents) -> PixelDistribution:
        """p(x|z) for latents [*batch, latent]."""
        outputs = self.apply_network("decoder", latents, 1) + self.output_offset
        distribution: PixelDistribution = self.likelihood(outputs)
        return distribution

    def start_from(self, mean_image: Float[Tensor, "channel height width"]) -> None:
        """Let the decoder's outputs, before training, stand for the mean training image."""
        self.output_offset.copy_(self.likelihood.start(mean_image))

    @torch.no_grad()
    def fit_likelihood(self, batches: Iterable[Images], generator: torch.Generator) -> None:
        """Freeze a likelihood's fitted parameter at its best value for some images.

        The Gaussian's variance is the mean squared error of reconstructions from z ~ q(z|x),
        the noise of the posterior included. Other likelihoods are left alone.
        """
        if not (isinstance(self.likelihood, GaussianLikelihood) and self.likelihood.fitted):
            return
        self.eval()
        total = torch.zeros((), device=self.likelihood.variance.device)
        count = 0
        for images in batches:
            reconstructed = self.decode(self.encode(images).rsample(generator)).mean
            total += (images - reconstructed).square().sum()
            count += images.numel()
        self.likelihood.fit(total / count)

    def prior(self, count: int, generator: torch.Generator | None = None) -> Latents:
        """Draw `count` latents from N(0, I)."""
        device = next(self.parameters()).device
        return torch.randn(count, self.latent_dim, generator=generator, device=device)

    def apply_network(self, name: str, inputs: Tensor, item_dims: int) -> Tensor:
        """Apply a network to inputs with any leading dimensions; the result is float32."""
        leading = inputs.shape[: inputs.dim() - item_dims]
        with self._autocast(inputs.device.type):
            outputs: Tensor = self.networks[name](inputs.flatten(0, inputs.dim() - item_dims - 1))
        return outputs.float().reshape(*leading, *outputs.shape[1:])

    def _autocast(self, device: str) -> AbstractContextManager[None]:
        low = self.precision != torch.float32
        return torch.autocast(device, dtype=self.precision if low else None, enabled=low)


def build_model(
    settings: ModelSettings,
    image_shape: Shape,
    networks: Iterable[str] = ("encoder", "decoder"),
    seed: int = 0,
) -> Model:
    """Build the networks named, for images of a shape; `seed` fixes the first weights."""
    builders = family(settings.network)
    likelihood = build_likelihood(settings, math.prod(image_shape))
    outputs = (likelihood.outputs_per_channel * image_shape[0], *image_shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "initialisation").initial_seed())
        built = {
            "encoder": lambda: builders.encoder(image_shape, 2 * settings.latent_dim, settings),
            "decoder": lambda: builders.decoder(settings.latent_dim, outputs, settings),
            "discriminator": lambda: builders.encoder(image_shape, 1, settings),
        }
        chosen = {name: built[name]() for name in networks}
    model = Model(chosen, likelihood, settings.latent_dim, image_shape)
    # Convolutions run faster on pixels whose channels lie side by side; others do not mind.
    return model.to(memory_format=torch.channels_last)
