"""Slow or closed forms that the fast code is held against. Formulas: see each docstring."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import integrate
from torch import Tensor, nn

from vaelab.config import ModelSettings
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model, build_model
from vaelab.runtime.random_streams import rng_stream

# A correct estimate is farther than this from the truth about twice in 1e9 tries.
STANDARD_ERRORS = 6


def rand(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform numbers, the same at each call."""
    return torch.rand(shape, generator=rng_stream(0, "test"), dtype=dtype)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, the same at each call with a seed."""
    return torch.randn(shape, generator=rng_stream(seed, "test"), dtype=dtype)


def one_pixel(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """One image of one pixel."""
    return torch.full((1, 1, 1, 1), value, dtype=dtype)


def assert_mean(values: Tensor, expected: Tensor | float, rounding: float = 0.0) -> None:
    """Hold the mean over the first dimension to the truth, within 6 of its standard errors."""
    values = values.double()
    errors = values.std(0) / math.sqrt(len(values))
    distance = (values.mean(0) - expected).abs()
    bad = distance > STANDARD_ERRORS * errors + rounding
    assert not bad.any(), f"off by {distance[bad]}, standard errors {errors[bad]}"


def integral(function: Callable[[float], float], low: float, high: float) -> float:
    """Integrate a smooth function of one variable."""
    value, _ = integrate.quad(function, low, high, epsabs=1e-12, epsrel=1e-11, limit=500)
    return float(value)


def data_with_eigenvalues(eigenvalues: list[float], count: int, seed: int = 0) -> Tensor:
    """Points [count, D] of mean 0 whose covariance (1/N) X^T X has exactly these eigenvalues."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, len(eigenvalues)))
    left, _, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    turn, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues), len(eigenvalues))))
    return torch.from_numpy(left * np.sqrt(count * np.array(eigenvalues)) @ turn).float()


def spectrum(data: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the covariance of [N, D], largest first, and their vectors as columns."""
    wide = data.double()
    covariance = (wide - wide.mean(0)).T @ (wide - wide.mean(0)) / len(wide)
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0), vectors.flip(1)


def linear_model(pixels: int, latents: int, variance: float, seed: int = 0) -> Model:
    """A linear encoder and decoder, for images [1, 1, pixels], in evaluation mode."""
    settings = ModelSettings(
        network="mlp",
        hidden=(),
        latent_dim=latents,
        gaussian_mean="linear",
        gaussian_variance=variance,
    )
    return build_model(settings, (1, 1, pixels), seed=seed).eval()


def linear_vae_optimum(data: Tensor, latents: int, variance: float, kl_weight: float) -> Model:
    """The minimum of SSE / (2 variance) + kl_weight KL over linear models, in closed form.

    Probabilistic PCA at s = kl_weight * variance (Tipping & Bishop 1999; Lucas et al. 2019):
    W = U ((L - s)+)^(1/2), posterior mean W^T x / l and variance s / l, or 0 and 1 where l < s.
    """
    eigenvalues, vectors = spectrum(data)
    s, top, axes = kl_weight * variance, eigenvalues[:latents], vectors[:, :latents]
    decoder = axes * (top - s).clamp_min(0).sqrt()
    encoder = (decoder / top).T
    stddev = torch.where(top > s, s / top, torch.ones_like(top)).sqrt()
    model = linear_model(data.shape[1], latents, variance)
    # The model's standard deviation is softplus(output + c), with softplus(c) = 1.
    raw_stddev = stddev.expm1().log() - math.log(math.e - 1)
    with torch.no_grad():
        set_linear(
            layer(model, "encoder"),
            torch.cat([encoder, torch.zeros_like(encoder)]),
            torch.cat([-encoder @ data.double().mean(0), raw_stddev]),
        )
        set_linear(layer(model, "decoder"), decoder, data.double().mean(0))
    return model


def gaussian_posterior(model: Model, images: Tensor) -> DiagonalGaussian:
    """Encode with a model whose posteriors are Gaussians."""
    posterior = model.encode(images)
    assert isinstance(posterior, DiagonalGaussian)
    return posterior


def log_normal(values: Tensor, mean: Tensor | float = 0.0, stddev: Tensor | float = 1.0) -> Tensor:
    """ln N(values; mean, stddev^2), summed over the last dimension."""
    normal = torch.distributions.Normal(mean, stddev)
    each: Tensor = normal.log_prob(values)  # type: ignore[no-untyped-call]
    return each.sum(-1)


def layer(model: Model, network: str) -> nn.Linear:
    """Return the one linear layer of a linear network."""
    return next(part for part in model.networks[network].modules() if isinstance(part, nn.Linear))


def set_linear(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Overwrite a layer's parameters."""
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def pca_log_likelihood(eigenvalues: Tensor, latents: int, variance: float) -> float:
    """Mean of ln p(x) in nats under probabilistic PCA at its optimum for this variance.

    -(1/2) (sum_{i<=k} ln l_i + k + (D-k) ln s2 + sum_{i>k} l_i / s2 + D ln 2 pi), of which the
    usual form, ... + D ln 2 pi + D, is the case s2 = the mean of the last D - k eigenvalues.
    """
    top, rest, size = eigenvalues[:latents], eigenvalues[latents:], len(eigenvalues)
    total = top.log().sum() + latents + len(rest) * math.log(variance)
    return -0.5 * (total + rest.sum() / variance + size * math.log(2 * math.pi)).item()


def exact_losses(model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Generation and KL loss [B] of a linear model, the mean over the noise taken exactly.

    The generation loss is quadratic in the noise, so the 2 d points +-sqrt(d) e_i, which have
    mean 0 and covariance I, average it without error.
    """
    posterior = gaussian_posterior(model, images)
    size = model.latent_dim
    points = math.sqrt(size) * torch.cat([torch.eye(size), -torch.eye(size)])
    latents = posterior.mean + posterior.stddev * points[:, None]
    return -model.decode(latents).log_prob(images).mean(0), posterior.kl()
