"""How good generated images are: by features of a classifier, and by their pixels alone."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from vaelab.estimators import as_float64

Features = Float[Tensor, "count feature"]
OtherFeatures = Float[Tensor, "others feature"]
Images = Float[Tensor, "count channel height width"]

# Rows of a matrix of pairs, and images, that are in memory at a time.
BLOCK = 1_000


@dataclass(frozen=True)
class ManifoldMetrics:
    """Fidelity and diversity by balls around the points of each set, to their k-th neighbour.

    `precision` is the share of generated points inside a ball of the real ones, `recall` that of
    real points inside a ball of the generated ones. `density` is how many real balls hold a
    generated point, over k: it may exceed 1. `coverage` is the share of real balls that hold one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(first: Features, second: OtherFeatures) -> Float64[Tensor, ""]:
    """Squared Fréchet distance of Gaussians fitted to two sets, in squared units of the features.

    Dowson & Landau 1982. Heusel et al. 2017 name it FID on features of the Inception network: on
    any others it is no FID, and compares only sets whose features come from one network. Biased
    upward, the more the fewer the points. Computed in float64, with unbiased covariances. Raises
    ValueError for a set of fewer than two.
    """
    _need(2, first, second)
    x, y = as_float64(first), as_float64(second)
    shift = (x.mean(0) - y.mean(0)).square().sum()
    a, b = _covariance_factor(x), _covariance_factor(y)
    # |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2). With S1 = A^T A and S2 = B^T B the last
    # root's eigenvalues are the singular values of A B^T: no square root of rounding is taken.
    overlap: Tensor = torch.linalg.svdvals(a @ b.T).sum()
    return (shift + a.square().sum() + b.square().sum() - 2 * overlap).clamp_min(0)


def _covariance_factor(
    points: Float64[Tensor, "count feature"],
) -> Float64[Tensor, "rank feature"]:
    """Give R, with R^T R the unbiased covariance."""
    factor: Tensor = torch.linalg.qr(points - points.mean(0), mode="r").R
    return factor / math.sqrt(len(points) - 1)


def kernel_distance(first: Features, second: OtherFeatures) -> Float64[Tensor, ""]:
    """Squared maximum mean discrepancy of two sets, unbiased, so it may be negative.

    Gretton et al. 2012, equation 3, with the cubic kernel of Bińkowski et al. 2018, who name it
    KID on features of the Inception network: on any others it is no KID. Computed in float64, from
    all pairs. Raises ValueError for a set of fewer than two.
    """
    _need(2, first, second)
    x, y = as_float64(first), as_float64(second)
    between = _kernel_sum(x, y) / (len(x) * len(y))
    return _mean_of_other_pairs(x) + _mean_of_other_pairs(y) - 2 * between


def _mean_of_other_pairs(points: Float64[Tensor, "count feature"]) -> Float64[Tensor, ""]:
    count = len(points)
    of_itself = _kernel(points.square().sum(1), points.shape[1]).sum()
    return (_kernel_sum(points, points) - of_itself) / (count * (count - 1))


def _kernel_sum(
    first: Float64[Tensor, "count feature"], second: Float64[Tensor, "others feature"]
) -> Float64[Tensor, ""]:
    blocks = [_kernel(rows @ second.T, first.shape[1]).sum() for rows in torch.split(first, BLOCK)]
    return torch.stack(blocks).sum()


def _kernel(products: Float64[Tensor, "*shape"], features: int) -> Float64[Tensor, "*shape"]:
    # k(x, y) = (x . y / d + 1)^3
    return (products / features + 1) ** 3


def manifold_metrics(
    real: Features, generated: OtherFeatures, neighbours: int = 5, block: int = BLOCK
) -> ManifoldMetrics:
    """Precision, recall, density and coverage of generated points, k = `neighbours`.

    Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020; by Euclidean distance, with a
    ball's surface part of it. `block` points at a time are compared with all others. Where two
    sets of one size have one law, density is 1 and coverage about 1 - 2^-k on average; precision
    and recall depend on that law. Raises ValueError for a set of k points or fewer.
    """
    _need(neighbours + 1, real, generated)
    real_radii, generated_radii = (_radii(x, neighbours, block) for x in (real, generated))
    held, covered, reached = [], [], []
    for rows in torch.split(torch.arange(len(generated), device=generated.device), block):
        distances = _distances(generated[rows], real)
        inside = distances <= real_radii
        held.append(inside.sum(1))
        covered.append(inside.any(0))
        reached.append((distances <= generated_radii[rows, None]).any(0))
    balls = torch.cat(held)
    return ManifoldMetrics(
        precision=_mean(balls > 0),
        recall=_mean(torch.stack(reached).any(0)),
        density=_mean(balls) / neighbours,
        coverage=_mean(torch.stack(covered).any(0)),
    )


def _radii(points: Features, neighbours: int, block: int) -> Float[Tensor, "count"]:
    """Measure how far each point's k-th neighbour is; of k + 1 nearest, one is the point."""
    nearest = [
        _distances(rows, points).topk(neighbours + 1, dim=1, largest=False).values[:, -1]
        for rows in torch.split(points, block)
    ]
    return torch.cat(nearest)


def _mean(values: Shaped[Tensor, "count"]) -> float:
    return values.sum().item() / len(values)


def _distances(first: Features, second: OtherFeatures) -> Float[Tensor, "count others"]:
    # By differences: equal points are at exactly 0, and the distance is the same both ways.
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def sharpness(images: Images) -> Float[Tensor, "count"]:
    """Variance over pixels of each image's Laplacian, its channels averaged first.

    Pech-Pacheco et al. 2000, with the four-neighbour kernel and no padding. Blur lowers it, but
    noise raises it: read it beside `spectrum_slope`. Raises ValueError below 3x3 pixels.
    """
    if min(images.shape[-2:]) < 3:
        raise ValueError(f"the Laplacian needs 3x3 pixels or more, not {_size(images)}")
    grey = images.mean(1)
    across = grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    down = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1]
    return (across + down - 4 * grey[:, 1:-1, 1:-1]).flatten(1).var(1, correction=0)


def sharpness_ratio(generated: Images, real: Float[Tensor, "others channel height width"]) -> float:
    """Median sharpness of generated images over that of real ones: below 1 where they blur.

    Raises ValueError below 3x3 pixels, and where half of the real images are flat.
    """
    typical = sharpness(real).quantile(0.5).item()
    if typical == 0:
        raise ValueError("half of the real images are flat, so no sharpness compares with theirs")
    return sharpness(generated).quantile(0.5).item() / typical


def spectrum_slope(images: Images) -> float:
    """Slope of ln power against ln frequency, from the power spectrum averaged over images.

    Field 1987: about -2 for photographs; 0 for white noise, and steeper for what is smooth. Power
    is averaged over rings of the plane of frequencies, 1 to h // 2 cycles along the shorter side
    of h pixels, so that an image's mean does not count; no window is applied. Raises ValueError
    below 4x4 pixels, which have no two rings, and for flat images.
    """
    shorter = min(images.shape[-2:])
    if shorter < 4:
        raise ValueError(f"a slope needs 4x4 pixels or more, not {_size(images)}")
    if (images.amax((-2, -1)) == images.amin((-2, -1))).all():
        raise ValueError("flat images have no power at any frequency")
    rings = _rings(*images.shape[-2:])
    power = _mean_power(images).cpu()
    per_ring = rings.bincount(power.flatten()) / rings.bincount()
    frequencies = torch.arange(1, shorter // 2 + 1, dtype=torch.float64)
    x, y = frequencies.log(), per_ring[1 : shorter // 2 + 1].log()
    centred = x - x.mean()
    return ((centred * y).sum() / centred.square().sum()).item()


def _mean_power(images: Images) -> Float64[Tensor, "height width"]:
    """Average |F|^2 over images and channels."""
    total = as_float64(torch.zeros(images.shape[-2:], device=images.device))
    for some in torch.split(images, BLOCK):
        total = total + torch.fft.fft2(as_float64(some)).abs().square().sum((0, 1))
    return total / (images.shape[0] * images.shape[1])


def _rings(height: int, width: int) -> Int64[Tensor, "pixels"]:
    """Round each frequency to whole cycles along the shorter side, in the order of fft2."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    columns = torch.fft.fftfreq(width, dtype=torch.float64)
    return (min(height, width) * torch.hypot(rows, columns)).round().long().flatten()


def class_shares(predicted: Int64[Tensor, "count"], classes: int) -> Float[Tensor, "classes"]:
    """Share of each class among predicted ones.

    Raises ValueError for no predictions, and for one outside of 0 to classes - 1.
    """
    if not len(predicted):
        raise ValueError("no predicted classes to take shares of")
    low, high = predicted.min().item(), predicted.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"classes run from 0 to {classes - 1}, not from {low} to {high}")
    return predicted.bincount(minlength=classes) / len(predicted)


def _need(count: int, first: Features, second: OtherFeatures) -> None:
    if min(len(first), len(second)) < count:
        raise ValueError(f"needs {count} points or more, not {len(first)} and {len(second)}")


def _size(images: Images) -> str:
    return "x".join(str(side) for side in images.shape[-2:])
