"""Feature spaces in which sets of images are compared; distances compare within one space only.

Heusel et al. 2017 (FID) and Bińkowski et al. 2018 (KID) use the features of one network: the
Inception of TensorFlow's model zoo of 2015, with its weights and its resizing. No space here uses
that network, so no distance here is an FID or a KID or comparable with published ones.
"""

import math
import pickle
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from vaelab.config import UserError
from vaelab.estimators import as_float64
from vaelab.evaluation.classifier import Classifier, features_and_classes
from vaelab.runtime.files import sha256

Images = Float[Tensor, "count channel height width"]
# The last batch may be short.
Batches = Iterable[Float[Tensor, "_ channel height width"]]
Features = Float[Tensor, "count feature"]

# Images with more pixels (channels x height x width) than this are downsampled by averaging.
MAX_PIXEL_FEATURES = 1_024

MAX_COMPONENTS = 64
# A component whose spread is below this share of the first one's counts as rounding error.
MIN_SPREAD = 1e-3
# Images that are all the same have singular values below this, by rounding.
ROUNDING = 1e-9

INCEPTION_SIZE = (299, 299)
INCEPTION_BATCH = 32


@runtime_checkable
class FeatureSpace(Protocol):
    """A map from images to features."""

    @property
    def name(self) -> str:
        """Prefix of the names of its metrics."""

    def features(self, images: Images) -> Features:
        """Compute the features of images in [0, 1], on the images' device or the CPU."""


@dataclass(frozen=True)
class ClassifierSpace:
    """The 64 features of a classifier trained on the labels of the same data set."""

    classifier: Classifier
    name: ClassVar[str] = "classifier"

    def features(self, images: Images) -> Features:
        """Compute the layer before the logits, each feature above -1."""
        return features_and_classes(self.classifier, images)[0]


@dataclass(frozen=True)
class PixelSpace:
    """The pixels themselves, at most 1,024 numbers.

    Larger images are averaged over squares of the smallest sufficient side: 28x28 gray images are
    unchanged, 32x32 and 64x64 color images become 16x16. Finer details are lost.
    """

    name: ClassVar[str] = "pixels"

    def features(self, images: Images) -> Features:
        """Compute the averages, channel by channel, each in [0, 1]."""
        _, channels, height, width = images.shape
        for side in range(1, max(height, width) + 1):
            size = (math.ceil(height / side), math.ceil(width / side))
            if channels * math.prod(size) <= MAX_PIXEL_FEATURES:
                break
        return functional.adaptive_avg_pool2d(images, size).flatten(1)


@dataclass(frozen=True)
class PCASpace:
    """The first principal components of the pixels of training images, each of variance 1 there.

    At most 64. They are whitened (`axes` are divided by the standard deviations), because
    otherwise Euclidean distances would nearly equal those of the space `pixels`: here directions
    of small variance count as much as those of large variance.
    """

    mean: Float64[Tensor, "pixel"]
    axes: Float64[Tensor, "pixel component"]
    name: ClassVar[str] = "pca"

    @classmethod
    def fit(cls, batches: Batches) -> "PCASpace":
        """Fit to at least two training images, by a singular value decomposition of their pixels.

        Images that are all the same have no component.
        """
        pixels = torch.cat([as_float64(PixelSpace().features(images)) for images in batches])
        mean = pixels.mean(0)
        # The factor R of centered pixels = Q R has their singular values and axes.
        factor = torch.linalg.qr(pixels - mean, mode="r").R
        values, axes = torch.linalg.svd(factor, full_matrices=False)[1:]
        kept = values[:MAX_COMPONENTS] > max(MIN_SPREAD * values[0].item(), ROUNDING)
        deviations = values[:MAX_COMPONENTS][kept] / math.sqrt(len(pixels) - 1)
        return cls(mean, axes[:MAX_COMPONENTS][kept].T / deviations)

    def features(self, images: Images) -> Features:
        """Compute the components, in standard deviations of the training images."""
        return (as_float64(PixelSpace().features(images)) - self.mean) @ self.axes


@dataclass(frozen=True)
class InceptionSpace:
    """The 2,048 averaged features of torchvision's inception_v3, with weights from a file.

    Szegedy et al. 2016. Even with torchvision's own weights it is not the network of FID, whose
    weights, resizing (without antialiasing) and pooling in some blocks differ. About 11 billion
    operations an image: minutes for some thousand images on a GPU, hours on a CPU.
    """

    network: nn.Module
    weights_sha256: str
    name: ClassVar[str] = "inception"

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "InceptionSpace":
        """Load the state dict that torchvision publishes, as .pth or .safetensors.

        Raises UserError for a file that is missing or has other contents.
        """
        # torchvision takes seconds to import and is needed only with weights.
        from torchvision.models import inception_v3

        with torch.device("meta"):
            network = inception_v3(weights=None, init_weights=False, aux_logits=False)
        network.fc = nn.Identity()
        try:
            features = {k: v for k, v in _read(path).items() if not k.startswith(_HEADS)}
            network.load_state_dict(features, assign=True)
        except _UNREADABLE as error:
            raise UserError(
                f"evaluate.inception_weights: {path}: {_reason(error)}; it must be the state "
                "dict of torchvision's inception_v3 (.pth or .safetensors), or null to leave it out"
            ) from error
        return cls(network.to(device).float().eval(), sha256(path))

    @torch.inference_mode()
    def features(self, images: Images) -> Features:
        """Compute the features; gray images are repeated in three channels."""
        return torch.cat([self._batch(part) for part in torch.split(images, INCEPTION_BATCH)])

    def _batch(self, images: Images) -> Features:
        color = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        resized = functional.interpolate(color, INCEPTION_SIZE, mode="bilinear", antialias=True)
        # torchvision's weights come from TensorFlow, whose inputs are in [-1, 1].
        features: Tensor = self.network(2 * resized - 1)
        return features


# Layers after the features: logits, and an auxiliary head for training
_HEADS = ("fc.", "AuxLogits.")

_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    pickle.UnpicklingError,
    SafetensorError,
)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError("it is not a state dict")
    return state


def _reason(error: Exception) -> str:
    """Return a short reason, at most 120 characters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return textwrap.shorten(str(error), 120) or type(error).__name__
