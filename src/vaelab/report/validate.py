"""Checks that the files of an evaluation fit one another, the model and the data."""

import numpy as np
from numpy.typing import NDArray

from vaelab.config import UserError
from vaelab.report.evaluation_result import EvaluationResult

# The shape of each array. A name that is not a size of the model or the data stands for the same
# size in all arrays.
SHAPES = {
    "nll": ("scored",),
    "effective_sample_size": ("scored",),
    "samples_shown": ("shown", "channel", "height", "width"),
    "nearest_shown": ("shown", "channel", "height", "width"),
    "nearest_rows": ("shown",),
    "sampler_samples_shown": ("shown", "channel", "height", "width"),
    "sampler_nearest_shown": ("shown", "channel", "height", "width"),
    "sampler_nearest_rows": ("shown",),
    "linear_interpolation": ("lines", "steps", "channel", "height", "width"),
    "spherical_interpolation": ("arcs", "steps", "channel", "height", "width"),
    "class_shares": ("class",),
    "class_shares_real": ("class",),
    "sampler_class_shares": ("class",),
    "factor_mutual_information": ("factor", "latent"),
    "dci_importance": ("latent", "factor"),
    "factor_columns": ("factor",),
    "map_points": ("mapped", "coordinate"),
    "map_rows": ("mapped",),
    "mean": ("image", "latent"),
    "reconstruction_mean_squared_error": ("image",),
    "reconstruction_psnr_db": ("image",),
    "reconstruction_ssim": ("image",),
}


def validate(result: EvaluationResult) -> None:
    """Raise UserError for arrays of a wrong shape or type, or with numbers that are not finite."""
    sizes = _known_sizes(result)
    means = {} if result.means is None else {"mean": result.means}
    for name, array in {**result.arrays, **means}.items():
        if name in SHAPES:
            _check(name, array, SHAPES[name], sizes)
        if name.endswith("nearest_rows"):
            _check_rows(name, array, result.info.counts["train"], "training")
        if name == "map_rows":
            _check_rows(name, array, result.info.counts["test"], "test")
    for name, column in result.dimensions.items():
        _check(f"column {name} of the dimensions", column, ("latent",), sizes)


def _check_rows(name: str, rows: NDArray[np.generic], count: int, split: str) -> None:
    if rows.dtype.kind not in "iu" or not all(0 <= r < count for r in rows.tolist()):
        raise UserError(f"{name} are not all rows of the {count} {split} images")


def _known_sizes(result: EvaluationResult) -> dict[str, int]:
    channel, height, width = result.info.image_shape
    sizes = {"channel": channel, "height": height, "width": width}
    sizes |= {"latent": result.description.model.latent_dim, "image": result.info.counts["test"]}
    sizes["coordinate"] = 2
    return sizes | ({"class": len(result.classes)} if result.classes else {})


def _check(
    name: str, array: NDArray[np.generic], shape: tuple[str, ...], sizes: dict[str, int]
) -> None:
    expected = [sizes.get(axis, axis) for axis in shape]
    if array.ndim == len(shape):
        expected = [sizes.setdefault(axis, n) for axis, n in zip(shape, array.shape, strict=True)]
    if list(array.shape) != expected:
        raise UserError(f"{name} has shape {list(array.shape)} instead of {expected}")
    is_image = "height" in shape
    if array.dtype != np.uint8 if is_image else array.dtype.kind not in "biuf":
        kind = "bytes" if is_image else "numbers"
        raise UserError(f"{name} holds {array.dtype} instead of {kind}")
    if not (is_image or array.size):
        raise UserError(f"{name} is empty")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name} holds numbers that are not finite")
