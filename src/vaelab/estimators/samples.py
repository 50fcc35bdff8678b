"""How good generated images are: by sets of features, and by their pixels alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.estimators import as_float64

Features = Float[Tensor, "count feature"]
Images = Float[Tensor, "count channel height width"]

# Of a matrix of pairs so many rows are in memory at a time, and as many images.
BLOCK = 250

# What float64 leaves undecided of |x - y|^2, as a share of |x|^2 + |y|^2
ROUNDING = 1e-12

# Power this small beside that of the mean is float64's rounding.
NO_POWER = 1e-24


@dataclass(frozen=True)
class PointSet:
    """A set of features in float64, with what its comparisons need to know of it alone.

    `covariance_factor` is R with R^T R the unbiased covariance, `mean_kernel` the kernel's mean
    over pairs of different points, `squared_radii` each point's squared distance to its k-th
    neighbour, k = `neighbours`.
    """

    points: Float64[Tensor, "count feature"]
    squared_norms: Float64[Tensor, "count"]
    covariance_factor: Float64[Tensor, "rank feature"]
    mean_kernel: Float64[Tensor, ""]
    squared_radii: Float64[Tensor, "count"]
    neighbours: int

    @classmethod
    def of(cls, features: Features, neighbours: int = 5, block: int = BLOCK) -> "PointSet":
        """Take up features, for k of 1 or more. Raises ValueError for k points or fewer."""
        count = len(features)
        if count <= neighbours:
            raise ValueError(f"needs {neighbours + 1} points or more, not {count}")
        points = as_float64(features)
        factor: Tensor = torch.linalg.qr(points - points.mean(0), mode="r").R
        norms = points.square().sum(1)
        kernel, radii = [], []
        for some, some_norms in _blocks(block, points, norms):
            products = some @ points.T
            kernel.append(_kernel(products, points.shape[1]).sum())
            squares = _squared_distances(products, some_norms, norms)
            # Of the k + 1 nearest, one is the point itself.
            radii.append(squares.topk(neighbours + 1, dim=1, largest=False).values[:, -1])
        of_itself = _kernel(norms, points.shape[1]).sum()
        return cls(
            points,
            norms,
            covariance_factor=factor / math.sqrt(count - 1),
            mean_kernel=(torch.stack(kernel).sum() - of_itself) / (count * (count - 1)),
            squared_radii=torch.cat(radii),
            neighbours=neighbours,
        )


@dataclass(frozen=True)
class SetComparison:
    """Generated points against real ones: distances, and fidelity and diversity by balls.

    A ball reaches from a point to its k-th neighbour in its own set. `precision` is the share of
    generated points inside a ball of the real ones, `recall` that of real points inside a ball of
    the generated ones. `density` is how many real balls hold a generated point, over k: it may
    exceed 1. `coverage` is the share of real balls that hold one.
    """

    frechet_distance: float
    kernel_distance: float
    precision: float
    recall: float
    density: float
    coverage: float


def compare(generated: PointSet, real: PointSet, block: int = BLOCK) -> SetComparison:
    """Compare two sets of the same features.

    The kernel distance is the squared maximum mean discrepancy, unbiased, so it may be negative:
    Gretton et al. 2012, equation 3, with the cubic kernel of Bińkowski et al. 2018, who name it
    KID on features of the Inception network; on any others it is no KID. Precision and recall:
    Kynkäänniemi et al. 2019, equations 1 and 2; density and coverage: Naeem et al. 2020; by
    Euclidean distance, with a ball's surface, up to rounding, part of it. Where two sets of one
    size have one law, density is 1 and coverage about 1 - 2^-k on average; precision and recall
    depend on that law. All in float64, from all pairs, `block` points against all at a time.
    """
    kernel, held, covered, reached = [], [], [], []
    own = (generated.points, generated.squared_norms, generated.squared_radii)
    for some, norms, radii in _blocks(block, *own):
        products = some @ real.points.T
        kernel.append(_kernel(products, some.shape[1]).sum())
        squares = _squared_distances(products, norms, real.squared_norms, ROUNDING)
        inside = squares <= real.squared_radii
        held.append(inside.sum(1))
        covered.append(inside.any(0))
        reached.append((squares <= radii[:, None]).any(0))
    balls, pairs = torch.cat(held).double(), len(generated.points) * len(real.points)
    within = generated.mean_kernel + real.mean_kernel
    return SetComparison(
        frechet_distance=frechet_distance(generated, real).item(),
        kernel_distance=(within - 2 * torch.stack(kernel).sum() / pairs).item(),
        precision=(balls > 0).double().mean().item(),
        recall=torch.stack(reached).any(0).double().mean().item(),
        density=balls.mean().item() / real.neighbours,
        coverage=torch.stack(covered).any(0).double().mean().item(),
    )


def frechet_distance(first: PointSet, second: PointSet) -> Float64[Tensor, ""]:
    """Squared Fréchet distance of Gaussians fitted to two sets, in squared units of the features.

    Dowson & Landau 1982. Heusel et al. 2017 name it FID on features of the Inception network: on
    any others it is no FID, and compares only sets whose features come from one network. Biased
    upward, the more the fewer the points.
    """
    shift = (first.points.mean(0) - second.points.mean(0)).square().sum()
    a, b = first.covariance_factor, second.covariance_factor
    # |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2). With S1 = A^T A and S2 = B^T B the last
    # root's eigenvalues are the singular values of A B^T: no square root of rounding is taken.
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
    """Give |x - y|^2 = |x|^2 + |y|^2 - 2 x . y, less the share `rounding` of |x|^2 + |y|^2."""
    lengths = (1 - rounding) * (norms[:, None] + other_norms)
    return torch.add(lengths, products, alpha=-2)


def _blocks(block: int, *columns: Float64[Tensor, "count ..."]) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(column, block) for column in columns), strict=True)


def sharpness(images: Images) -> Float[Tensor, "count"]:
    """Variance over pixels of each image's Laplacian, its channels averaged first.

    Pech-Pacheco et al. 2000, with the four-neighbour kernel and no padding. Blur lowers it, but
    noise raises it: read it beside `spectrum_slope`. Raises ValueError below 3x3 pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 3:
        raise ValueError(f"the Laplacian needs 3x3 pixels or more, not {height}x{width}")
    grey = images.mean(1)
    across = grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    down = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1]
    return (across + down - 4 * grey[:, 1:-1, 1:-1]).flatten(1).var(1, correction=0)


def sharpness_ratio(
    generated: Float[Tensor, "count"], real: Float[Tensor, "others"]
) -> float | None:
    """Median sharpness of generated images over that of real ones: below 1 where they blur.

    From the `sharpness` of each image; None where half of the real images are flat.
    """
    typical = real.quantile(0.5).item()
    return generated.quantile(0.5).item() / typical if typical else None


def mean_power(images: Images) -> Float64[Tensor, "height width"]:
    """Average the power spectrum |F|^2 over images and channels, its frequencies as in fft2."""
    total = as_float64(torch.zeros(images.shape[-2:], device=images.device))
    for some in torch.split(images, BLOCK):
        total = total + torch.fft.fft2(as_float64(some)).abs().square().sum((0, 1))
    return total / (images.shape[0] * images.shape[1])


def spectrum_slope(power: Float64[Tensor, "height width"]) -> float | None:
    """Slope of ln power against ln frequency, from the `mean_power` of images.

    Field 1987: about -2 for photographs; 0 for white noise, and steeper for what is smooth. Power
    is averaged over rings of the plane of frequencies, 1 to h // 2 cycles along the shorter side
    of h pixels, so that an image's mean does not count; no window is applied. None below 4x4
    pixels, which have no two rings, and where a ring has no power, as in flat images.
    """
    last = min(power.shape) // 2
    rings = _rings(*power.shape)
    sums = rings.bincount(power.cpu().flatten())
    per_ring = (sums / rings.bincount())[1 : last + 1]
    if last < 2 or per_ring.min() <= NO_POWER * power[0, 0].item():
        return None
    x, y = torch.arange(1, last + 1, dtype=torch.float64).log(), per_ring.log()
    centred = x - x.mean()
    return ((centred * y).sum() / centred.square().sum()).item()


def _rings(height: int, width: int) -> Int64[Tensor, "pixels"]:
    """Round each frequency to whole cycles along the shorter side, in the order of fft2."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    columns = torch.fft.fftfreq(width, dtype=torch.float64)
    return (min(height, width) * torch.hypot(rows, columns)).round().long().flatten()


def class_shares(predicted: Int64[Tensor, "count"], classes: int) -> Float64[Tensor, "classes"]:
    """Share of each class among predicted ones.

    Raises ValueError for no predictions, and for one outside of 0 to classes - 1.
    """
    if not len(predicted):
        raise ValueError("no predicted classes to take shares of")
    low, high = predicted.min().item(), predicted.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"classes run from 0 to {classes - 1}, not from {low} to {high}")
    return predicted.cpu().bincount(minlength=classes).double() / len(predicted)
