"""Samples of a trained model: of its prior, or of a sampler that was fitted to its latents."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vaelab.inference.decoding import ImageGrid, Images, decode_means
from vaelab.models.model import Model
from vaelab.samplers import Sampler

Latents = Float[Tensor, "count latent"]


@torch.no_grad()
def sample_latents(
    model: Model, sampler: Sampler | None, count: int, generator: torch.Generator
) -> tuple[Model, Latents]:
    """Sample latents from a sampler, or from the prior where there is none.

    They come with the model that decodes them: a conditional model that is given no labels gets
    labels by their frequency in the training split.
    """
    given = model.with_sampled_labels(count, generator)
    if sampler is None:
        return given, given.prior(count, generator)
    return given, model.quantize(sampler.sample(count, generator, given.labels, guided=False))


@torch.no_grad()
def sample_latents_of_labels(
    model: Model, sampler: Sampler | None, labels: Int64[Tensor, "count"], rng: torch.Generator
) -> tuple[Model, Latents]:
    """Sample a latent of each label, guided where there is a sampler; else as `sample_latents`.

    Raises ValueError unless the sampler, or without one the model, is conditional.
    """
    given = model.given(labels)
    if sampler is not None:
        return given, model.quantize(sampler.sample(len(labels), rng, labels))
    if not model.classes:
        raise ValueError("neither the model nor a sampler is conditional")
    return given, given.prior(len(labels), rng)


def samples(
    model: Model, sampler: Sampler | None, count: int, generator: torch.Generator
) -> Images:
    """Decode latents of `sample_latents`."""
    return decode_means(*sample_latents(model, sampler, count, generator))


def samples_by_label(
    model: Model,
    sampler: Sampler | None,
    labels: Sequence[int],
    count: int,
    generator: torch.Generator,
) -> ImageGrid:
    """Decode `count` latents of each label (`sample_latents_of_labels`): column j is labels[j]."""
    wanted = torch.tensor(labels, device=generator.device).repeat(count)
    images = decode_means(*sample_latents_of_labels(model, sampler, wanted, generator))
    return images.reshape(count, len(labels), *images.shape[1:])
