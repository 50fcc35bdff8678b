"""A model: the networks that an objective asks for, read as distributions."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vaelab.config import ModelSettings
from vaelab.models.distributions import DiagonalGaussian, PixelDistribution, PointMass, Posterior
from vaelab.models.likelihoods import GaussianLikelihood, Likelihood, build_likelihood
from vaelab.models.networks import Shape, family
from vaelab.models.networks.discriminator import discriminator, latent_discriminator
from vaelab.models.priors import Prior, build_prior
from vaelab.models.priors.codebook import Codebook
from vaelab.models.priors.standard_normal import StandardNormal
from vaelab.runtime.random_streams import rng_stream

Images = Float[Tensor, "*batch channel height width"]
Latents = Float[Tensor, "*batch latent"]

PosteriorKind = Literal["gaussian", "point"]

# softplus(0 + this) = 1: a new encoder's standard deviations start near the prior's
_UNIT_STDDEV = math.log(math.e - 1)


@dataclass(frozen=True)
class DiscriminatorOutput:
    """What a discriminator makes of images: its features, and the logit of a real image."""

    features: Float[Tensor, "*batch feature"]
    logits: Float[Tensor, "*batch"]


class Model(nn.Module):
    """Networks by name, the latent's prior among them, and the likelihood of decoded pixels.

    `precision` is that of the networks alone; every distribution is float32. `posterior` says
    what the encoder gives: a Gaussian, or a point without noise.
    """

    networks: nn.ModuleDict
    output_offset: Tensor

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        likelihood: Likelihood,
        latent_dim: int,
        image_shape: Shape,
        posterior: PosteriorKind = "gaussian",
    ) -> None:
        super().__init__()
        unit = {} if "prior" in networks else {"prior": StandardNormal(latent_dim)}
        self.networks = nn.ModuleDict({**networks, **unit})
        self.posterior = posterior
        self.likelihood = likelihood
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.precision = torch.float32
        outputs = likelihood.outputs_per_channel * image_shape[0]
        self.register_buffer("output_offset", torch.zeros(outputs, *image_shape[1:]))

    def has(self, network: str) -> bool:
        """Tell whether the model has a network, such as an encoder."""
        return network in self.networks

    @property
    def has_standard_prior(self) -> bool:
        """Whether p(z) = N(0, I)."""
        return isinstance(self.networks["prior"], StandardNormal)

    @property
    def has_bound(self) -> bool:
        """Whether encoder, prior and decoder bound -ln p(x): for Gaussian posteriors and codes.

        Not beside a discriminator: its features replace the likelihood of pixels.
        """
        judged = self.has("discriminator") or not self.has("encoder")
        return not judged and (self.posterior == "gaussian" or self.is_discrete)

    @property
    def is_discrete(self) -> bool:
        """Whether latents are codes."""
        return isinstance(self.networks["prior"], Codebook)

    @property
    def prior_name(self) -> str:
        """Say in words what new latents are drawn from."""
        return self._prior.name

    def encode(self, images: Images) -> Posterior:
        """q(z|x), with mean and standard deviation [*batch, latent], or the point alone."""
        outputs = self.apply_network("encoder", images, 3)
        if self.is_discrete:
            return PointMass(cast(Codebook, self._prior).quantize(outputs))
        if self.posterior == "point":
            return PointMass(outputs)
        mean, raw_stddev = outputs.chunk(2, dim=-1)
        # The floor keeps ln(stddev) finite where softplus underflows.
        stddev = functional.softplus(raw_stddev + _UNIT_STDDEV).clamp_min(1e-6)
        return DiagonalGaussian(mean, stddev)

    def decode(self, latents: Latents) -> PixelDistribution:
        """p(x|z) for latents [*batch, latent]."""
        outputs = self.apply_network("decoder", latents, 1) + self.output_offset
        distribution: PixelDistribution = self.likelihood(outputs)
        return distribution

    def discriminate(self, images: Images) -> DiscriminatorOutput:
        """Let the discriminator judge images [*batch, channel, height, width]."""
        outputs = self.apply_network("discriminator", images, 3)
        return DiscriminatorOutput(outputs[..., :-1], outputs[..., -1])

    def initialize_from(
        self, mean_image: Float[Tensor, "channel height width"], images: Images
    ) -> None:
        """Let the decoder's outputs, before training, stand for the mean training image.

        A prior that is made of images starts from `images`.
        """
        self.output_offset.copy_(self.likelihood.initial_outputs(mean_image))
        self._prior.initialize_from(images)

    @torch.no_grad()
    def fit_likelihood(
        self,
        batches: Iterable[Images],
        generator: torch.Generator,
        add_up: Callable[[Tensor, int], tuple[Tensor, Tensor | int]] = lambda *sums: sums,
    ) -> None:
        """Freeze a likelihood's fitted parameter at its best value for some images.

        The Gaussian's variance is the mean squared error of reconstructions from z ~ q(z|x),
        the noise of the posterior included. Other likelihoods are left alone, and so is a
        model without an encoder. `add_up` adds sums over the processes that have other images.
        """
        if not (isinstance(self.likelihood, GaussianLikelihood) and self.likelihood.fitted):
            return
        if not self.has("encoder"):
            return
        self.eval()
        total = torch.zeros((), device=self.likelihood.variance.device)
        count = 0
        for images in batches:
            total += self.squared_error(images, generator)
            count += images.numel()
        squared_error, numbers = add_up(total, count)
        self.likelihood.fit((squared_error / numbers).float())

    def squared_error(self, images: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Sum the squared errors of all pixels' reconstructions from z ~ q(z|x)."""
        reconstructed = self.decode(self.encode(images).rsample(generator)).mean
        return (images - reconstructed).square().sum()

    @torch.no_grad()
    def fit_prior(self, batches: Iterable[Images], generator: torch.Generator) -> None:
        """Set a fitted prior from one latent of each image; other priors are left alone."""
        if not self._prior.fitted:
            return
        self.eval()
        latents = [self.encode(images).rsample(generator) for images in batches]
        self._prior.fit(torch.cat(latents), generator.initial_seed())

    def prior(
        self, count: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "count latent"]:
        """Draw `count` latents from p(z)."""
        return self._prior.sample(count, generator, self.encode)

    def log_prior(self, latents: Latents) -> Float[Tensor, "*batch"]:
        """ln p(z) in nats."""
        return self._prior.log_prob(latents, self.encode)

    def kl(self, posterior: Posterior, latents: Latents) -> Float[Tensor, "*batch"]:
        """KL(q(z|x) || p(z)) in nats: in closed form for N(0, I), else estimated from `latents`.

        The estimate, ln q(z|x) - ln p(z) at one draw of the posterior, has no bias. Its gradient
        reaches the encoder through the draw alone: what is left out has mean 0, and noise that
        would bury the first weak signal of the images (Roeder et al. 2017, equation 8).
        """
        if self.has_standard_prior and isinstance(posterior, DiagonalGaussian):
            return posterior.kl()
        return posterior.detach().log_prob(latents) - self.log_prior(latents)

    @property
    def _prior(self) -> Prior:
        return cast(Prior, self.networks["prior"])

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
    posterior: PosteriorKind = "gaussian",
) -> Model:
    """Build the networks named, for images of a shape; `seed` fixes the first weights."""
    builders = family(settings.network)
    likelihood = build_likelihood(settings, math.prod(image_shape))
    outputs = (likelihood.outputs_per_channel * image_shape[0], *image_shape[1:])
    is_gaussian = posterior == "gaussian" and settings.prior != "codebook"
    codes = 2 * settings.latent_dim if is_gaussian else settings.latent_dim
    built: dict[str, Callable[[], nn.Module]] = {
        "encoder": lambda: builders.encoder(image_shape, codes, settings),
        "decoder": lambda: builders.decoder(settings.latent_dim, outputs, settings),
        "discriminator": lambda: discriminator(image_shape, settings),
        "latent_discriminator": lambda: latent_discriminator(settings.latent_dim, settings),
        "prior": lambda: build_prior(settings, image_shape),
    }
    names = dict.fromkeys((*networks, "prior"))
    if unknown := names.keys() - built.keys():
        raise ValueError(f"{', '.join(unknown)}: no network; there are {', '.join(built)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng_stream(seed, "initialisation").initial_seed())
        chosen = {name: built[name]() for name in names}
    model = Model(chosen, likelihood, settings.latent_dim, image_shape, posterior)
    # Convolutions run faster on pixels whose channels lie side by side; others do not mind.
    return model.to(memory_format=torch.channels_last)
