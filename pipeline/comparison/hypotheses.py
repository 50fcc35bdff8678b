"""Test common statements about autoencoders, VAEs and GANs against the measured numbers.

Each statement compares two numbers that were measured in the same way: samples from the same prior
or from the same sampler, bounds of the same number of samples. It is decided by Student's t test on
differences paired by seed, with Holm's correction for the number of statements.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t

from vaelab.estimators.statistics import mean_and_standard_error

# Probability that any statement is decided by chance: Holm 1979.
FAMILY_ERROR = 0.05

PRIOR, MIXTURE, FLOW = "samples", "sampler.mixture", "sampler.flow_matching"
RECONSTRUCTIONS = "reconstructions"
FRECHET, BLUR, NOISE = "classifier_frechet_distance", "blur", "excess_sharpness"
ERROR, BOUND, NLL = "test.mean_squared_error", "test.neg_elbo_nats", "likelihood.nll_nats"


@dataclass(frozen=True)
class Value:
    """A metric of a variant."""

    variant: str
    metric: str

    def of(self, variants: Mapping[str, Mapping[str, list[float]]]) -> list[float] | None:
        """Return the values, one a seed; None if it was not measured."""
        return variants.get(self.variant, {}).get(self.metric)


@dataclass(frozen=True)
class Hypothesis:
    """The metric `lower` is below `higher`.

    Distances are compared as ratios, by their logarithms: their error grows with their size.
    """

    text: str
    lower: Value
    higher: Value

    @property
    def is_ratio(self) -> bool:
        """Whether logarithms are compared."""
        return self.lower.metric.endswith(FRECHET)


def _lower(text: str, lower: tuple[str, str], higher: tuple[str, str], metric: str) -> Hypothesis:
    """Compare a metric of two groups of images, each given by variant and group."""
    sides = (Value(variant, f"{group}.{metric}") for variant, group in (lower, higher))
    return Hypothesis(text, *sides)


def _both(text: str, lower: str, higher: str, metric: str) -> Hypothesis:
    return Hypothesis(text, Value(lower, metric), Value(higher, metric))


HYPOTHESES = (
    _both("an autoencoder reconstructs better than a VAE", "autoencoder", "vae", ERROR),
    _both("an autoencoder reconstructs better than a VAE-GAN", "autoencoder", "vae_gan", ERROR),
    _both(
        "a VAE's reconstructions are blurrier than a VAE-GAN's",
        "vae_gan",
        "vae",
        f"{RECONSTRUCTIONS}.{BLUR}",
    ),
    _lower(
        "a VAE's samples from N(0, I) are blurrier than its reconstructions",
        ("vae", RECONSTRUCTIONS),
        ("vae", PRIOR),
        BLUR,
    ),
    _both(
        "a VAE's samples from N(0, I) are blurrier than a GAN's", "gan", "vae", f"{PRIOR}.{BLUR}"
    ),
    _lower(
        "a VAE's samples from flow matching are blurrier than a GAN's",
        ("gan", PRIOR),
        ("vae", FLOW),
        BLUR,
    ),
    _both(
        "a VAE's samples are blurrier than a VAE-GAN's, both from flow matching",
        "vae_gan",
        "vae",
        f"{FLOW}.{BLUR}",
    ),
    _both(
        "a VAE's samples after three times the epochs, in less time, are blurrier than a "
        "VAE-GAN's, both from flow matching",
        "vae_gan",
        "vae-longer",
        f"{FLOW}.{BLUR}",
    ),
    _both(
        "a VAE after three times the epochs, in less time, generates worse samples than a VAE-GAN, "
        "both from flow matching",
        "vae_gan",
        "vae-longer",
        f"{FLOW}.{FRECHET}",
    ),
    _lower(
        "a GAN's samples are noisier than a VAE's from flow matching",
        ("vae", FLOW),
        ("gan", PRIOR),
        NOISE,
    ),
    *(
        _both(
            f"an autoencoder generates worse samples than a VAE, both from {name}",
            "vae",
            "autoencoder",
            f"{group}.{FRECHET}",
        )
        for name, group in (
            ("N(0, I)", PRIOR),
            ("ten fitted Gaussians", MIXTURE),
            ("flow matching", FLOW),
        )
    ),
    _lower(
        "an autoencoder generates worse samples from flow matching than a GAN",
        ("gan", PRIOR),
        ("autoencoder", FLOW),
        FRECHET,
    ),
    _both(
        "an autoencoder generates worse samples than a VAE-GAN, both from flow matching",
        "vae_gan",
        "autoencoder",
        f"{FLOW}.{FRECHET}",
    ),
    _lower(
        "a VAE generates better samples from flow matching than from N(0, I)",
        ("vae", FLOW),
        ("vae", PRIOR),
        FRECHET,
    ),
    _lower(
        "a VAE generates better samples from flow matching than from ten fitted Gaussians",
        ("vae", FLOW),
        ("vae", MIXTURE),
        FRECHET,
    ),
    _lower(
        "a VAE with flow matching fitted afterwards generates better samples than one trained "
        "with a flow as its prior",
        ("vae", FLOW),
        ("vae-flow", PRIOR),
        FRECHET,
    ),
    _both("a VAE has a better bound than a VQ-VAE", "vae", "vq_vae", BOUND),
    _both("a learned prior (flow) has a better bound", "vae-flow", "vae", BOUND),
    _both("a learned prior (flow) has a better likelihood", "vae-flow", "vae", NLL),
)


@dataclass(frozen=True)
class PairedTest:
    """A hypothesis with its values and the two-sided p value; None for a single seed."""

    hypothesis: Hypothesis
    lower: list[float]
    higher: list[float]
    p_value: float | None

    @property
    def difference(self) -> tuple[float, float | None]:
        """Mean and standard error of the differences, or of the ratios' logarithms, over seeds."""
        return mean_and_standard_error(
            [
                math.log(high / low) if self.hypothesis.is_ratio else high - low
                for low, high in zip(self.lower, self.higher, strict=True)
            ]
        )


def hypothesis_results(variants: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    """Return a line for each hypothesis of which both values were measured."""
    found = [
        paired_t_test(hypothesis, lower, higher)
        for hypothesis in HYPOTHESES
        if (lower := hypothesis.lower.of(variants)) and (higher := hypothesis.higher.of(variants))
    ]
    decided = holm([tested.p_value for tested in found])
    for tested, is_decided in zip(found, decided, strict=True):
        yield f"- {describe(tested, is_decided)}"
    bounded = [name for name, metrics in variants.items() if BOUND in metrics]
    unbounded = [name for name in variants if name not in bounded]
    if bounded and unbounded:
        yield (
            f"- Only {', '.join(bounded)} have a bound on their likelihood. {', '.join(unbounded)} "
            "have none, and are scored only with noise added to their images (docs/evaluation.md)."
        )


def paired_t_test(hypothesis: Hypothesis, lower: list[float], higher: list[float]) -> PairedTest:
    """Compute the p value of Student's t test on the differences, paired by seed."""
    tested = PairedTest(hypothesis, lower, higher, None)
    difference, error = tested.difference
    if error is None:
        return tested
    if error == 0:
        return PairedTest(hypothesis, lower, higher, float(difference == 0))
    p_value = 2 * float(t.sf(abs(difference) / error, len(lower) - 1))
    return PairedTest(hypothesis, lower, higher, p_value)


def holm(p_values: Sequence[float | None]) -> list[bool]:
    """Return which null hypotheses are rejected, of all that have a p value: Holm 1979.

    From the smallest p value, each is held against FAMILY_ERROR divided by the number of those that
    are left, until one is too large.
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    rejected = [False] * len(p_values)
    for rank, (p_value, index) in enumerate(order):
        if p_value > FAMILY_ERROR / (len(order) - rank):
            break
        rejected[index] = True
    return rejected


def describe(tested: PairedTest, is_decided: bool) -> str:
    """Return the statement, its result, both means, and their difference or ratio."""
    (low, _), (high, _) = map(mean_and_standard_error, (tested.lower, tested.higher))
    difference, error = tested.difference
    text = f"{tested.hypothesis.text[0].upper()}{tested.hypothesis.text[1:]}"
    name = tested.hypothesis.lower.metric.rpartition(".")[2]
    if error is None:
        word, spread = "not decided by one seed", ""
    else:
        word = ("confirmed" if difference > 0 else "**refuted**") if is_decided else "not decided"
        spread = f" ± {error:.2g}, p = {tested.p_value:.2g}"
    kind = "difference of logarithms" if tested.hypothesis.is_ratio else "difference"
    return (
        f"{text}: {word} ({name} {low:.4g} against {high:.4g}, {kind} {difference:+.3g}{spread})."
    )
