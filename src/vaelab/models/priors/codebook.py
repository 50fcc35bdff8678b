"""Discrete codes: van den Oord et al. 2017 (VQ-VAE), section 3.

A latent is a row of codes, each an entry of one codebook. The prior is the frequency of the codes
at each position of the row, counted after training; the paper learns an autoregressive prior.
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vaelab.config import CodebookSize, Section, UserError, Width
from vaelab.models.networks import Shape
from vaelab.models.priors import Encode, Latents, Prior, PriorKind


class CodebookSettings(Section):
    """Number of entries, and dimensions of an entry, which divide those of the latent."""

    codebook_size: CodebookSize
    code_dimensions: Width


class Codebook(Prior):
    """`entries` [codes, code_dimensions] are learned; `log_frequencies` are [positions, codes].

    Raises UserError where the latent does not divide into codes.
    """

    settings_class: ClassVar[type[Section]] = CodebookSettings
    kind: ClassVar[PriorKind] = "codes"
    title: ClassVar[str] = "codes by their frequency"
    fitted: ClassVar[bool] = True
    log_frequencies: Tensor

    def __init__(self, settings: CodebookSettings, latent_dim: int, image_shape: Shape) -> None:
        super().__init__(settings, latent_dim, image_shape)
        positions, rest = divmod(latent_dim, settings.code_dimensions)
        if rest:
            raise UserError(
                f"model.latent_dim: {latent_dim} does not divide into codes of "
                f"model.code_dimensions: {settings.code_dimensions}"
            )
        codes = settings.codebook_size
        self.entries = nn.Parameter(torch.randn(codes, settings.code_dimensions))
        uniform = torch.full((positions, codes), -math.log(codes))
        self.register_buffer("log_frequencies", uniform)

    def codes(self, latents: Latents) -> Int64[Tensor, "*batch positions"]:
        """Return the index of the nearest entry at each position."""
        parts = latents.reshape(*latents.shape[:-1], -1, self.entries.shape[1])
        # |e|^2 - 2 z.e orders entries as |z - e|^2 does
        distances = self.entries.square().sum(-1) - 2 * parts @ self.entries.T
        nearest: Tensor = distances.argmin(-1)
        return nearest

    def quantize(self, latents: Latents) -> Latents:
        """Return the nearest entries; the gradient reaches the entries, not the latents."""
        return self.entries[self.codes(latents.detach())].flatten(-2)

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Return the log probability of the latents' codes, in nats."""
        codes = self.codes(latents)[..., None]
        each = self.log_frequencies.expand(*codes.shape[:-1], -1).gather(-1, codes)
        return each[..., 0].sum(-1)

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Sample the code at each position by its frequency, independently of the others."""
        frequencies = self.log_frequencies.exp()
        codes = torch.multinomial(frequencies, count, replacement=True, generator=generator)
        return self.entries[codes.T].flatten(-2)

    @torch.no_grad()
    def fit(self, latents: Float[Tensor, "images latent"], seed: int) -> None:
        """Count the codes, plus 1 each, so that no code has probability 0."""
        chosen = nn.functional.one_hot(self.codes(latents), len(self.entries))
        counts = chosen.sum(0).double() + 1
        self.log_frequencies.copy_((counts / counts.sum(-1, keepdim=True)).log())


PRIOR = Codebook
