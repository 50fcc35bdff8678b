"""The report on known latents: all metrics, their invariances, and what does not apply."""

import math

import numpy as np
import pytest

from tests.estimators.representations import duplicated, noise, perfect, random_factors, rotated
from vaelab.estimators.disentanglement import DisentanglementReport, disentanglement_metrics

SIZES = (2, 3, 4)
COUNT = 600
TRAIN, TEST = random_factors(COUNT, *SIZES, seed=1), random_factors(COUNT, *SIZES, seed=2)
GUESSES = np.mean([1 / v for v in SIZES])
NAMES = {
    "mutual_information_gap",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "dci_informativeness_chance",
    "sap_score",
    "factor_vae_score",
}

INFORMATIVENESS = {"dci_informativeness", "dci_informativeness_chance"}


def report(train: np.ndarray, test: np.ndarray, seed: int = 0) -> DisentanglementReport:
    return disentanglement_metrics(train, TRAIN, test, TEST, seed)


def mixed(factors: np.ndarray, seed: int) -> np.ndarray:
    """A rotated pair, a noisy dimension and two useless ones: no metric is at an end."""
    latents = rotated(perfect(factors), 1, 2) + 0.5 * noise(len(factors), 3, seed)
    return np.concatenate([latents, noise(len(factors), 2, seed + 10)], 1)


MIXED = mixed(TRAIN, 1), mixed(TEST, 2)


@pytest.fixture(scope="module")
def expected() -> DisentanglementReport:
    return report(*MIXED)


def test_report_of_perfect_latents():
    found = report(perfect(TRAIN), perfect(TEST))
    # Of 600 images lines tell 2 and 3 values apart, but only the outer ones of 4.
    sap = np.mean([1 - 1 / 2, 1 - 1 / 3, 1 / 2 - 1 / 4])
    assert found.metrics.pop("sap_score") == pytest.approx(sap, abs=0.05)
    assert found.metrics == pytest.approx(
        {
            # 600 images are no whole grid: the factors tell a little of one another.
            "mutual_information_gap": pytest.approx(1, abs=0.01),
            "dci_disentanglement": 1,
            "dci_completeness": 1,
            "dci_informativeness": 1,
            "dci_informativeness_chance": pytest.approx(GUESSES, abs=0.05),
            "factor_vae_score": 1,
        }
    )
    assert found.factors == (0, 1, 2)
    assert (found.importance == np.eye(3)).all()
    entropies = np.diag([math.log(v) for v in SIZES])
    assert found.mutual_information == pytest.approx(entropies, abs=0.01)


def test_report_of_useless_latents():
    found = report(noise(COUNT, 5, 1), noise(COUNT, 5, 2)).metrics
    assert set(found) == NAMES
    assert found["dci_disentanglement"] == found["dci_completeness"] == 0
    assert found["mutual_information_gap"] < 0.02
    assert found["sap_score"] < 0.05
    assert found["dci_informativeness"] == pytest.approx(GUESSES, abs=0.06)
    assert found["factor_vae_score"] == pytest.approx(1 / 3, abs=0.15)


def test_report_of_duplicated_latents():
    found = report(duplicated(TRAIN), duplicated(TEST)).metrics
    assert found["mutual_information_gap"] == pytest.approx(0, abs=1e-12)
    assert found["sap_score"] == 0
    assert found["dci_completeness"] == pytest.approx(1 - math.log(2, 6), abs=0.05)
    one = ("dci_disentanglement", "dci_informativeness", "factor_vae_score")
    assert [found[name] for name in one] == [1, 1, 1]


def test_fits_are_made_on_train():
    found = disentanglement_metrics(perfect(TRAIN), TRAIN, perfect(TEST), (TEST + 1) % SIZES, 0)
    # The names of test's values are others, which information does not mind, nor do votes.
    assert found.metrics["mutual_information_gap"] == pytest.approx(1, abs=0.02)
    assert found.metrics["factor_vae_score"] == 1
    assert found.metrics["dci_informativeness"] == found.metrics["dci_disentanglement"] == 0
    # By the two other dimensions both, values are guessed.
    assert found.metrics["sap_score"] < 0.1


def test_dimensions_permuted_between_train_and_test_lower_the_fitted_metrics():
    found = report(perfect(TRAIN), perfect(TEST)[:, [1, 2, 0]])
    assert found.metrics["factor_vae_score"] == 0
    assert found.metrics["mutual_information_gap"] == pytest.approx(1, abs=0.02)


def test_rotation_lowers_every_metric_but_informativeness():
    straight = report(perfect(TRAIN), perfect(TEST)).metrics
    latents = [rotated(rotated(perfect(f), 0, 1), 1, 2) for f in (TRAIN, TEST)]
    found = report(latents[0], latents[1]).metrics
    for name in NAMES - {"dci_informativeness", "dci_informativeness_chance"}:
        assert found[name] < 0.8 * straight[name], name
    assert found["dci_informativeness"] > 0.95


def test_a_constant_dimension_changes_no_metric():
    dead = np.zeros((COUNT, 2))
    latents = [np.concatenate([perfect(f), dead + 0.1], 1) for f in (TRAIN, TEST)]
    found, without = report(latents[0], latents[1]), report(perfect(TRAIN), perfect(TEST))
    # A constant dimension guesses one value, as the next best does, but perhaps another one.
    assert found.metrics["sap_score"] == pytest.approx(without.metrics["sap_score"], abs=0.05)
    assert without_sap(found) == pytest.approx(without_sap(without))
    assert (found.mutual_information[:, 3:] == 0).all()
    assert (found.importance[3:] == 0).all()


@pytest.mark.parametrize(
    ("scale", "shift"), [(1e-20, 0), (-1, 3), (1e9, -1e9)], ids=["tiny", "turned_over", "large"]
)
def test_metrics_are_invariant_to_scale_sign_and_shift(expected, scale, shift):
    found = report(scale * MIXED[0] + shift, scale * MIXED[1] + shift)
    assert found.mutual_information == pytest.approx(expected.mutual_information, abs=1e-9)
    # A forest rotated over draws other thresholds.
    assert found.importance == pytest.approx(expected.importance, abs=0.1)
    # SAP takes the latents as they are, as the literature does.
    assert without_sap(found) == pytest.approx(without_sap(expected), abs=0.06)


def without_sap(found: DisentanglementReport) -> dict[str, float]:
    return {name: value for name, value in found.metrics.items() if name != "sap_score"}


def test_metrics_are_invariant_to_the_order_of_dimensions(expected):
    order = [3, 2, 4, 0, 1]
    found = report(MIXED[0][:, order], MIXED[1][:, order])
    assert found.mutual_information == pytest.approx(expected.mutual_information[:, order])
    assert found.importance == pytest.approx(expected.importance[order], abs=0.1)
    assert found.metrics == pytest.approx(expected.metrics, abs=0.06)
    exact = ("mutual_information_gap", "sap_score")
    assert all(found.metrics[n] == pytest.approx(expected.metrics[n], abs=1e-12) for n in exact)


def test_metrics_are_invariant_to_the_order_of_factors(expected):
    order = [2, 0, 1]
    found = disentanglement_metrics(MIXED[0], TRAIN[:, order], MIXED[1], TEST[:, order], 0)
    assert found.mutual_information == pytest.approx(expected.mutual_information[order])
    assert found.importance == pytest.approx(expected.importance[:, order], abs=0.1)
    assert found.metrics == pytest.approx(expected.metrics, abs=0.06)


def test_metrics_are_invariant_to_relabeling_of_values(expected):
    names = np.array([-7, 0, 1000, 10**15])
    found = disentanglement_metrics(MIXED[0], names[TRAIN], MIXED[1], names[TEST], 0)
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-12)


def test_the_seed_determines_the_report(expected):
    first, again, other = expected, report(*MIXED), report(*MIXED, seed=1)
    assert first.metrics == again.metrics
    assert (first.importance == again.importance).all()
    chance = ("dci_disentanglement", "dci_completeness", "factor_vae_score")
    assert all(first.metrics[name] != other.metrics[name] for name in chance)
    assert first.metrics == pytest.approx(other.metrics, abs=0.06)


def test_single_and_double_precision_agree(expected):
    found = report(MIXED[0].astype(np.float32), MIXED[1].astype(np.float32))
    assert found.metrics == pytest.approx(expected.metrics, abs=0.02)
    assert found.mutual_information.dtype == found.importance.dtype == np.float64


@pytest.mark.parametrize("split", ["train", "test", "both"])
def test_factors_that_do_not_vary_are_left_out(split):
    train, test = TRAIN.copy(), TEST.copy()
    if split != "test":
        train[:, 1] = 1
    if split != "train":
        test[:, 1] = 1
    found = disentanglement_metrics(MIXED[0], train, MIXED[1], test, 0)
    expected = disentanglement_metrics(MIXED[0], TRAIN[:, [0, 2]], MIXED[1], TEST[:, [0, 2]], 0)
    assert found.factors == (0, 2)
    assert found.metrics == expected.metrics
    assert (found.importance == expected.importance).all()
    assert found.mutual_information.shape == (2, 5)


def test_report_of_one_dimension():
    found = report(MIXED[0][:, :1], MIXED[1][:, :1])
    assert set(found.metrics) == {"dci_disentanglement", *INFORMATIVENESS}
    assert (found.mutual_information.shape, found.importance.shape) == ((3, 1), (1, 3))
    # It is about factor 0 alone, with some noise.
    assert found.metrics["dci_disentanglement"] == 1


def test_report_of_one_factor():
    found = disentanglement_metrics(MIXED[0], TRAIN[:, :1], MIXED[1], TEST[:, :1], 0)
    assert set(found.metrics) == NAMES - {"dci_disentanglement", "factor_vae_score"}
    assert found.metrics["dci_completeness"] == 1


def test_report_without_a_varying_factor():
    same = np.ones((COUNT, 2), np.int64)
    found = disentanglement_metrics(MIXED[0], same, MIXED[1], same, 0)
    assert (found.metrics, found.factors) == ({}, ())
    assert (found.mutual_information.shape, found.importance.shape) == ((0, 5), (5, 0))


def test_report_of_binary_attributes_of_unequal_frequency():
    def attributes(seed: int) -> np.ndarray:
        frequencies = np.array([0.5, 0.3, 0.2])
        uniform = np.random.default_rng(seed).uniform(size=(COUNT, 3))
        return np.where(uniform < frequencies, 1, 0)

    train, test = attributes(1), attributes(2)
    found = disentanglement_metrics(perfect(train), train, perfect(test), test, 0).metrics
    one = NAMES - {"sap_score", "mutual_information_gap", "dci_informativeness_chance"}
    assert {name: found[name] for name in one} == dict.fromkeys(one, 1)
    assert found["sap_score"] == pytest.approx(0.5, abs=0.05)
    commonest = [max(np.mean(column), 1 - np.mean(column)) for column in test.T]
    assert found["dci_informativeness_chance"] == pytest.approx(np.mean(commonest))
    assert found["mutual_information_gap"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_report_of_few_images(count):
    train, test = random_factors(count, *SIZES, seed=5), random_factors(count, *SIZES, seed=6)
    train[:2], test[:2] = [[0, 0, 0], [1, 1, 1]], [[0, 0, 0], [1, 1, 1]]
    found = disentanglement_metrics(noise(count, 4, 5), train, noise(count, 4, 6), test, 0)
    assert set(found.metrics) == NAMES - {"factor_vae_score"}
    assert all(0 <= value <= 1 for value in found.metrics.values())


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_report_of_constant_latents(value):
    same = np.full((COUNT, 3), value)
    found = report(same, same)
    zero = ("mutual_information_gap", "dci_disentanglement", "dci_completeness", "sap_score")
    assert [found.metrics[name] for name in zero] == [0, 0, 0, 0]
    assert set(found.metrics) == {*zero, *INFORMATIVENESS}


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("split", [0, 1])
def test_latents_that_are_not_finite_are_refused(wrong, split):
    latents = [latents.copy() for latents in MIXED]
    latents[split][7, 1] = wrong
    with pytest.raises(ValueError, match="latents must be finite"):
        report(latents[0], latents[1])
