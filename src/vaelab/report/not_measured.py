"""What was not measured of a model, and why."""

from collections.abc import Iterator

from vaelab.report.evaluation_result import EvaluationResult


def not_measured(result: EvaluationResult) -> Iterator[str]:
    """Yield a sentence for each kind of metric that is missing."""
    if not result.has("test.nll_nats"):
        yield f"No bound on the likelihood: {_why_no_bound(result)}."
        if result.has("annealing.nll_nats"):
            yield "The likelihood is estimated by annealed importance sampling, without an encoder."
    if not result.has_encoder:
        yield "No metrics of the latent space: without an encoder, images have no latents."
    elif not result.has_standard_prior:
        prior = result.description.model.prior.replace("_", " ")
        yield f"No comparison of dimensions with N(0, 1): the prior is {prior}."
    if len(result.classes) < 2:
        why = "all images have the same label" if result.classes else "the images have no labels"
        yield f"No metrics of classes: {why}."
    if not result.has("annealing.nll_nats"):
        yield f"No annealed importance sampling: {_why_not_annealed(result)}."
    if not result.has("samples.count"):
        why = "at least 6 training and 6 test images"
        yield f"No metrics of samples: they need {'whole images' if result.info.missing else why}."


def _why_no_bound(result: EvaluationResult) -> str:
    objective = result.description.objective
    if not result.has_encoder:
        return f"{objective} has no encoder, so no posterior to sample importance-weighted latents"
    if result.has_discriminator:
        return f"{objective} compares the features of a discriminator instead of pixels"
    return "the encoder returns points, not distributions"


def _why_not_annealed(result: EvaluationResult) -> str:
    if result.prior_kind == "codes":
        return "it needs continuous latents, and codes are discrete"
    return "evaluate.annealing_images was 0"
