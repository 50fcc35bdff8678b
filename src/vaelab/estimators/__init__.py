"""Estimators: pure functions of tensors and distributions. Information is in nats.

scikit-learn and scipy.stats take a second to import, so functions import them where needed.
"""

from jaxtyping import Float, Float64
from torch import Tensor


def as_float64(values: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Convert to float64; on the CPU where the device (Apple's MPS) has no float64."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def mean_over_images(values: Float[Tensor, "images"]) -> float:
    """Return the mean over images, computed in float64."""
    return as_float64(values).mean().item()
