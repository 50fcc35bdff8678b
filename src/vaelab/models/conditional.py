"""Models of images with labels: the conditional VAE, Sohn et al. 2015, sections 4 and 5.

Encoder, decoder and prior see the label y: q(z|x,y), p(x|z,y), p(z|y). The prior is another one for
each label where it is a flow, and p(z|y) = p(z) where it is one of the other priors.

A label that is not known, -1, is one more label. Training hides some labels, so that the model also
works without them (Ho & Salimans 2022, section 3.2: classifier-free guidance).
"""

import copy
import math
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vaelab.config import ModelSettings, UserError
from vaelab.models.networks import Network, Shape

UNKNOWN = -1

Labels = Int64[Tensor, "*labels"]
OneHot = Float[Tensor, "batch label"]
Images = Float[Tensor, "batch channel height width"]
Latents = Float[Tensor, "batch latent"]
AnyModel = TypeVar("AnyModel", bound="LabeledModule")


class ConditionalNetwork(nn.Module):
    """A network that sees the label beside its input, as a one-hot vector of classes + 1 numbers.

    The last number stands for an unknown label.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes


class ConditionalEncoder(ConditionalNetwork):
    """An encoder of images with one more channel: a learned image of each label, first black."""

    def __init__(self, network: nn.Module, classes: int, image_size: tuple[int, int]) -> None:
        super().__init__(network, classes)
        self.image_size = image_size
        self.planes = nn.Parameter(torch.zeros(classes + 1, image_size[0] * image_size[1]))

    def forward(self, images: Images, labels: OneHot) -> Float[Tensor, "batch outputs"]:
        """Return the outputs for images [batch, channel, height, width] and their labels."""
        planes = (labels @ self.planes).view(-1, 1, *self.image_size)
        outputs: Tensor = self.network(torch.cat([images, planes], dim=1))
        return outputs


class ConditionalDecoder(ConditionalNetwork):
    """A decoder of latents beside the one-hot label.

    The label is multiplied by `label_scale`, the norm of a latent of N(0, I), so that it counts as
    much as the latent from the start. `label_frequencies` [classes] are those of the training
    split.
    """

    label_frequencies: Tensor

    def __init__(self, network: nn.Module, classes: int, latent_dim: int) -> None:
        super().__init__(network, classes)
        self.label_scale = math.sqrt(latent_dim)
        self.register_buffer("label_frequencies", torch.full((classes,), 1 / classes))

    def forward(self, latents: Latents, labels: OneHot) -> Float[Tensor, "batch *outputs"]:
        """Return the outputs for latents [batch, latent] and their labels."""
        outputs: Tensor = self.network(torch.cat([latents, self.label_scale * labels], dim=1))
        return outputs


class LabeledModule(nn.Module):
    """What depends on labels in a model of `networks`; without conditional ones, nothing does.

    `labels` are those of the images that the model is applied to, set by `given`; None where all
    are unknown.
    """

    networks: nn.ModuleDict
    labels: Labels | None = None

    @property
    def classes(self) -> int:
        """The number of labels that the networks see; 0 for an unconditional model."""
        network = getattr(self.networks, "decoder", None)
        return network.classes if isinstance(network, ConditionalNetwork) else 0

    def given(self: AnyModel, labels: Labels | None) -> AnyModel:
        """Return the model of images with these labels, which shares all its networks.

        Labels broadcast to the leading dimensions of images and latents: [batch] fits [batch] and
        [samples, batch]. -1 is an unknown label; None means that all are unknown. An unconditional
        model is returned as it is. Raises ValueError for a label that the model does not have.
        """
        if not self.classes:
            return self
        # Labels on a GPU come from a data set, whose labels were checked when it was opened.
        if labels is not None and labels.numel() and labels.device.type == "cpu":
            low, high = int(labels.min()), int(labels.max())
            if low < UNKNOWN or high >= self.classes:
                wrong = low if low < UNKNOWN else high
                raise ValueError(f"label {wrong} is out of range: 0 to {self.classes - 1}, or -1")
        view = copy.copy(self)
        view.labels = labels
        return view

    def given_rows(self: AnyModel, rows: Tensor | slice) -> AnyModel:
        """Return the model given its labels [batch] at some rows; without labels, itself."""
        return self if self.labels is None else self.given(self.labels[rows])

    def with_columns(self: AnyModel) -> AnyModel:
        """Return the model for latents [images, columns, latent]; a row has its image's label."""
        return self if self.labels is None else self.given(self.labels[:, None])

    def with_sampled_labels(self: AnyModel, count: int, generator: torch.Generator) -> AnyModel:
        """Return the model given `count` labels, sampled by their frequency in the training split.

        A model that is given labels, or is unconditional, is returned as it is.
        """
        if not self.classes or self.labels is not None:
            return self
        shares = self.label_frequencies
        return self.given(torch.multinomial(shares, count, replacement=True, generator=generator))

    @property
    def label_frequencies(self) -> Float[Tensor, "classes"]:
        """The frequency of each label in the training split; only of conditional models."""
        decoder = self.networks["decoder"]
        assert isinstance(decoder, ConditionalDecoder)
        return decoder.label_frequencies

    @torch.no_grad()
    def set_label_frequencies(self, counts: Int64[Tensor, "classes"] | None) -> None:
        """Set the frequencies of labels from their numbers in the training split."""
        if self.classes and counts is not None:
            self.label_frequencies.copy_(counts / counts.sum())

    def one_hot_labels(self, leading: torch.Size) -> Float[Tensor, "*leading label"]:
        """Return the one-hot labels, [*leading, classes + 1], of images or latents."""
        device = next(self.networks.parameters()).device
        labels = torch.tensor(UNKNOWN) if self.labels is None else self.labels
        rows = labels.to(device).expand(leading)[..., None]
        rows = torch.where(rows == UNKNOWN, self.classes, rows)
        return (rows == torch.arange(self.classes + 1, device=device)).float()


def hide_labels(
    labels: Int64[Tensor, "batch"], share: float, generator: torch.Generator
) -> Int64[Tensor, "batch"]:
    """Return labels, each replaced by -1 with a probability of `share`."""
    hidden = torch.rand(labels.shape, generator=generator, device=labels.device) < share
    return torch.where(hidden, UNKNOWN, labels)


def conditional_classes(settings: ModelSettings, classes: int) -> int:
    """Return the number of labels that a model sees: `classes`, those of the data set, or 0.

    Raises UserError for a conditional model of images without labels.
    """
    if settings.conditional == "none":
        return 0
    if classes < 1:
        raise UserError(
            "model.conditional: labels needs images with labels, and the data set has none; "
            "set model.conditional: none"
        )
    return classes


def build_encoder(family: Network, shape: Shape, outputs: int, classes: int) -> nn.Module:
    """Build an encoder of images [batch, *shape] that sees a label, unless `classes` is 0."""
    if not classes:
        return family.encoder(shape, outputs)
    channels, height, width = shape
    network = family.encoder((channels + 1, height, width), outputs)
    return ConditionalEncoder(network, classes, (height, width))


def build_decoder(family: Network, latents: int, shape: Shape, classes: int) -> nn.Module:
    """Build a decoder to images [batch, *shape] that sees a label, unless `classes` is 0."""
    if not classes:
        return family.decoder(latents, shape)
    return ConditionalDecoder(family.decoder(latents + classes + 1, shape), classes, latents)
