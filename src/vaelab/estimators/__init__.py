"""Estimators: pure functions of tensors and distributions. Information is in nats.

scikit-learn and scipy.stats take a second to import, so whoever asks for them imports them then.
"""

from jaxtyping import Float, Float64
from torch import Tensor


def as_float64(values: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Widen to float64; on the CPU where the device, as Apple's MPS, has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def mean_over_images(values: Float[Tensor, "images"]) -> float:
    """Average by image count, in float64."""
    return as_float64(values).mean().item()
