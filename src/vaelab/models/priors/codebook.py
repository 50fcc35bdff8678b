"""Discrete codes: van den Oord et al. 2017 (VQ-VAE), section 3.

A latent is a row of codes, each an entry of one codebook. The prior gives each place its own
frequencies, counted after training; the paper learns an autoregressive one instead.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vaelab.config import ModelSettings, UserError
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, Prior


class Codebook(Prior):
    """`entries` [codes, code_dimensions] are learned; `log_frequencies` are [places, codes]."""

    name = "codes by their frequency"
    fitted = True
    log_frequencies: Tensor

    def __init__(self, places: int, codes: int, code_dimensions: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(codes, code_dimensions))
        uniform = torch.full((places, codes), -math.log(codes))
        self.register_buffer("log_frequencies", uniform)

    def codes(self, latents: Latents) -> Int64[Tensor, "*batch places"]:
        """Name the nearest entry at each place."""
        parts = latents.reshape(*latents.shape[:-1], -1, self.entries.shape[1])
        # |e|^2 - 2 z.e orders entries as |z - e|^2 does
        distances = self.entries.square().sum(-1) - 2 * parts @ self.entries.T
        nearest: Tensor = distances.argmin(-1)
        return nearest

    def quantize(self, latents: Latents) -> Latents:
        """Give the nearest entries; the gradient reaches the entries, not the latents."""
        return self.entries[self.codes(latents.detach())].flatten(-2)

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Log probability of the latents' codes, in nats."""
        codes = self.codes(latents)[..., None]
        each = self.log_frequencies.expand(*codes.shape[:-1], -1).gather(-1, codes)
        return each[..., 0].sum(-1)

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Draw the code at each place by its frequency, whatever the others are."""
        shares = self.log_frequencies.exp()
        drawn = torch.multinomial(shares, count, replacement=True, generator=generator)
        return self.entries[drawn.T].flatten(-2)

    @torch.no_grad()
    def fit(self, latents: Float[Tensor, "images latent"], seed: int) -> None:
        """Count the codes, one more of each than there are, so that none is impossible."""
        chosen = nn.functional.one_hot(self.codes(latents), len(self.entries))
        counts = chosen.sum(0).double() + 1
        self.log_frequencies.copy_((counts / counts.sum(-1, keepdim=True)).log())


def build(settings: ModelSettings, image_shape: Shape) -> Codebook:
    """Build it. Raises UserError where the latent does not divide into codes."""
    places, rest = divmod(settings.latent_dim, settings.code_dimensions)
    if rest:
        raise UserError(
            f"model.latent_dim: {settings.latent_dim} does not divide into codes of "
            f"model.code_dimensions: {settings.code_dimensions}"
        )
    return Codebook(places, settings.codebook_size, settings.code_dimensions)
