"""Sample metrics: closed forms, loops; perfect, collapsed and useless generators."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import linalg, optimize
from torch import Tensor
from torch.nn import functional

from tests.oracles import STANDARD_ERRORS, assert_mean, rand, randn
from vaelab.estimators import samples
from vaelab.estimators.samples import (
    PointSet,
    SetComparison,
    class_shares,
    mean_power,
    sharpness,
)

Points = list[list[float]]
Ball = tuple[list[float], float]


def frechet_distance(first: Tensor, second: Tensor) -> float:
    return samples.frechet_distance(
        PointSet.from_features(first, 1), PointSet.from_features(second, 1)
    ).item()


def kernel_distance(first: Tensor, second: Tensor) -> float:
    return samples.compare_sets(
        PointSet.from_features(first, 1), PointSet.from_features(second, 1)
    ).kernel_distance


def compared(real: Tensor, generated: Tensor, k: int = 5, block: int = 250) -> SetComparison:
    return samples.compare_sets(
        PointSet.from_features(generated, k, block), PointSet.from_features(real, k, block), block
    )


def balls_of(found: SetComparison) -> dict[str, float]:
    return {k: v for k, v in vars(found).items() if not k.endswith("distance")}


def sharpness_ratio(generated: Tensor, real: Tensor) -> float:
    found = samples.sharpness_ratio(sharpness(generated), sharpness(real))
    assert found is not None
    return found


def slope_or_none(images: Tensor) -> float | None:
    return samples.spectrum_slope(mean_power(images))


def spectrum_slope(images: Tensor) -> float:
    found = slope_or_none(images)
    assert found is not None
    return found


def whitened(count: int, size: int) -> Tensor:
    """Points of mean 0 whose unbiased covariance is exactly I."""
    points = randn(count, size, dtype=torch.float64)
    left: Tensor = torch.linalg.svd(points - points.mean(0), full_matrices=False).U
    return left * math.sqrt(count - 1)


def correlated(count: int, size: int, seed: int) -> Tensor:
    mixing = randn(size, size, seed=seed + 100, dtype=torch.float64)
    return randn(count, size, seed=seed, dtype=torch.float64) @ mixing + seed


def shuffled(points: Tensor) -> Tensor:
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))]


def blurred(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_frechet_distance_of_gaussians_with_isotropic_covariances(scale):
    first, shift = whitened(50, 4), torch.tensor([1.0, -2.0, 0.0, 0.5]).double()
    # |m|^2 + d (1 - s)^2
    expected = shift.square().sum().item() + 4 * (1 - scale) ** 2
    found = frechet_distance(first, scale * first.flip(0) + shift)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [40, 3], ids=["full_rank", "fewer_points_than_features"])
def test_frechet_distance_matches_the_formula_with_matrix_roots(count):
    first, second = correlated(count, 5, 1), correlated(30, 5, 2)
    s1, s2 = (np.cov(x.numpy(), rowvar=False) for x in (first, second))
    values, vectors = np.linalg.eigh(s1)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    inner = np.maximum(linalg.eigvalsh(half @ s2 @ half), 0)
    shift = (first.mean(0) - second.mean(0)).square().sum().item()
    expected = shift + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(inner).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_symmetric_and_rotation_invariant():
    first, second = correlated(40, 5, 1), correlated(30, 5, 2)
    expected = pytest.approx(frechet_distance(first, second), rel=1e-12)
    assert frechet_distance(shuffled(first), shuffled(second)) == expected
    assert frechet_distance(second, first) == expected


@pytest.mark.parametrize("rank", [1, 5])
def test_frechet_distance_of_a_set_to_itself_is_zero(rank):
    # At rank 1 most features are copies: roots of rounded eigenvalues would leave about 1e-7.
    for seed in range(5):
        points = correlated(40, 5, seed)[:, :rank] @ torch.ones(rank, 5).double()
        assert 0 <= frechet_distance(points, shuffled(points)) < 1e-11


def test_frechet_distance_of_samples_of_one_distribution_falls_with_their_number():
    means = []
    for count in (20, 80, 320):
        pairs = ((randn(count, 5, seed=i), randn(count, 5, seed=i + 500)) for i in range(50))
        means.append(np.mean([frechet_distance(x, y) for x, y in pairs]))
    assert all(small < large / 2 for large, small in pairwise(means))
    assert means[-1] > 0


def test_kernel_distance_matches_the_sum_over_pairs():
    x, y = randn(5, 3).double(), 1 + randn(4, 3, seed=1).double()

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    expected = float(within_x + within_y - 2 * between)
    assert kernel_distance(x.float(), y.float()) == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_of_more_points_than_a_block():
    x, y = randn(2_500, 2), 1 + randn(1_001, 2, seed=1)
    features = [torch.stack([torch.ones(len(p)), *p.T], 1).double() for p in (x, y)]
    # (x . y / 2 + 1)^3 is the dot product of third tensor powers of (1, x / sqrt 2).
    u, v = (f * torch.tensor([1, 0.5, 0.5]).double().sqrt() for f in features)
    cubes = [torch.einsum("ni,nj,nk->nijk", p, p, p).flatten(1) for p in (u, v)]
    (first, second), sizes = (c.sum(0) for c in cubes), (len(x), len(y))
    within = [
        ((total @ total - cube.square().sum()) / (n * (n - 1))).item()
        for total, cube, n in zip((first, second), cubes, sizes, strict=True)
    ]
    expected = sum(within) - 2 * (first @ second).item() / math.prod(sizes)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased_and_detects_a_shift():
    pairs = [(randn(30, 2, seed=i), randn(30, 2, seed=i + 1000)) for i in range(200)]
    same = torch.tensor([kernel_distance(x, y) for x, y in pairs])
    assert_mean(same, 0.0)
    assert same.min() < 0
    moved = torch.tensor([kernel_distance(x, y + 3) for x, y in pairs])
    assert moved.min() > same.max()


@pytest.mark.parametrize("neighbors", [1, 5])
def test_a_set_needs_more_points_than_neighbors(neighbors):
    assert len(PointSet.from_features(randn(neighbors + 1, 2), neighbors).points) == neighbors + 1
    with pytest.raises(
        ValueError, match=f"at least {neighbors + 1} points for .*, got {neighbors}"
    ):
        PointSet.from_features(randn(neighbors, 2), neighbors)


def balls_by_loops(real: Points, generated: Points, k: int) -> dict[str, float]:
    def radius(i: int, points: Points) -> float:
        return sorted(math.dist(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]

    def balls(points: Points) -> list[Ball]:
        return [(point, radius(i, points)) for i, point in enumerate(points)]

    def holding(point: list[float], some: list[Ball]) -> int:
        return sum(math.dist(point, centre) <= r for centre, r in some)

    real_balls, generated_balls = balls(real), balls(generated)
    return dict(
        precision=float(np.mean([holding(g, real_balls) > 0 for g in generated])),
        recall=float(np.mean([holding(r, generated_balls) > 0 for r in real])),
        density=float(np.mean([holding(g, real_balls) for g in generated]) / k),
        coverage=float(
            np.mean([any(math.dist(g, c) <= r for g in generated) for c, r in real_balls])
        ),
    )


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("k", [1, 5])
def test_precision_recall_density_and_coverage_match_the_loops(k, block):
    real, generated = randn(40, 3).double(), 1.3 + randn(30, 3, seed=1).double()
    expected = balls_by_loops(real.tolist(), generated.tolist(), k)
    assert len({*expected.values()}) == 4
    assert all(0 < value < 1 for value in expected.values())
    found = compared(real, generated, k, block)
    assert balls_of(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("features", [3, 784])
def test_the_block_size_changes_nothing(features):
    real, generated = randn(40, features), 0.3 + randn(30, features, seed=1)
    expected = vars(compared(real, generated))
    assert vars(compared(real, generated, block=7)) == pytest.approx(expected, rel=1e-9)


def test_density_and_coverage_of_one_distribution_match_their_expectations():
    """Naeem et al. 2020, whatever the law; recall and precision mirror each other."""
    count, k = 60, 5
    pairs = ((randn(count, 8, seed=i), randn(count, 8, seed=i + 1000)) for i in range(200))
    found = [compared(x, y, k) for x, y in pairs]
    # A new point is as likely as each other one to be among the k nearest: density k / k.
    assert_mean(torch.tensor([m.density for m in found]), 1.0)
    # None generated among the k nearest of the 2 n - 1 others, n - 1 of them real
    missed = math.prod((count - 1 - i) / (2 * count - 1 - i) for i in range(k))
    assert_mean(torch.tensor([m.coverage for m in found]), 1 - missed)
    assert_mean(torch.tensor([m.precision - m.recall for m in found]), 0.0)


def test_precision_and_recall_swap_with_the_sets():
    real, generated = randn(60, 4), 0.7 + 0.5 * randn(50, 4, seed=1)
    one_way, other_way = compared(real, generated), compared(generated, real)
    assert one_way.precision == other_way.recall != other_way.precision == one_way.recall


@pytest.mark.parametrize("points", [randn(200, 64), 5 + rand(200, 784)], ids=["64", "784"])
def test_real_points_compared_with_themselves(points):
    real = points.double()
    found = compared(real, shuffled(real))
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    # The centre and k neighbors, of which the last lies on the surface
    assert found.density == pytest.approx(6 / 5)


def test_a_ball_includes_its_surface():
    # At 0, 1, ..., 7, each with radius 1
    real = torch.arange(8.0).double()[:, None]
    for place, balls in ((8.0, 1), (8 + 1e-6, 0), (-1.0, 1), (-1 - 1e-6, 0), (3.0, 3)):
        found = compared(real, torch.tensor([[place], [100], [200]]).double(), k=1)
        assert found.density == pytest.approx(balls / 3)


def test_sets_of_equal_points_contain_each_other():
    for place in (0.0, 3.7):
        found = compared(torch.full((9, 4), place), torch.full((7, 4), place))
        assert vars(found) == pytest.approx(
            {**dict.fromkeys(vars(found), 1.0), "density": 9 / 5}
            | dict.fromkeys(("frechet_distance", "kernel_distance"), 0.0)
        )
        apart = compared(torch.full((9, 4), place), torch.full((7, 4), place + 0.1))
        assert not any(balls_of(apart).values())


def test_a_collapsed_generator_has_low_coverage_and_recall():
    real = randn(200, 8)
    collapsed = compared(real, 0.01 * torch.ones(100, 8))
    assert (collapsed.precision, collapsed.recall) == (1, 0)
    assert collapsed.density > 1
    assert collapsed.coverage < 0.5
    one_image = compared(real, real[:1].expand(100, -1))
    assert one_image.recall == 1 / 200
    assert one_image.precision == 1


def test_a_useless_generator_scores_zero():
    found = compared(randn(200, 8), 1e3 + randn(100, 8, seed=1))
    assert not any(balls_of(found).values())
    assert found.frechet_distance > 1e6


def sharpness_by_loops(image: np.ndarray) -> float:
    grey, (height, width) = image.mean(0), image.shape[1:]
    values = [
        grey[r - 1, c] + grey[r + 1, c] + grey[r, c - 1] + grey[r, c + 1] - 4 * grey[r, c]
        for r in range(1, height - 1)
        for c in range(1, width - 1)
    ]
    return float(np.mean((values - np.mean(values)) ** 2))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (3, 3, 4)])
def test_sharpness_matches_a_loop(shape):
    images = rand(4, *shape)
    expected = [sharpness_by_loops(image) for image in images.double().numpy()]
    assert sharpness(images).tolist() == pytest.approx(expected, rel=1e-4)


def test_sharpness_of_ramps_and_of_a_point():
    ramp = torch.arange(6.0)[:, None] + 2 * torch.arange(7.0)
    point = torch.zeros(5, 5).index_put((torch.tensor(2), torch.tensor(2)), torch.tensor(1.0))
    assert sharpness(ramp[None, None]).item() == 0
    # Nine values: -4, four of 1 and four of 0, with mean 0
    assert sharpness(point[None, None]).item() == pytest.approx(20 / 9)


def test_blur_lowers_the_sharpness_ratio_and_noise_raises_it():
    images = blurred(rand(20, 3, 16, 16))
    assert sharpness_ratio(images, images) == 1
    assert sharpness_ratio(0.5 * images, images) == pytest.approx(0.25)
    assert sharpness_ratio(blurred(images), images) < 0.5
    assert sharpness_ratio(images + 0.2 * randn(*images.shape), images) > 2


def test_sharpness_ratio_uses_medians():
    real, outlier = rand(3, 1, 8, 8), 100 * rand(1, 1, 8, 8)
    middle = sharpness(real).sort().values[1:].mean().item()
    expected = middle / sharpness(real).sort().values[1].item()
    assert sharpness_ratio(torch.cat([real, outlier]), real) == pytest.approx(expected)


def test_sharpness_refuses_small_images():
    with pytest.raises(ValueError, match="at least 3x3 pixels, got 2x9"):
        sharpness(rand(1, 1, 2, 9))
    assert samples.sharpness_ratio(rand(2), torch.tensor([0.0, 0.0, 1.0])) is None


def slope_by_loops(images: np.ndarray) -> float:
    """The exponent that is the slope over rings at the frequencies of their power under it."""
    height, width = images.shape[2:]
    shorter, power, lengths = min(height, width), dict[int, list[float]](), dict[int, list[float]]()
    rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
    for v in range(-((height - 1) // 2), height // 2 + 1):
        for u in range(-((width - 1) // 2), width // 2 + 1):
            length = shorter * math.hypot(v / height, u / width)
            wave = np.exp(-2j * np.pi * (v * rows + u * columns))
            values = np.abs((images * wave).sum((2, 3))) ** 2
            power.setdefault(round(length), []).append(float(values.mean()))
            lengths.setdefault(round(length), []).append(length)
    rings = range(1, shorter // 2 + 1)
    y = [np.log(np.mean(power[r])) for r in rings]

    def excess(exponent: float) -> float:
        x = [np.log(np.mean(np.array(lengths[r]) ** exponent)) / exponent for r in rings]
        return float(np.polyfit(x, y, 1)[0]) - exponent

    return float(optimize.brentq(excess, -20, -1e-3, xtol=1e-12))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6), (2, 5, 12)])
def test_spectrum_slope_matches_a_loop(shape):
    images = blurred(rand(3, *shape))
    expected = slope_by_loops(images.double().numpy())
    assert spectrum_slope(images) == pytest.approx(expected, rel=1e-9)


def test_mean_power_keeps_the_energy_of_a_channel():
    images = rand(300, 3, 5, 8)
    # Parseval: the power's sum is the number of pixels times that of their squares.
    expected = 5 * 8 * images.double().square().sum((2, 3)).mean().item()
    assert mean_power(images).sum().item() == pytest.approx(expected, rel=1e-9)


def colored_noise(exponent: float, count: int, size: tuple[int, int], seed: int) -> Tensor:
    """Periodic Gaussian noise of power f^exponent, f in any unit, and of mean 7."""
    frequency = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1]))
    frequency[0, 0] = 1
    white = torch.fft.fft2(randn(count, 1, *size, seed=seed, dtype=torch.float64))
    colored: Tensor = torch.fft.ifft2(white * frequency.double() ** (exponent / 2)).real
    return colored + 7


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (20, 33)])
@pytest.mark.parametrize("exponent", [-3.0, -2.0, -1.0, 1.0])
def test_spectrum_slope_of_colored_noise_is_its_exponent(size, exponent):
    slopes = [spectrum_slope(colored_noise(exponent, 100, size, seed)) for seed in range(40)]
    # E ln of a mean of n exponentials is about -1 / (2 n).
    assert_mean(torch.tensor(slopes), exponent, rounding=1 / (2 * 100 * 2))


@pytest.mark.parametrize("size", [(32, 32), (20, 33), (5, 40)])
@pytest.mark.parametrize("exponent", [-6.0, -2.0, -0.5, 2.0])
def test_spectrum_slope_of_a_power_law_is_exact(size, exponent):
    images = colored_noise(exponent, 5, size, 0)
    spectrum = torch.fft.fft2(images - 7)
    frequency = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1]))
    # Random phases, amplitude f^(exponent / 2)
    size_of = frequency.double().clamp_min(1e-3) ** (exponent / 2)
    exact = torch.fft.ifft2(spectrum / spectrum.abs() * size_of).real
    assert spectrum_slope(exact + 7) == pytest.approx(exponent, abs=1e-6)
    assert spectrum_slope(1e-3 * exact) == pytest.approx(exponent, abs=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (9, 24)])
def test_spectrum_slope_of_white_noise_is_zero(size):
    slopes = [spectrum_slope(randn(50, 1, *size, seed=seed)) for seed in range(100)]
    # E ln of a mean of n exponentials is about -1 / (2 n); ring 1 has at least 50 * 2 of them,
    # and the others more, so that no slope is biased by more.
    assert_mean(torch.tensor(slopes), 0.0, rounding=1 / (2 * 50 * 2))


def test_blur_steepens_the_slope_and_noise_flattens_it():
    images = blurred(rand(20, 3, 16, 16))
    assert spectrum_slope(blurred(images)) < spectrum_slope(images) - 0.5
    assert spectrum_slope(images + 0.2 * randn(*images.shape)) > spectrum_slope(images) + 0.5


@pytest.mark.parametrize("shape", [(9, 3), (3, 3), (1, 1)])
def test_images_below_four_pixels_have_no_slope(shape):
    assert slope_or_none(rand(1, 1, *shape)) is None


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("size", [(28, 28), (13, 11), (7, 5)])
def test_flat_images_have_no_slope(value, size):
    # Of some sizes the transform's rounding leaves power at every frequency.
    assert slope_or_none(torch.full((2, 3, *size), value)) is None


def test_power_at_some_frequencies_only_gives_no_slope():
    wave = torch.linspace(0, 2 * torch.pi, 9, dtype=torch.float64)[:-1].sin()
    assert slope_or_none((0.5 + 0.3 * wave).expand(1, 1, 8, 8)) is None
    faint = 0.5 + 1e-4 * blurred(rand(2, 1, 8, 8))
    assert spectrum_slope(faint) == pytest.approx(spectrum_slope(faint - 0.5), rel=1e-3)


def test_class_shares_count_every_class():
    assert class_shares(torch.tensor([0, 2, 2, 0, 2]), 4).tolist() == pytest.approx(
        [0.4, 0, 0.6, 0]
    )
    assert class_shares(torch.tensor([1, 1]), 2).tolist() == [0, 1]


def test_class_shares_of_a_fair_choice():
    labels = (rand(6_000) * 3).long()
    error = math.sqrt(1 / 3 * 2 / 3 / 6_000)
    assert (class_shares(labels, 3) - 1 / 3).abs().max() < STANDARD_ERRORS * error


@pytest.mark.parametrize("wrong", [[0, 3], [-1, 2]])
def test_class_shares_refuses_other_classes(wrong):
    with pytest.raises(ValueError, match=rf"from 0 to 2, got {wrong[0]} to {wrong[1]}"):
        class_shares(torch.tensor(wrong), 3)
    with pytest.raises(ValueError, match="at least one prediction"):
        class_shares(torch.tensor([], dtype=torch.int64), 3)
