"""What the files' metrics are called in MLflow, and which of them it is told.

MLflow shows the metrics up to the last "/" of their names as a section, and the sections in
alphabetical order: curves, which have a value for each epoch, come first.
"""

import re
from collections.abc import Mapping

CURVES = "curves/"
TRAINING = f"{CURVES}train/"
# The start of the name, by the group that a metric has in the files; else the group itself.
SECTIONS: Mapping[str, str] = {
    "train": TRAINING,
    "validation": f"{CURVES}validation/",
    "annealing": "test/ais_",
    "disentanglement": "latent/disentanglement/",
}
SCHEDULED = ("learning_rate", "kl_weight", "capacity_nats")
SORTED_BY = "test/neg_elbo_nats"
"""The metric by which runs are sorted and models are promoted."""

# Standard errors, counts, settings and properties of the data say nothing about a model by
# themselves. Of the rest, these are the details of another metric. All are in the files.
LEFT_OUT = re.compile(
    r"(?!study_|best\.).*(_standard_error(_nats|_db)?|_floor|_real|_mean_image|_cap_nats|_chance"
    r"|_importance_samples|_effective_sample_size|_change_on_doubling_nats)"
    r"|test\.nll_(images|rounding_nats)|likelihood\.(effective_sample_size|importance_samples|images)"
    r"|annealing\.(?!nll_nats|gap_nats).*"
    r"|latent\.(dimensions|aggregate_.*|.*ks_statistic.*|.*_largest_step|mmd_squared"
    r"|gaussian_total_correlation_nats|dimension_wise_kl_nats|kmeans_adjusted_rand_index)"
    r"|sample[rs]+\.(count|classes_drawn|likelihood_images|largest_class_share|spectrum_slope"
    r"|nearest_training_distance|classifier_test_accuracy|pca_.*|.*_density|.*_kernel_distance"
    r"|pixels_(?!frechet).*|inception_(?!frechet).*)"
    r"|sampler\.(neg_elbo_nats|kl_loss_nats|nll_nats|nll_gain_nats|pixels_.*|data_copying_z)"
)


def mlflow_name(name: str) -> str | None:
    """Return the name that a metric has in MLflow; None if it is left out there."""
    if LEFT_OUT.fullmatch(name):
        return None
    if name in SCHEDULED:
        return f"{CURVES}schedule/{name}"
    group, _, rest = name.partition(".")
    return f"{SECTIONS.get(group, f'{group}/')}{rest}" if rest and "/" not in name else name


def for_mlflow(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that MLflow is told, by their names there."""
    named = ((mlflow_name(name), value) for name, value in metrics.items())
    return {name: value for name, value in named if name}


def without_constants(
    row: Mapping[str, float], before: Mapping[str, float] | None
) -> dict[str, float]:
    """Return an epoch's metrics without the scheduled settings that are as an epoch before."""
    before = before or row
    return {k: v for k, v in row.items() if k not in SCHEDULED or before.get(k, v) != v}
