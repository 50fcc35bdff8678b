"""Samplers: densities of latents that are fitted to a trained model's posteriors.

A VAE's aggregate posterior q(z), the mean of q(z|x) over images, is not its prior p(z). Latents
sampled from a density that is fitted to q(z) decode to better images (Dai & Wipf 2019).

Each file is a sampler; its name, without `.py`, is a value of `sampler.name`. The file defines a
subclass of `Sampler` and names it `SAMPLER`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from vaelab.config import (
    NO_SAMPLER,
    ArtifactError,
    SamplerSettings,
    Section,
    UserError,
    fill_settings,
    own_defaults,
    reason,
    sampler_names,
)
from vaelab.config.choices import SamplerChoice
from vaelab.data.loader import ImageLoader
from vaelab.models.model import Model
from vaelab.models.saving import CONFIG
from vaelab.models.weights import WEIGHTS
from vaelab.runtime.files import write_atomically, write_text
from vaelab.runtime.random_streams import rng_stream

Latents = Float[Tensor, "*batch latent"]
Labels = Int64[Tensor, "*labels"]


@dataclass(frozen=True)
class Posteriors:
    """q(z|x) of the training images: means and standard deviations [images, latent].

    The standard deviations of an encoder without noise are 0. `labels` are the images' classes,
    from 0 to `classes` - 1, or -1 where unknown; without labels `classes` is 0.
    """

    means: Float[Tensor, "images latent"]
    stddevs: Float[Tensor, "images latent"]
    labels: Int64[Tensor, "images"] | None = None
    classes: int = 0

    def __len__(self) -> int:
        return len(self.means)

    def rsample(self, generator: torch.Generator) -> Float[Tensor, "images latent"]:
        """Sample one latent of each image."""
        noise = torch.randn(self.means.shape, generator=generator, device=self.means.device)
        return self.means + self.stddevs * noise


class Sampler(nn.Module):
    """A density p(z), or p(z | label), fitted to the posteriors of the training images.

    `settings_class` holds its settings, filled from `samplers.<name>`, each with a default. A
    conditional sampler has `classes` labels, with `label_log_frequencies` [classes] as in the
    training images; `classes` is 0 for one that does not know labels.
    """

    settings_class: ClassVar[type[Section]] = Section
    title: ClassVar[str] = "a fitted density"
    """What figures call it."""
    conditional: ClassVar[bool] = False
    """Whether it can be conditioned on labels."""
    label_log_frequencies: Tensor

    def __init__(self, settings: Section, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.classes = classes if self.conditional else 0
        self.register_buffer("label_log_frequencies", torch.zeros(self.classes))

    @classmethod
    def default_settings(cls) -> dict[str, Any]:
        """Return the defaults of the sampler's own settings."""
        return own_defaults(cls.settings_class, Section)

    @classmethod
    def min_images(cls, latent_dim: int) -> int:
        """Return the number of images below which only a Gaussian is fitted."""
        return 0

    def fit(self, posteriors: Posteriors, seed: int) -> dict[str, float]:
        """Fit to the posteriors; return what is worth keeping about the fit, by name."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The value of `sampler.name` that names it."""
        return type(self).__module__.rpartition(".")[2]

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        labels: Labels | None = None,
        *,
        guided: bool = True,
    ) -> Float[Tensor, "count latent"]:
        """Sample latents, of the given labels if any, on the sampler's device.

        Latents that are not `guided` are samples of `log_prob`; guidance makes those of a label
        more typical of it. Raises ValueError for labels if the sampler is not conditional.
        """
        raise NotImplementedError

    def log_prob(self, latents: Latents, labels: Labels | None = None) -> Float[Tensor, "*batch"]:
        """Return ln p(z), or ln p(z | label), in nats; without gradients.

        Raises ValueError for labels if the sampler is not conditional.
        """
        raise NotImplementedError

    @property
    def label_frequencies(self) -> Float[Tensor, "classes"]:
        """The frequency of each label in the training images; only of conditional samplers."""
        return self.label_log_frequencies.exp()

    def seen(self, labels: Labels) -> Bool[Tensor, "*batch"]:
        """Return which of these labels training images have; none if it is not conditional."""
        known = self.label_log_frequencies.isfinite().nonzero()
        return torch.isin(labels, known.to(labels.device))

    def sample_labels(self, count: int, generator: torch.Generator) -> Int64[Tensor, "count"]:
        """Sample labels with their frequency in the training images."""
        shares = self.label_frequencies
        return torch.multinomial(shares, count, replacement=True, generator=generator)

    def set_label_frequencies(self, posteriors: Posteriors) -> None:
        """Set the frequencies of labels; a class without images is never sampled."""
        if posteriors.labels is not None and self.classes:
            known = posteriors.labels[posteriors.labels >= 0]
            counts = torch.bincount(known, minlength=self.classes).double()
            self.label_log_frequencies.copy_((counts / counts.sum()).log())


def refuse_labels(sampler: Sampler, labels: Labels | None) -> None:
    """Raise ValueError for labels that a sampler cannot be conditioned on."""
    if labels is None or not labels.numel():
        return
    if not sampler.classes:
        raise ValueError(f"{sampler.title} is not conditional: it cannot sample a label")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= sampler.classes:
        wrong = low if low < 0 else high
        raise ValueError(f"label {wrong} is out of range: 0 to {sampler.classes - 1}")


def sampler_class(name: str) -> type[Sampler]:
    """Return the class in the file of that name."""
    cls: type[Sampler] = importlib.import_module(f"vaelab.samplers.{name}").SAMPLER
    return cls


def build_sampler(name: str, own: Mapping[str, Any], latent_dim: int, classes: int = 0) -> Sampler:
    """Build a sampler, not yet fitted; `own` are its settings. Raises UserError for these."""
    cls = sampler_class(name)
    settings = fill_settings(cls.settings_class, Section(), own, f"samplers.{name}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng_stream(0, "sampler/initialization").initial_seed())
        return cls(settings, latent_dim, classes)


@torch.inference_mode()
def encode_posteriors(
    model: Model,
    images: ImageLoader,
    labels: NDArray[np.int64] | None = None,
    batch_size: int = 250,
    seed: int = 0,
) -> Posteriors:
    """Encode images, in the order of the files; pixels that are noisy are sampled once."""
    noise = rng_stream(seed, "sampler/pixels", images.device)
    found = [
        model.given(batch.labels).encode(batch.images)
        for batch in images.sequential(batch_size, noise)
    ]
    means = torch.cat([posterior.mean for posterior in found])
    stddevs = torch.cat(
        [getattr(posterior, "stddev", torch.zeros_like(posterior.mean)) for posterior in found]
    )
    if labels is None or not len(labels):
        return Posteriors(means.clone(), stddevs.clone())
    known = torch.from_numpy(np.array(labels)).to(means.device)
    classes = max(images.classes, int(known.max()) + 1)
    return Posteriors(means.clone(), stddevs.clone(), known, classes)


@dataclass(frozen=True)
class FittedSampler:
    """A sampler with its name and settings, and what its `fit` returned."""

    name: str
    settings: dict[str, Any]
    sampler: Sampler
    facts: dict[str, float]


def conditional_sampler(
    name: str, images: int, latent_dim: int, log: Callable[[str], object] = print
) -> str:
    """Return the name of the sampler for a conditional model: with too few images its prior.

    Latents of different labels differ, so that the sampler must be conditional too, and no Gaussian
    stands in for it; `log` is told. Raises UserError for a sampler that is not conditional.
    """
    if name == NO_SAMPLER:
        return name
    if not sampler_class(name).conditional:
        fit = (NO_SAMPLER, *(x for x in sampler_names() if sampler_class(x).conditional))
        raise UserError(
            f"sampler.name: {name} cannot be conditioned on labels, as a model with "
            f"model.conditional: labels needs; valid: {', '.join(fit)}"
        )
    if images >= (needed := sampler_class(name).min_images(latent_dim)):
        return name
    log(
        f"sampler.name: {name} needs {needed} training images with {latent_dim} latent "
        f"dimensions, there are {images}: the prior is used instead"
    )
    return NO_SAMPLER


def fit_sampler(
    settings: SamplerSettings,
    own: Mapping[str, dict[str, Any]],
    posteriors: Posteriors,
    log: Callable[[str], object] = print,
) -> FittedSampler:
    """Fit the sampler that `settings` name; `own` has the settings of each sampler, by name.

    Too few images for it get a Gaussian instead, and `log` is told. Raises UserError for settings
    that are unknown or out of range.
    """
    name, latent_dim = settings.name, posteriors.means.shape[1]
    needed = sampler_class(name).min_images(latent_dim)
    if len(posteriors) < needed:
        log(
            f"sampler.name: {name} needs {needed} training images with {latent_dim} latent "
            f"dimensions, there are {len(posteriors)}: a Gaussian is fitted instead"
        )
        name = "gaussian"
    chosen = sampler_class(name).default_settings() | own.get(name, {})
    sampler = build_sampler(name, chosen, latent_dim, posteriors.classes)
    sampler.to(posteriors.means.device).train()
    facts = sampler.fit(posteriors, settings.seed)
    return FittedSampler(name, chosen, sampler.eval(), facts)


class SamplerDescription(BaseModel):
    """config.json: what is needed besides the weights to build and use the sampler.

    `name` may be `prior`, which has no weights. `model_sha256` is that of the weights of the model
    whose latents it was fitted to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    name: SamplerChoice
    model_sha256: str
    latent_dim: int = 0
    classes: int = 0
    images: int = 0
    settings: dict[str, Any] = {}
    fit: dict[str, float] = {}


def save_sampler(folder: Path, sampler: Sampler | None, description: SamplerDescription) -> None:
    """Write a sampler's weights, if it has any, and its description."""
    if sampler is None:
        (folder / WEIGHTS).unlink(missing_ok=True)
    else:
        tensors = {name: t.detach().cpu().contiguous() for name, t in sampler.state_dict().items()}
        content = serialize(tensors)
        write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(content))
    write_text(folder / CONFIG, description.model_dump_json(indent=2) + "\n")


def load_sampler(folder: Path, device: torch.device, model_sha256: str) -> Sampler | None:
    """Load a saved sampler; None for the model's own prior.

    Raises ArtifactError if a file is missing, damaged, does not fit the other, or was fitted to
    another model than the one whose weights have this SHA-256.
    """
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        description = SamplerDescription.model_validate_json(text)
        if description.model_sha256 != model_sha256:
            raise ValueError("it was fitted to the latents of another model")
        if description.name == NO_SAMPLER:
            return None
        sampler = build_sampler(
            description.name, description.settings, description.latent_dim, description.classes
        )
        sampler.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, LookupError, TypeError, ValueError, SafetensorError, RuntimeError) as error:
        raise ArtifactError(folder, f"no loadable sampler ({reason(error)})") from error
    return sampler.to(device).eval()
