"""What is said of autoencoders, VAEs and GANs, held against the numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scipy.stats import t

from vaelab.estimators.statistics import mean_and_standard_error

# How sure a difference has to be before it decides.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Hypothesis:
    """That one member's metric is lower than another's."""

    text: str
    metric: str
    lower: str
    higher: str


SHARPNESS, FRECHET = "samples.sharpness_ratio", "samples.classifier_frechet_distance"
ERROR, NLL = "test.mean_squared_error", "test.nll_nats"
HYPOTHESES = (
    Hypothesis("a VAE is blurrier than a GAN", SHARPNESS, "vae", "gan"),
    Hypothesis("a VAE is blurrier than a VAE-GAN", SHARPNESS, "vae", "vae_gan"),
    Hypothesis("an autoencoder restores better than a VAE", ERROR, "autoencoder", "vae"),
    Hypothesis("an autoencoder restores better than a VAE-GAN", ERROR, "autoencoder", "vae_gan"),
    Hypothesis("an autoencoder invents worse than a VAE", FRECHET, "vae", "autoencoder"),
    Hypothesis("an autoencoder invents worse than a GAN", FRECHET, "gan", "autoencoder"),
    Hypothesis("an autoencoder invents worse than a VAE-GAN", FRECHET, "vae_gan", "autoencoder"),
    Hypothesis(
        "an autoencoder invents worse than a VAE from the same N(0, I)",
        FRECHET,
        "vae",
        "autoencoder-standard_normal",
    ),
    Hypothesis("a VAE has a better likelihood than a VQ-VAE", NLL, "vae", "vq_vae"),
    Hypothesis("a learned prior (VampPrior) has a better likelihood", NLL, "vae-vamp", "vae"),
    Hypothesis("a learned prior (flow) has a better likelihood", NLL, "vae-flow", "vae"),
)


def hypothesis_results(members: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    """Give a line a claim of which both sides were measured."""
    for claim in HYPOTHESES:
        lower, higher = (members.get(name, {}).get(claim.metric) for name in _sides(claim))
        if lower and higher:
            yield f"- {hypothesis_result(claim, lower, higher)}"
    bounded = [name for name, metrics in members.items() if NLL in metrics]
    unbounded = [name for name in members if name not in bounded]
    if bounded and unbounded:
        yield (
            f"- Only {', '.join(bounded)} bound their likelihood; {', '.join(unbounded)} do not, "
            "and are scored only with noise added to their images (docs/evaluation.md)."
        )


def hypothesis_result(claim: Hypothesis, lower: list[float], higher: list[float]) -> str:
    """Say whether the difference, paired by seed, bears a claim out: Student's t test."""
    pairs = list(zip(lower, higher, strict=True))
    difference, error = mean_and_standard_error([high - low for low, high in pairs])
    (low, _), (high, _) = map(mean_and_standard_error, (lower, higher))
    if error is None:
        word, spread = "not decided by one seed", ""
    else:
        word, spread = _word(difference, error, len(pairs)), f" ± {error:.2g}"
    return (
        f"{claim.text[0].upper()}{claim.text[1:]}: {word} ({claim.metric} {low:.4g} against "
        f"{high:.4g}, difference {difference:+.3g}{spread})."
    )


def _word(difference: float, error: float, seeds: int) -> str:
    if abs(difference) <= error * t.ppf((1 + CONFIDENCE) / 2, seeds - 1):
        return "not decided"
    return "confirmed" if difference > 0 else "**refuted**"


def _sides(claim: Hypothesis) -> tuple[str, str]:
    return claim.lower, claim.higher
