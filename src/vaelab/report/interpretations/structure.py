"""Verdicts on labels, ways and factors in the latent space."""

from collections.abc import Mapping

from vaelab.report.interpretations.context import Interpretation, MetricContext, Rule, with_suffix
from vaelab.runtime.formatting import format_number


def _accuracy(reading: MetricContext) -> Interpretation:
    chance = reading.result.commonest_class_share
    if chance is None or chance == 1:
        return reading.unrated(f"{reading.value:.0%} of the classes are read correctly.")
    text = f"{reading.value:.0%} right, where the commonest class alone gives {chance:.0%}."
    return reading.rated(text, _from_chance(reading.value, chance))


def _from_chance(value: float, chance: float) -> float:
    return (value - chance) / (1 - chance)


def _clusters(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated("Clusters found without labels"),
        " are the classes.",
        " match the classes in part.",
        " are not the classes.",
    )


def _steps(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated(f"The largest step is {format_number(reading.value, 2)} times the mean one"),
        ": the way is even.",
        ": the way is uneven.",
        ": the way jumps.",
    )


def _gap(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated("Factors"),
        " have a dimension each.",
        " share dimensions in part.",
        " have no dimension of their own.",
    )


def _disentanglement(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated("Most dimensions"),
        " mean one thing.",
        " mean more than one thing.",
        " mean many things.",
    )


def _completeness(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated("Most factors"),
        " lie in one dimension.",
        " lie in several dimensions.",
        " are spread over many dimensions.",
    )


def _informativeness(reading: MetricContext) -> Interpretation:
    chance = reading.reference
    if chance is None:
        return reading.unrated("How much of it is chance is not known.")
    return with_suffix(
        reading.rated("The factors", _from_chance(reading.value, chance)),
        " can be read from the latents.",
        " can be read in part.",
        " are hardly in the latents, so the other scores mean little.",
    )


def _separation(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated("Factors"),
        " are each read best from a single dimension.",
        " are read from one dimension a little better than from the next.",
        " are read as well from several dimensions.",
    )


def _factor_vae(reading: MetricContext) -> Interpretation:
    columns = reading.result.arrays.get("factor_columns")
    factors = len(reading.result.info.factor_names or () if columns is None else columns)
    chance = f", where chance is {1 / factors:.0%}" if factors else ""
    return reading.rated(f"The right factor {reading.value:.0%} of the time{chance}.")


RULES: Mapping[str, Rule] = {
    "latent.linear_probe_accuracy": _accuracy,
    "latent.knn_accuracy": _accuracy,
    "latent.kmeans_normalized_mutual_information": _clusters,
    "latent.kmeans_adjusted_rand_index": _clusters,
    "latent.linear_interpolation_largest_step": _steps,
    "latent.spherical_interpolation_largest_step": _steps,
    "disentanglement.mutual_information_gap": _gap,
    "disentanglement.dci_disentanglement": _disentanglement,
    "disentanglement.dci_completeness": _completeness,
    "disentanglement.dci_informativeness": _informativeness,
    "disentanglement.sap_score": _separation,
    "disentanglement.factor_vae_score": _factor_vae,
}
