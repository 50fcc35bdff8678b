"""What is not measured of a model, and why."""

from collections.abc import Iterator

from vaelab.report.evaluation_result import EvaluationResult


def not_measured(subject: EvaluationResult) -> Iterator[str]:
    """Say what the page lacks."""
    if not subject.has("test.nll_nats"):
        yield f"No bound on the likelihood: {_why_unbounded(subject)}."
        if subject.has("annealing.nll_nats"):
            yield "Annealed importance sampling, which needs no encoder, scores the model instead."
    if not subject.has_encoder:
        yield "No latents of images: without an encoder there are none to measure."
    elif not subject.has_standard_prior:
        prior = subject.description.model.prior.replace("_", " ")
        yield f"No comparison of dimensions with N(0, 1): the prior is another one ({prior})."
    if len(subject.classes) < 2:
        why = "all images have the same label" if subject.classes else "the images have no labels"
        yield f"Nothing about classes: {why}."
    if not subject.has("annealing.nll_nats"):
        yield f"No annealed importance sampling: {_why_not_annealed(subject)}."
    if not subject.has("samples.count"):
        yield "No samples against real images: it takes 6 training and 6 test images or more."


def _why_unbounded(subject: EvaluationResult) -> str:
    objective = subject.description.objective
    if not subject.has_encoder:
        return f"{objective} has no encoder, so no posterior to draw weighted latents from"
    if "discriminator" in subject.description.networks:
        return f"{objective} judges images by a discriminator's features, not by their pixels"
    return "the encoder gives points, not distributions"


def _why_not_annealed(subject: EvaluationResult) -> str:
    if subject.description.model.prior == "codebook":
        return "annealing moves latents little by little, and codes only jump"
    return "evaluate.annealing_images was 0"
