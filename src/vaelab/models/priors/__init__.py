"""Priors p(z).

Each file is a prior; its name, without `.py`, is a value of `model.prior`. The file defines a
subclass of `Prior` and names it `PRIOR`. Every prior is a network of the model, so that an
optimizer can train it.
"""

import importlib
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelab.config import AUTO, ModelSettings, Section, fill_settings
from vaelab.models.distributions import Posterior
from vaelab.models.networks import Shape
from vaelab.models.sizes import resolve_sizes

Latents = Float[Tensor, "*batch latent"]
Images = Float[Tensor, "batch channel height width"]
OneHot = Float[Tensor, "*batch label"]
Encode = Callable[[Tensor], Posterior]

PriorKind = Literal["standard_normal", "density", "fitted", "codes"]
"""How a prior takes part in training, which decides the objectives that it can be used with.

standard_normal: N(0, I); the KL to it has a closed form.
density: `log_prob` is differentiated by latents, and by the prior's own parameters if it has any.
fitted: takes no part in training; `fit` sets it from the latents of the training images afterwards.
codes: latents are discrete, made by `quantize`.
"""


class Prior(nn.Module):
    """p(z), a density or probability of latents.

    `settings_class` holds its settings. A field that is also a key of `model` in params.yaml is
    filled from there by name. All others are the prior's own, filled from `model.priors.<name>`,
    and have defaults.
    """

    settings_class: ClassVar[type[Section]] = Section
    kind: ClassVar[PriorKind] = "density"
    title: ClassVar[str] = "a prior"
    """What figures call it."""
    fitted: ClassVar[bool] = False
    """Whether `fit` is called after training."""
    conditional: ClassVar[bool] = False
    """Whether it can be p(z|y): then it is built with a number of `classes`, and its methods get
    one-hot labels [*batch, classes + 1], whose last number stands for an unknown label."""
    classes: int = 0
    """The number of labels that it sees, 0 where p(z|y) = p(z)."""

    def __init__(self, settings: Section, latent_dim: int, image_shape: Shape) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def log_prob(self, latents: Latents, encode: Encode) -> Float[Tensor, "*batch"]:
        """Return ln p(z) in nats; `encode` is the model's encoder, for priors that use it."""
        raise NotImplementedError

    def sample(
        self, count: int, generator: torch.Generator | None, encode: Encode
    ) -> Float[Tensor, "count latent"]:
        """Sample latents, on the prior's device."""
        raise NotImplementedError

    def quantize(self, latents: Latents) -> Latents:
        """Return the codes nearest to an encoder's outputs; only for priors of kind `codes`."""
        raise NotImplementedError

    def transfer(self, latents: Latents, source: OneHot, target: OneHot) -> Latents:
        """Return the latents that are under target labels what these are under source labels.

        As probable, and made of the same noise; the same latents where p(z|y) = p(z).
        """
        return latents

    def fit(self, latents: Float[Tensor, "images latent"], seed: int) -> None:
        """Set a fitted prior from one latent of each training image."""

    def initialize_from(self, images: Images) -> None:
        """Set parameters that start from training images, before training."""


def prior_class(name: str) -> type[Prior]:
    """Return the class in the file of that name; `auto` is the standard normal here."""
    file = "standard_normal" if name == AUTO else name
    cls: type[Prior] = importlib.import_module(f"vaelab.models.priors.{file}").PRIOR
    return cls


def build_prior(settings: ModelSettings, image_shape: Shape, classes: int = 0) -> Prior:
    """Build the prior that `model.prior` names. Raises UserError for its settings.

    `classes` counts the labels that a conditional model sees.
    """
    name = settings.prior
    cls, own = prior_class(name), settings.priors.get(name, {})
    chosen = fill_settings(cls.settings_class, settings, own, f"model.priors.{name}")
    labels = {"classes": classes} if classes and cls.conditional else {}
    return cls(chosen, resolve_sizes(settings, image_shape).latent_dim, image_shape, **labels)
