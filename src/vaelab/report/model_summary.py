"""The facts about a model at the top of the page."""

from collections.abc import Iterator

from vaelab.config import ModelSettings
from vaelab.models.networks import build_network
from vaelab.models.priors import prior_class
from vaelab.report.evaluation_result import EvaluationResult

QUICK = " (evaluate.level): of fewer images, with wider standard errors"


def model_summary(result: EvaluationResult) -> Iterator[tuple[str, str]]:
    """Yield names and values of what distinguishes this model from others."""
    description, info = result.description, result.info
    model, settings = description.model, description.settings
    channels, height, width = info.image_shape
    plural = "" if channels == 1 else "s"
    yield "Data", f"{info.name}, {height} × {width} pixels, {channels} channel{plural}"
    yield "Images", f"{info.counts['train']:,} for training, {info.counts['test']:,} for testing"
    yield "Objective", description.objective
    yield "Prior", model.prior.replace("_", " ")
    if result.sees_labels:
        prior = ", prior" if prior_class(model.prior).conditional else ""
        yield "Labels", f"seen by encoder{prior} and decoder: likelihoods are of p(x|y)"
    yield "Network", model.network + _widths(model)
    if not result.has_discriminator:
        yield "Likelihood", model.likelihood.replace("_", " ")
    yield "Latent size", str(model.latent_dim)
    if "train.kl_weight" in result.objective_settings & settings.keys():
        yield "KL weight", str(settings["train.kl_weight"])
    if "train.epochs" in settings:
        yield "Epochs", str(settings["train.epochs"])
    samples = result.value("test.nll_importance_samples")
    if samples:
        yield "Importance samples", f"{samples:,.0f}"
    level = result.metrics.get("evaluation", {}).get("level")
    if level:
        yield "Evaluation", f"{level}{QUICK if level == 'quick' else ''}"
    weights = result.metrics.get("samples", {}).get("inception_weights_sha256")
    if weights:
        yield "Inception weights", f"SHA-256 {str(weights)[:12]}"


def _widths(model: ModelSettings) -> str:
    network = build_network(model)
    if network.width_field is None:
        return ""
    widths = getattr(network, network.width_field)
    return f", {'–'.join(map(str, widths)) or 'linear'}"
