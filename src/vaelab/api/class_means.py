"""The mean latent of each class, by which an unconditional model edits an image to a class."""

from pathlib import Path

import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from vaelab.config import UserError
from vaelab.inference.attributes import class_means
from vaelab.runtime.files import write_atomically
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler

FILE = "class_means.safetensors"
SAMPLES = 500
Means = Float[Tensor, "classes latent"]
"""NaN for a class without images."""


def means_of_images(
    latents: Float[Tensor, "count latent"], labels: Int64[Tensor, "count"], classes: int
) -> Means:
    """Return the mean latent of each class's images."""
    means = latents.new_full((classes, latents.shape[1]), torch.nan)
    for label in set(labels[labels >= 0].tolist()):
        means[label] = class_means(latents, labels, [label])[0]
    return means


@torch.no_grad()
def means_of_sampler(sampler: Sampler) -> Means:
    """Return the mean latent that a conditional sampler has for each label, of samples."""
    device = sampler.label_log_frequencies.device
    means = torch.full((sampler.classes, sampler.latent_dim), torch.nan, device=device)
    noise = rng_stream(0, "class means", device)
    for label in range(sampler.classes):
        labels = torch.full((SAMPLES,), label, device=device)
        if sampler.seen(labels[:1]).all():
            means[label] = sampler.sample(SAMPLES, noise, labels, guided=False).mean(0)
    return means


def directions(
    latents: Float[Tensor, "count latent"],
    means: Means,
    source: Int64[Tensor, "count"] | None,
    target: int,
) -> Float[Tensor, "count latent"]:
    """Return the mean latent of the target class minus that of each latent's own class.

    Where that is not known, it is the class of the nearest mean. Raises UserError for a class
    without a mean.
    """
    nearest = torch.cdist(latents, means).nan_to_num(torch.inf).argmin(1)
    source = nearest if source is None else torch.where(source < 0, nearest, source.to(nearest))
    found = means[target] - means[source]
    if found.isnan().any():
        known = (~means.isnan().any(1)).nonzero().flatten().tolist()
        raise UserError(f"no images of every class to edit by; valid: {', '.join(map(str, known))}")
    return found


def save_means(folder: Path, means: Means | None) -> None:
    """Write the means beside a model; without, remove those of another model."""
    if means is None:
        (folder / FILE).unlink(missing_ok=True)
        return
    content = serialize({"means": means.cpu().contiguous()})
    write_atomically(folder / FILE, lambda path: path.write_bytes(content))


def load_means(folder: Path, device: torch.device) -> Means | None:
    """Read the means beside a model, if there are any."""
    path = folder / FILE
    return load_file(path)["means"].to(device) if path.is_file() else None
