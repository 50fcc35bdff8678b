"""Quality of generated images: by sets of features, and by their pixels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.estimators import as_float64

Features = Float[Tensor, "count feature"]
Images = Float[Tensor, "count channel height width"]

# Rows of a pairwise matrix, and images, that are in memory at a time
BLOCK = 250

# Rounding error of |x - y|^2 in float64, as a share of |x|^2 + |y|^2
ROUNDING = 1e-12

# Power below this share of the mean's power is rounding error of float64.
NO_POWER = 1e-24

# Iterations of the fit of a spectrum's slope at most; it takes about ten.
MAX_ITERATIONS = 100


@dataclass(frozen=True)
class PointSet:
    """A set of features in float64, with statistics that every comparison needs.

    `covariance_factor` is R with R^T R the unbiased covariance, `mean_kernel` the kernel's mean
    over pairs of different points, `squared_radii` each point's squared distance to its k-th
    neighbor, k = `neighbors`.
    """

    points: Float64[Tensor, "count feature"]
    squared_norms: Float64[Tensor, "count"]
    covariance_factor: Float64[Tensor, "rank feature"]
    mean_kernel: Float64[Tensor, ""]
    squared_radii: Float64[Tensor, "count"]
    neighbors: int

    @classmethod
    def from_features(
        cls, features: Features, neighbors: int = 5, block: int = BLOCK
    ) -> "PointSet":
        """Compute the statistics, k of 1 or more. Raises ValueError for k points or fewer."""
        count = len(features)
        if count <= neighbors:
            raise ValueError(
                f"needs at least {neighbors + 1} points for {neighbors} neighbors, got {count}"
            )
        points = as_float64(features)
        factor: Tensor = torch.linalg.qr(points - points.mean(0), mode="r").R
        norms = points.square().sum(1)
        kernel, radii = [], []
        for rows, row_norms in _blocks(block, points, norms):
            products = rows @ points.T
            kernel.append(_kernel(products, points.shape[1]).sum())
            squares = _squared_distances(products, row_norms, norms)
            # The point itself is one of the k + 1 nearest.
            radii.append(squares.topk(neighbors + 1, dim=1, largest=False).values[:, -1])
        diagonal = _kernel(norms, points.shape[1]).sum()
        return cls(
            points,
            norms,
            covariance_factor=factor / math.sqrt(count - 1),
            mean_kernel=(torch.stack(kernel).sum() - diagonal) / (count * (count - 1)),
            squared_radii=torch.cat(radii),
            neighbors=neighbors,
        )


@dataclass(frozen=True)
class SetComparison:
    """Generated points compared with real ones: distances, fidelity and diversity.

    The ball of a point reaches to its k-th neighbor in its own set. `precision` is the share of
    generated points inside a ball of the real ones, `recall` that of real points inside a ball of
    the generated ones. `density` is the mean number of real balls that contain a generated point,
    over k: it may exceed 1. `coverage` is the share of real balls that contain one.
    """

    frechet_distance: float
    kernel_distance: float
    precision: float
    recall: float
    density: float
    coverage: float


def compare_sets(generated: PointSet, real: PointSet, block: int = BLOCK) -> SetComparison:
    """Compare two sets of the same features.

    The kernel distance is the squared maximum mean discrepancy, unbiased, so it may be negative:
    Gretton et al. 2012, equation 3, with the cubic kernel of Bińkowski et al. 2018, who name it
    KID on features of the Inception network; on other features it is not KID. Precision and recall:
    Kynkäänniemi et al. 2019, equations 1 and 2; density and coverage: Naeem et al. 2020; by
    Euclidean distance, with a ball's surface, up to rounding, part of it. For two sets of one size
    from one distribution, density is 1 and coverage about 1 - 2^-k on average; precision and
    recall depend on the distribution. In float64, from all pairs, `block` points at a time.
    """
    kernel, balls_per_point, covered, recalled = [], [], [], []
    columns = (generated.points, generated.squared_norms, generated.squared_radii)
    for points, norms, radii in _blocks(block, *columns):
        products = points @ real.points.T
        kernel.append(_kernel(products, points.shape[1]).sum())
        squares = _squared_distances(products, norms, real.squared_norms, ROUNDING)
        inside = squares <= real.squared_radii
        balls_per_point.append(inside.sum(1))
        covered.append(inside.any(0))
        recalled.append((squares <= radii[:, None]).any(0))
    balls, pairs = torch.cat(balls_per_point).double(), len(generated.points) * len(real.points)
    within = generated.mean_kernel + real.mean_kernel
    return SetComparison(
        frechet_distance=frechet_distance(generated, real).item(),
        kernel_distance=(within - 2 * torch.stack(kernel).sum() / pairs).item(),
        precision=(balls > 0).double().mean().item(),
        recall=torch.stack(recalled).any(0).double().mean().item(),
        density=balls.mean().item() / real.neighbors,
        coverage=torch.stack(covered).any(0).double().mean().item(),
    )


def frechet_distance(first: PointSet, second: PointSet) -> Float64[Tensor, ""]:
    """Compute the squared Fréchet distance of Gaussians fitted to two sets.

    In squared units of the features. Dowson & Landau 1982. Heusel et al. 2017 name it FID on
    features of the Inception network: on other features it is not FID, and values compare only
    within one feature space. Biased upward, the more so the fewer the points.
    """
    shift = (first.points.mean(0) - second.points.mean(0)).square().sum()
    a, b = first.covariance_factor, second.covariance_factor
    # |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2). With S1 = A^T A and S2 = B^T B the last
    # root's eigenvalues are the singular values of A B^T: no matrix root is computed.
    overlap: Tensor = torch.linalg.svdvals(a @ b.T).sum()
    return (shift + a.square().sum() + b.square().sum() - 2 * overlap).clamp_min(0)


def _kernel(products: Float64[Tensor, "*shape"], features: int) -> Float64[Tensor, "*shape"]:
    # k(x, y) = (x . y / d + 1)^3
    return (products / features + 1) ** 3


def _squared_distances(
    products: Float64[Tensor, "count others"],
    norms: Float64[Tensor, "count"],
    other_norms: Float64[Tensor, "others"],
    rounding: float = 0.0,
) -> Float64[Tensor, "count others"]:
    """Compute |x|^2 + |y|^2 - 2 x . y, minus the share `rounding` of |x|^2 + |y|^2."""
    lengths = (1 - rounding) * (norms[:, None] + other_norms)
    return torch.add(lengths, products, alpha=-2)


def _blocks(block: int, *columns: Float64[Tensor, "count ..."]) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(column, block) for column in columns), strict=True)


def sharpness(images: Images) -> Float[Tensor, "count"]:
    """Compute the variance over pixels of each image's Laplacian, channels averaged first.

    Pech-Pacheco et al. 2000, with the four-neighbor kernel and no padding. Blur lowers it, but
    noise raises it: compare with `spectrum_slope`. Raises ValueError below 3x3 pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 3:
        raise ValueError(f"the Laplacian needs at least 3x3 pixels, got {height}x{width}")
    gray = images.mean(1)
    across = gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:]
    down = gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1]
    return (across + down - 4 * gray[:, 1:-1, 1:-1]).flatten(1).var(1, correction=0)


def sharpness_ratio(
    generated: Float[Tensor, "count"], real: Float[Tensor, "others"]
) -> float | None:
    """Compute the median sharpness of generated over that of real images: below 1 for blur.

    From the `sharpness` of each image; None where half of the real images are flat.
    """
    typical = real.quantile(0.5).item()
    return generated.quantile(0.5).item() / typical if typical else None


def mean_power(images: Images) -> Float64[Tensor, "height width"]:
    """Average the power spectrum |F|^2 over images and channels, frequencies as in fft2."""
    total = as_float64(torch.zeros(images.shape[-2:], device=images.device))
    for block in torch.split(images, BLOCK):
        total = total + torch.fft.fft2(as_float64(block)).abs().square().sum((0, 1))
    return total / (images.shape[0] * images.shape[1])


def spectrum_slope(power: Float64[Tensor, "height width"]) -> float | None:
    """Compute the slope of ln power against ln frequency, from the `mean_power` of images.

    Field 1987: about -2 for photographs, 0 for white noise, and steeper for smooth images. Power
    is averaged over rings of the frequency plane, 1 to h // 2 cycles along the shorter side of h
    pixels, so an image's mean does not count. A ring stands at the frequency at which the fitted
    power law has the ring's mean power, so a power law of any exponent is found: at their nominal
    frequencies the inner rings, which have more frequencies beyond it than below, would make
    slopes shallower by 4 % for 28x28 pixels and by 10 % for 8x8. No window is applied: what
    differs between opposite edges leaks into high frequencies, so steep slopes are flattened
    (noise of -3, cut from a larger image, has -2.8). None below 4x4 pixels, which have fewer than
    two rings, and where a ring has no power, as in flat images.
    """
    frequencies = _frequencies(*power.shape)
    rings, last = frequencies.round().long(), min(power.shape) // 2
    counts = rings.bincount()
    per_ring = (rings.bincount(power.cpu().flatten()) / counts)[1 : last + 1]
    if last < 2 or per_ring.min() <= NO_POWER * power[0, 0].item():
        return None
    logs, slope = frequencies.clamp_min(0.5).log(), 0.0
    for _ in range(MAX_ITERATIONS):
        # ln of the ring's mean of f^slope, over the slope; at slope 0 its limit, the mean of ln f
        means = rings.bincount(logs if slope == 0 else (slope * logs).exp()) / counts
        at = (means if slope == 0 else means.log() / slope)[1 : last + 1]
        before, slope = slope, _regression_slope(at, per_ring.log())
        if abs(slope - before) < 1e-12:
            break
    return slope


def _regression_slope(x: Float64[Tensor, "rings"], y: Float64[Tensor, "rings"]) -> float:
    centered = x - x.mean()
    return ((centered * y).sum() / centered.square().sum()).item()


def _frequencies(height: int, width: int) -> Float64[Tensor, "pixels"]:
    """Return each frequency in cycles along the shorter side, in the order of fft2."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    columns = torch.fft.fftfreq(width, dtype=torch.float64)
    return (min(height, width) * torch.hypot(rows, columns)).flatten()


def class_shares(predicted: Int64[Tensor, "count"], classes: int) -> Float64[Tensor, "classes"]:
    """Compute the share of each class among predicted classes.

    Raises ValueError for no predictions, and for one outside of 0 to classes - 1.
    """
    if not len(predicted):
        raise ValueError("class shares need at least one prediction")
    low, high = predicted.min().item(), predicted.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"predicted classes must be from 0 to {classes - 1}, got {low} to {high}")
    return predicted.cpu().bincount(minlength=classes).double() / len(predicted)
