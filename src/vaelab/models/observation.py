"""Models of images of which some pixels are missing: Mattei & Frellsen 2019, section 2.

The pixels of an image are independent given its latent, so that the likelihood of those observed is
p(x_observed|z) = prod over observed pixels of p(x_i|z). The encoder sees 0 where one is missing.
"""

import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vaelab.models.conditional import LabeledModule
from vaelab.models.distributions import PixelDistribution, ProfiledGaussian, sum_pixels

Mask = Bool[Tensor, "*batch channel height width"]
"""True where a pixel's channel is observed."""
AnyModel = TypeVar("AnyModel", bound="ObservingModule")


def mean_squared_error(
    means: Float[Tensor, "batch channel height width"],
    images: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "batch"]:
    """Return the mean over the pixels of each image that are not missing."""
    missing = images.isnan()
    squares = torch.where(missing, 0, means - images).square()
    return squares.flatten(1).sum(1) / (~missing).flatten(1).sum(1).clamp_min(1)


@dataclass(frozen=True)
class ObservedPixels:
    """p(x|z) whose `log_prob` is that of the observed pixels alone; `observed` broadcasts to them.

    The values of the other pixels in images do not count, NaN included. Without `observed`, they
    are those that are NaN.
    """

    pixels: PixelDistribution
    observed: Mask | None

    @property
    def mean(self) -> Tensor:
        """The expected image, of all pixels."""
        return self.pixels.mean

    def log_prob(self, images: Tensor) -> Tensor:
        """Return ln p(x_observed|z), [*batch], in nats."""
        return sum_pixels(self.pixel_log_prob(images))

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return the log probability of each observed pixel, in nats, and 0 for the others."""
        observed = ~images.isnan() if self.observed is None else self.observed
        pixels, images = self.pixels, torch.where(observed, images, 0)
        if isinstance(pixels, ProfiledGaussian):
            pixels = pixels.fitted(images, observed)
        return torch.where(observed, pixels.pixel_log_prob(images), 0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample images, of all pixels."""
        return self.pixels.sample(generator)


class ObservingModule(LabeledModule):
    """What depends on missing pixels in a model.

    `observed` is set by `observing`, None for all; `sees_gaps` by `seeing_gaps`.
    """

    observed: Mask | None = None
    sees_gaps = False

    def observing(self: AnyModel, observed: Mask | None) -> AnyModel:
        """Return the model of images with these observed pixels, which shares all networks.

        A mask broadcasts to the leading dimensions of images, and of latents: [batch, ...] fits
        latents [samples, batch, latent]. None means that all pixels are observed.
        """
        if observed is self.observed:
            return self
        view = copy.copy(self)
        view.observed = observed
        return view

    def seeing_gaps(self: AnyModel, sees_gaps: bool = True) -> AnyModel:
        """Return the model of images whose missing pixels are NaN, which shares all networks."""
        view = copy.copy(self)
        view.sees_gaps = sees_gaps
        return view

    def given_rows(self: AnyModel, rows: Tensor | slice) -> AnyModel:
        """Return the model given its labels [batch] and observed pixels [batch, ...] at rows."""
        view = super().given_rows(rows)
        return view if view.observed is None else view.observing(view.observed[rows])

    def observed_part(self, images: Tensor) -> Tensor:
        """Return the images with 0 in place of missing pixels."""
        if self.observed is not None:
            return torch.where(self.observed, images, 0)
        return torch.where(images.isnan(), 0, images) if self.sees_gaps else images
