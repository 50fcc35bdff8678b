"""Interpretations of classes and factors in the latent space."""

from vaelab.report.interpretations.context import (
    Interpretation,
    MetricContext,
    interprets,
    with_suffix,
)


@interprets("latent.linear_probe_accuracy", "latent.knn_accuracy")
def _accuracy(context: MetricContext) -> Interpretation:
    chance = context.result.majority_class_share
    if chance is None or chance == 1:
        return context.unrated(f"{context.value:.0%} accuracy.")
    text = f"{context.value:.0%} accuracy; always predicting the most frequent class reaches "
    return context.rated(f"{text}{chance:.0%}.", _above_chance(context.value, chance))


def _above_chance(accuracy: float, chance: float) -> float:
    return (accuracy - chance) / (1 - chance)


@interprets("disentanglement.dci_informativeness")
def _informativeness(context: MetricContext) -> Interpretation:
    chance = context.reference
    if chance is None:
        return context.unrated("The accuracy of chance is unknown.")
    return with_suffix(
        context.rated("The factors", _above_chance(context.value, chance)),
        " can be predicted from the latents.",
        " can be predicted partly from the latents.",
        " can hardly be predicted from the latents, so the other scores mean little.",
    )


@interprets("disentanglement.factor_vae_score")
def _factor_vae(context: MetricContext) -> Interpretation:
    columns = context.result.arrays.get("factor_columns")
    factors = len(context.result.info.factor_names or () if columns is None else columns)
    chance = f"; chance is {1 / factors:.0%}" if factors else ""
    return context.rated(
        f"The factor is identified correctly {context.value:.0%} of the time{chance}."
    )
