"""Test common statements about autoencoders, VAEs and GANs against the measured numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scipy.stats import t

from vaelab.estimators.statistics import mean_and_standard_error

# Of the two-sided test.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Hypothesis:
    """The metric of the variant `lower` is below that of the variant `higher`."""

    text: str
    metric: str
    lower: str
    higher: str


SHARPNESS, FRECHET = "samples.sharpness_ratio", "samples.classifier_frechet_distance"
ERROR, NLL = "test.mean_squared_error", "test.nll_nats"
HYPOTHESES = (
    Hypothesis("a VAE is blurrier than a GAN", SHARPNESS, "vae", "gan"),
    Hypothesis("a VAE is blurrier than a VAE-GAN", SHARPNESS, "vae", "vae_gan"),
    Hypothesis("an autoencoder reconstructs better than a VAE", ERROR, "autoencoder", "vae"),
    Hypothesis(
        "an autoencoder reconstructs better than a VAE-GAN", ERROR, "autoencoder", "vae_gan"
    ),
    Hypothesis("an autoencoder generates worse samples than a VAE", FRECHET, "vae", "autoencoder"),
    Hypothesis("an autoencoder generates worse samples than a GAN", FRECHET, "gan", "autoencoder"),
    Hypothesis(
        "an autoencoder generates worse samples than a VAE-GAN", FRECHET, "vae_gan", "autoencoder"
    ),
    Hypothesis(
        "an autoencoder generates worse samples than a VAE from the same N(0, I)",
        FRECHET,
        "vae",
        "autoencoder-standard_normal",
    ),
    Hypothesis("a VAE has a better likelihood than a VQ-VAE", NLL, "vae", "vq_vae"),
    Hypothesis("a learned prior (VampPrior) has a better likelihood", NLL, "vae-vamp", "vae"),
    Hypothesis("a learned prior (flow) has a better likelihood", NLL, "vae-flow", "vae"),
)


def hypothesis_results(variants: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    """Return a line for each hypothesis of which both variants were measured."""
    for hypothesis in HYPOTHESES:
        sides = hypothesis.lower, hypothesis.higher
        lower, higher = (variants.get(name, {}).get(hypothesis.metric) for name in sides)
        if lower and higher:
            yield f"- {hypothesis_result(hypothesis, lower, higher)}"
    bounded = [name for name, metrics in variants.items() if NLL in metrics]
    unbounded = [name for name in variants if name not in bounded]
    if bounded and unbounded:
        yield (
            f"- Only {', '.join(bounded)} have a bound on their likelihood. {', '.join(unbounded)} "
            "have none, and are scored only with noise added to their images (docs/evaluation.md)."
        )


def hypothesis_result(hypothesis: Hypothesis, lower: list[float], higher: list[float]) -> str:
    """Return the result of Student's t test on the differences, paired by seed."""
    pairs = list(zip(lower, higher, strict=True))
    difference, error = mean_and_standard_error([high - low for low, high in pairs])
    (low, _), (high, _) = map(mean_and_standard_error, (lower, higher))
    if error is None:
        word, spread = "not decided by one seed", ""
    else:
        word, spread = _word(difference, error, len(pairs)), f" ± {error:.2g}"
    text = f"{hypothesis.text[0].upper()}{hypothesis.text[1:]}"
    return (
        f"{text}: {word} ({hypothesis.metric} {low:.4g} against "
        f"{high:.4g}, difference {difference:+.3g}{spread})."
    )


def _word(difference: float, error: float, seeds: int) -> str:
    if abs(difference) <= error * t.ppf((1 + CONFIDENCE) / 2, seeds - 1):
        return "not decided"
    return "confirmed" if difference > 0 else "**refuted**"
