"""Whether the files of an evaluation fit one another, the model and the data."""

import numpy as np
from numpy.typing import NDArray

from vaelab.config import UserError
from vaelab.report.evaluation_result import EvaluationResult

# A name that is no size of the model or the data stands for one size in all arrays.
SHAPES = {
    "nll": ("scored",),
    "effective_sample_size": ("scored",),
    "samples_shown": ("shown", "channel", "height", "width"),
    "nearest_shown": ("shown", "channel", "height", "width"),
    "linear_interpolation": ("lines", "steps", "channel", "height", "width"),
    "spherical_interpolation": ("arcs", "steps", "channel", "height", "width"),
    "class_shares": ("class",),
    "class_shares_real": ("class",),
    "factor_mutual_information": ("factor", "latent"),
    "dci_importance": ("latent", "factor"),
    "factor_columns": ("factor",),
    "mean": ("image", "latent"),
}


def validate(subject: EvaluationResult) -> None:
    """Refuse arrays of other shapes than the page draws. Raises UserError."""
    sizes = _known_sizes(subject)
    means = {} if subject.means is None else {"mean": subject.means}
    for name, array in {**subject.arrays, **means}.items():
        if name in SHAPES:
            _check(name, array, SHAPES[name], sizes)
    for name, column in subject.dimensions.items():
        _check(f"column {name} of the dimensions", column, ("latent",), sizes)


def _known_sizes(subject: EvaluationResult) -> dict[str, int]:
    channel, height, width = subject.info.image_shape
    sizes = {"channel": channel, "height": height, "width": width}
    sizes |= {"latent": subject.description.model.latent_dim, "image": subject.info.counts["test"]}
    return sizes | ({"class": len(subject.classes)} if subject.classes else {})


def _check(
    name: str, array: NDArray[np.generic], shape: tuple[str, ...], sizes: dict[str, int]
) -> None:
    wanted = [sizes.get(part, part) for part in shape]
    if array.ndim == len(shape):
        wanted = [sizes.setdefault(part, n) for part, n in zip(shape, array.shape, strict=True)]
    if list(array.shape) != wanted:
        raise UserError(f"{name} has shape {list(array.shape)} instead of {wanted}")
    is_picture = "height" in shape
    if array.dtype != np.uint8 if is_picture else array.dtype.kind not in "biuf":
        kind = "bytes" if is_picture else "numbers"
        raise UserError(f"{name} holds {array.dtype} instead of {kind}")
    if not (is_picture or array.size):
        raise UserError(f"{name} holds nothing")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name} holds numbers that are not finite")
