"""What a model is, in a few words."""

from collections.abc import Iterator

from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.posterior_collapse import READ_KL_WEIGHT


def model_summary(subject: EvaluationResult) -> Iterator[tuple[str, str]]:
    """Give what tells this model from others, by name."""
    model, settings = subject.description.model, subject.description.settings
    channels, height, width = subject.info.image_shape
    counts = subject.info.counts
    yield "Data", f"{subject.info.name}, {height} × {width} pixels, {_plural(channels, 'channel')}"
    yield "Images", f"{counts['train']:,} for training, {counts['test']:,} for this report"
    yield "Objective", subject.description.objective
    yield "Prior", _words(model.prior)
    yield "Network", f"{model.network}, {_widths(model.network, model.channels, model.hidden)}"
    if "discriminator" not in subject.description.networks:
        yield "Likelihood", _words(model.likelihood)
    yield "Latent size", str(model.latent_dim)
    for name, title in {"train.kl_weight": "KL weight", "train.epochs": "Epochs"}.items():
        read = name != "train.kl_weight" or subject.description.objective in READ_KL_WEIGHT
        if name in settings and read:
            yield title, str(settings[name])
    samples = subject.value("test.nll_importance_samples")
    if samples:
        yield "Importance samples", f"{samples:,.0f}"
    weights = subject.metrics.get("samples", {}).get("inception_weights_sha256")
    if weights:
        yield "Inception weights", f"SHA-256 {str(weights)[:12]}"


def _widths(network: str, channels: tuple[int, ...], hidden: tuple[int, ...]) -> str:
    widths = hidden if network == "mlp" else channels
    return "–".join(map(str, widths)) or "linear"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
