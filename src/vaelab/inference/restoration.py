"""What is missing from images: draws of p(x_missing|x_observed), with their mean and spread.

Pixels are independent given the latent, so that

    p(x_missing|x_observed) = integral of p(x_missing|z) p(z|x_observed) over z.

Latents of p(z|x_observed) are weighted samples of a proposal that is fitted to it by Hamiltonian
chains (`estimators.posterior_fit`), as in Mattei & Frellsen 2019, equation 12, whose proposal is
the encoder's. Chains start at the encoder's Gaussians of each image with its missing pixels filled
in several ways: by zeros, and by decoded latents, encoded and decoded again until they fit the
observed pixels (Rezende, Mohamed & Wierstra 2014, section 6.5), from several samples of the prior.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from tqdm import tqdm

from vaelab.config import UserError
from vaelab.estimators.importance import (
    importance_weighted_log_likelihood,
    log_importance_weights,
    samples_at_a_time,
)
from vaelab.estimators.posterior_fit import (
    MAX_DIMENSIONS,
    Start,
    can_be_fitted,
    differentiable_parts,
    fit_proposal,
    probable_prior_samples,
)
from vaelab.models.distributions import DiagonalGaussian, PixelDistribution
from vaelab.models.model import Model

# Fillings of an image besides zeros, and how often each is encoded and decoded
FILLINGS, ROUNDS = 4, 10
# Chains an image that start at the encoder's Gaussian of each filling
CHAINS = 4

Images = Float[Tensor, "count channel height width"]
Observed = Bool[Tensor, "count channel height width"]
PerImage = Float64[Tensor, "count"]


@dataclass(frozen=True)
class Sampling:
    """How p(x_missing|x_observed) is sampled. Raises UserError for numbers below 1.

    `importance_samples` weighted latents of each image give the moments and the `draws`. With
    `pixel_noise`, draws and spread are those of p(x_missing|x_observed); without, of the decoded
    means E[x|z] alone, as all other images of a model are.
    """

    draws: int = 8
    importance_samples: int = 1000
    pixel_noise: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("draws", "importance_samples"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be a whole number of at least 1 (it is {value!r})")


def check_restorable(model: Model, objective: str) -> None:
    """Raise UserError for a model that cannot restore images; `objective` names it."""
    if not model.has("encoder") or model.has("discriminator"):
        lack = "likelihood of pixels" if model.has("encoder") else "encoder"
        raise UserError(
            "restore needs an encoder and a likelihood that factorizes over pixels, and this model "
            f"({objective}) has no {lack}"
        )
    if not can_be_fitted(model):
        raise UserError(
            f"restore needs a Gaussian encoder of at most {MAX_DIMENSIONS} latent dimensions, and "
            f"this model ({objective}) has none"
        )


@dataclass(frozen=True)
class Restoration:
    """Images restored: their mean and standard deviation at missing pixels, and draws.

    Observed pixels are as they were, with no deviation. `effective_sample_size` is of the weighted
    latents of each image. `log_likelihood` is ln p(x_missing|x_observed) in nats, if the missing
    pixels are known.
    """

    mean: Images
    stddev: Images
    draws: Float[Tensor, "count draws channel height width"]
    effective_sample_size: PerImage
    log_likelihood: PerImage | None = None


@torch.no_grad()
def restore(
    model: Model,
    images: Images,
    sampling: Sampling,
    generator: torch.Generator,
    *,
    truth: Images | None = None,
) -> Restoration:
    """Restore the missing pixels of images, which are NaN.

    For models that pass `check_restorable`, given the images' labels. `truth` are the images
    without gaps, to estimate the log-likelihood of their missing pixels.
    """
    parts = []
    with tqdm(total=len(images), desc="restored", disable=None) as bar:
        for rows in differentiable_parts(images):
            own = None if truth is None else truth[rows]
            parts.append(
                _restore_part(model.given_rows(rows), images[rows], sampling, generator, own)
            )
            bar.update(len(rows))
    return _concatenated(parts)


def _restore_part(
    model: Model,
    images: Images,
    sampling: Sampling,
    generator: torch.Generator,
    truth: Images | None,
) -> Restoration:
    observed = ~images.isnan()
    images = torch.where(observed, images, 0)
    found = sample_posterior(model, images, observed, sampling.importance_samples, generator)
    mean, stddev = _moments(model, images, found, sampling.pixel_noise, generator)
    chosen = torch.multinomial(found.shares.T.float(), sampling.draws, True, generator=generator)
    decoded = model.decode(found.latents.take_along_dim(chosen.T[..., None], 0))
    drawn = _pixels(decoded, sampling.pixel_noise, generator).transpose(0, 1)
    return Restoration(
        torch.where(observed, images, mean),
        torch.where(observed, 0, stddev),
        torch.where(observed[:, None], images[:, None], drawn),
        found.effective_sample_size,
        None if truth is None else _log_likelihood(model, truth, found, generator),
    )


@dataclass(frozen=True)
class WeightedLatents:
    """Latents [samples, images, latent] of p(z|x_observed), with ln of their weights in nats."""

    latents: Float[Tensor, "samples images latent"]
    log_weights: Float64[Tensor, "samples images"]

    @property
    def shares(self) -> Float64[Tensor, "samples images"]:
        """The normalized weights."""
        return self.log_weights.softmax(0)

    @property
    def effective_sample_size(self) -> PerImage:
        """Between 1 and the number of samples: Kong 1992."""
        return 1 / self.shares.square().sum(0)

    @property
    def log_mean_weight(self) -> PerImage:
        """The estimate of ln p(x_observed) in nats."""
        return self.log_weights.logsumexp(0) - math.log(len(self.log_weights))


def sample_posterior(
    model: Model, images: Images, observed: Observed, samples: int, generator: torch.Generator
) -> WeightedLatents:
    """Sample weighted latents of p(z|x_observed); of the prior, where nothing is observed."""
    seen = model.observing(observed)
    proposal = fit_proposal(seen, images, generator, filled_starts(seen, images, generator))
    latents, log_weights = [], []
    for count in _chunks(samples, samples_at_a_time(images)):
        latents.append(proposal.rsample(generator, count))
        log_weights.append(log_importance_weights(seen, images, proposal, latents[-1]))
    found = WeightedLatents(torch.cat(latents), torch.cat(log_weights))
    unseen = ~observed.flatten(1).any(1)
    if not unseen.any():
        return found
    prior = torch.stack([model.prior(len(images), generator) for _ in range(samples)])
    return WeightedLatents(
        torch.where(unseen[:, None], prior, found.latents),
        torch.where(unseen.to(found.log_weights.device), 0, found.log_weights),
    )


def filled_starts(seen: Model, images: Images, generator: torch.Generator) -> list[Start]:
    """Return the encoder's Gaussians of the images with their missing pixels filled.

    `seen` observes a part of the pixels.
    """
    whole, observed = seen.observing(None), seen.observed
    assert observed is not None
    starts = [seen.encode(images)]
    latents = probable_prior_samples(seen, images, FILLINGS, generator)
    for _ in range(ROUNDS):
        filled = whole.encode(torch.where(observed, images, whole.decode(latents).mean))
        latents = filled.rsample(generator)
    assert isinstance(filled, DiagonalGaussian)
    starts += [DiagonalGaussian(*pair) for pair in zip(filled.mean, filled.stddev, strict=True)]
    return [Start(start, CHAINS) for start in starts if isinstance(start, DiagonalGaussian)]


def _moments(
    model: Model, images: Images, found: WeightedLatents, noise: bool, generator: torch.Generator
) -> tuple[Images, Images]:
    """Return the weighted mean of the decoded means, and the standard deviation."""
    size, totals = samples_at_a_time(images), torch.zeros(3, *images.shape, device=images.device)
    for latents, shares in zip(
        torch.split(found.latents, size), torch.split(found.shares, size), strict=True
    ):
        decoded = model.decode(latents)
        drawn = _pixels(decoded, noise, generator)
        for total, values in zip(totals, (decoded.mean, drawn, drawn.square()), strict=True):
            total += torch.einsum("ki,kichw->ichw", shares.to(values), values)
    mean, first, second = totals
    return mean, (second - first.square()).clamp_min(0).sqrt()


def _log_likelihood(
    model: Model, truth: Images, found: WeightedLatents, generator: torch.Generator
) -> PerImage:
    """Estimate ln p(x_missing|x_observed) = ln p(x) - ln p(x_observed), each by its proposal."""
    proposal = fit_proposal(model, truth, generator)
    samples = len(found.latents)
    whole = importance_weighted_log_likelihood(model, truth, proposal, samples, generator)
    return whole.log_likelihood - found.log_mean_weight


def _pixels(decoded: PixelDistribution, noise: bool, generator: torch.Generator) -> Tensor:
    return decoded.sample(generator) if noise else decoded.mean


def _chunks(total: int, size: int) -> list[int]:
    """Split a number into parts of at most `size`."""
    return [min(size, total - start) for start in range(0, total, size)]


def _concatenated(parts: list[Restoration]) -> Restoration:
    likelihoods = [part.log_likelihood for part in parts if part.log_likelihood is not None]
    return Restoration(
        torch.cat([part.mean for part in parts]),
        torch.cat([part.stddev for part in parts]),
        torch.cat([part.draws for part in parts]),
        torch.cat([part.effective_sample_size for part in parts]),
        torch.cat(likelihoods) if likelihoods else None,
    )
