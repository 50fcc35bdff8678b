"""The FactorVAE score: known latents, votes by loops, groups from few images."""

import numpy as np
import pytest
import torch

from tests.estimators.representations import (
    duplicated,
    grid,
    noise,
    perfect,
    random_factors,
    rotated,
)
from tests.oracles import STANDARD_ERRORS, assert_mean
from vaelab.estimators.disentanglement.factor_vae import factor_vae_score

SIZES = (2, 3, 4)
TRAIN, TEST = random_factors(1_000, *SIZES, seed=1), random_factors(1_000, *SIZES, seed=2)
LOOPS = 3_000
USELESS = noise(1_000, 6, seed=1), noise(1_000, 6, seed=2)


def score(train: np.ndarray, test: np.ndarray, seed: int = 0) -> float:
    found = factor_vae_score(train, TRAIN, test, TEST, np.random.default_rng(seed))
    assert found is not None
    return found


def beside_noise(latents: np.ndarray, seed: int) -> np.ndarray:
    return np.concatenate([latents, noise(len(latents), 5, seed)], 1)


def votes_by_loops(latents: np.ndarray, factors: np.ndarray, scale: np.ndarray, rng) -> np.ndarray:
    votes = np.zeros((latents.shape[1], factors.shape[1]))
    for _ in range(LOOPS):
        k = rng.integers(factors.shape[1])
        value = rng.choice(sorted(set(factors[:, k].tolist())))
        members = rng.permutation(np.flatnonzero(factors[:, k] == value))[:64]
        spread = [np.var(latents[members, j] / scale[j]) for j in range(len(votes))]
        votes[int(np.argmin(spread)), k] += 1
    return votes


def score_by_loops(train: np.ndarray, test: np.ndarray) -> float:
    rng, scale = np.random.default_rng(99), train.std(0)
    fitted, scored = (votes_by_loops(*p, scale, rng) for p in ((train, TRAIN), (test, TEST)))
    right = sum(row[column.argmax()] for row, column in zip(scored, fitted, strict=True))
    return float(right / LOOPS)


def test_score_of_perfect_latents_is_1():
    assert score(perfect(TRAIN), perfect(TEST)) == 1
    assert score(beside_noise(perfect(TRAIN), 1), beside_noise(perfect(TEST), 2)) == 1


def test_score_of_duplicated_latents_is_1():
    assert score(duplicated(TRAIN), duplicated(TEST)) == 1


def test_score_of_useless_latents_is_at_chance():
    scores = [score(noise(1_000, 6, s), noise(1_000, 6, s + 100), s) for s in range(12)]
    assert_mean(torch.tensor(scores), 1 / 3)


def test_score_of_a_rotated_pair_matches_the_loops():
    """With scales that differ, and are divided out."""
    pairs = ((rotated(perfect(f), 1, 2), noise(1_000, 3, s)) for s, f in enumerate((TRAIN, TEST)))
    train, test = ((latents + 0.5 * blur) * [1, 5, 0.3] for latents, blur in pairs)
    found, expected = score(train, test), score_by_loops(train, test)
    error = 0.5 * np.sqrt(1 / 5_000 + 1 / LOOPS)
    assert abs(found - expected) < STANDARD_ERRORS * error
    assert 0.4 < expected < 0.9
    # 5,000 votes are counted.
    assert 5_000 * found == pytest.approx(round(5_000 * found), abs=1e-9)


def test_every_value_is_fixed_equally_often():
    """Dimension 0 is still where factor 0 is 1, in 3 of 10 images; dimension 1 is factor 1."""
    factors = np.stack([np.arange(2_000) % 10 < 3, np.arange(2_000) // 10 % 2], 1).astype(np.int64)
    latents = noise(2_000, 2)
    latents[factors[:, 0] == 1, 0] = 0
    latents[:, 1] = 2 * factors[:, 1] - 1
    found = factor_vae_score(latents, factors, latents, factors, np.random.default_rng(0))
    # Right: factor 1 always, factor 0 at 1 always, at 0 by chance, as dimension 0 then varies by
    # 1 / 0.7 of its variance, too little in 64 images in less than a tenth of the votes.
    error = np.sqrt(0.75 * 0.25 / 5_000)
    low, high = 0.75 - STANDARD_ERRORS * error, 0.775 + STANDARD_ERRORS * error
    assert found is not None
    assert low < found < high


def test_votes_are_fitted_on_train_and_scored_on_test():
    assert score(perfect(TRAIN), perfect(TEST)[:, [1, 2, 0]]) == 0


def test_variance_is_relative_to_that_of_all_images():
    train, test = beside_noise(perfect(TRAIN), 1), beside_noise(perfect(TEST), 2)
    scale = np.array([9, 2, 4, 1, 1, 1, 1, 1]) * 1.0
    assert score(train * scale, test * scale) == score(train, test) == 1
    some = rotated(train), rotated(test)
    assert score(some[0] * -scale + 3, some[1] * -scale + 3) == score(*some) < 1


@pytest.mark.parametrize("largest", [0.01, 1, 100])
@pytest.mark.parametrize(("share", "alive"), [(0.04, False), (0.06, True)])
def test_inactive_dimensions_have_no_vote(share, alive, largest):
    scale = largest / USELESS[0].std(0).max()
    train, test = scale * USELESS[0], scale * USELESS[1]
    assert score(train, test) < 0.45
    train[:, 3], test[:, 3] = (share * largest * perfect(f)[:, 0] for f in (TRAIN, TEST))
    # In its dimension factor 0 is always predicted, the others every second time: 2/3
    found = score(train, test)
    assert found == pytest.approx(2 / 3, abs=0.1) if alive else found < 0.45


def test_constant_dimensions_have_no_vote():
    train, test = beside_noise(perfect(TRAIN), 1), beside_noise(perfect(TEST), 2)
    train[:, 4:6], test[:, 4:6] = 0.1, 0.1
    assert score(train, test) == 1
    constant = np.full((1_000, 3), 0.1)
    assert factor_vae_score(constant, TRAIN, constant, TEST, np.random.default_rng(0)) is None


def test_score_of_a_single_active_dimension_is_at_chance():
    train, test = 0 * perfect(TRAIN), 0 * perfect(TEST)
    train[:, 1], test[:, 1] = perfect(TRAIN)[:, 1], perfect(TEST)[:, 1]
    # It has every vote, and stands for the factor that by chance had the most.
    assert score(train, test) == pytest.approx(1 / 3, abs=STANDARD_ERRORS * 0.47 / np.sqrt(5_000))


@pytest.mark.parametrize("few", ["train", "test"])
def test_groups_need_64_images(few):
    enough, rng = grid(2, 2, repeats=32), np.random.default_rng(0)
    # Less one image of 0 and 0 and one of 1 and 1, each value has 63.
    less = enough[[row for row in range(128) if row not in (0, 3)]]
    train, test = (less, enough) if few == "train" else (enough, less)
    assert factor_vae_score(perfect(train), train, perfect(test), test, rng) is None
    assert factor_vae_score(perfect(enough), enough, perfect(enough), enough, rng) == 1


def test_groups_are_sampled_without_replacement():
    # All 64 images of a value are each time its group, so even in noise its vote is certain.
    factors, latents = grid(2, 2, repeats=32), noise(128, 6, seed=0)
    spread = latents / latents.std(0)
    votes = [[spread[column == v].var(0).argmin() for v in (0, 1)] for column in factors.T]
    assert not set(votes[0]) & set(votes[1])
    assert factor_vae_score(latents, factors, latents, factors, np.random.default_rng(0)) == 1


def test_values_of_few_images_are_not_fixed():
    # 10 images have a value of their own in both factors.
    factors = np.concatenate([grid(2, 2, repeats=50), np.full((10, 2), 7)])
    rng = np.random.default_rng(0)
    assert factor_vae_score(perfect(factors), factors, perfect(factors), factors, rng) == 1


def test_a_factor_without_a_frequent_value_gives_no_score():
    factors = np.concatenate([grid(2, 2, repeats=50), np.arange(200)[:, None] // 20], 1)
    rng, latents = np.random.default_rng(0), perfect(factors)
    assert factor_vae_score(latents, factors, latents, factors, rng) is None
    assert factor_vae_score(latents, factors[:, :2], latents, factors[:, :2], rng) == 1
