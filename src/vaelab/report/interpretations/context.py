"""A metric's value in the context of its evaluation, and its interpretation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from vaelab.metrics import SPECS, MetricSpec, Rating
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.posterior_collapse import has_collapsed


@dataclass(frozen=True)
class Interpretation:
    """A rating, and a sentence about what the value means for this model.

    `moot`: the number means nothing for this model, so the page greys it.
    """

    rating: Rating
    text: str
    moot: bool = False


@dataclass(frozen=True)
class MetricContext:
    """A metric, its value, and the same quantity for real images or for chance, if known."""

    metric: MetricSpec
    value: float
    result: EvaluationResult
    reference: float | None = None

    def other(self, name: str) -> float | None:
        """Return another number by its full name, None if it was not measured."""
        return self.result.value(name)

    def rated(self, text: str, measure: float | None = None) -> Interpretation:
        """Rate a measure, by default the value, by the metric's thresholds."""
        return Interpretation(self.metric.rating(self.value if measure is None else measure), text)

    def rating_of(self, name: str) -> Rating:
        """Rate another number by its own thresholds; "none" if it was not measured."""
        value = self.other(name)
        return "none" if value is None else SPECS[name].rating(value)

    def unrated(self, text: str) -> Interpretation:
        """Return a text without a rating."""
        return Interpretation("none", text)


Interpret = Callable[[MetricContext], Interpretation]

INTERPRETATIONS: dict[str, Interpret] = {}
"""The functions for metrics whose interpretation depends on more than the value, by full name."""


BOUNDS = (
    "likelihood.nll_nats",
    "test.nll_nats",
    "test.bits_per_dim",
    "test.neg_elbo_nats",
    "annealing.nll_nats",
)
OF_LATENTS = ("latent", "structure")
# Of a latent without information, these are the finding.
INFORMATION = (
    "latent.dimensions",
    "latent.mutual_information_nats",
    "latent.mutual_information_cap_nats",
)
CLASSES_IN_LATENTS = ("latent.linear_probe", "latent.knn", "latent.kmeans")


def interprets(*names: str) -> Callable[[Interpret], Interpret]:
    """Register a function for metrics, each by one of its full names."""

    def register(function: Interpret) -> Interpret:
        for name in names:
            INTERPRETATIONS.update(dict.fromkeys(SPECS[name].names, function))
        return function

    return register


def interpret(context: MetricContext) -> Interpretation:
    """Return what a value means, by its metric's function or else by the sentences of its spec."""
    name = context.metric.names[0]
    found = INTERPRETATIONS.get(name, _from_spec)(context)
    if context.metric.section == "bound" and found.rating == "poor":
        # It rates the estimate, whose settings are the evaluation's, not the model.
        found = replace(found, rating="fair")
    if context.metric.section in OF_LATENTS and has_collapsed(context.result):
        return _moot(name, found)
    return _given_labels(name, found) if context.result.sees_labels else found


def _moot(name: str, found: Interpretation) -> Interpretation:
    """Take the rating from what describes latents that tell nothing about their images."""
    if name in INFORMATION:
        return found
    why = "A latent carries no information about its image here, so this number means nothing."
    return Interpretation("none", f"{found.text} {why}".strip(), moot=True)


def _given_labels(name: str, found: Interpretation) -> Interpretation:
    """Add what it means that the model sees labels."""
    if name in BOUNDS:
        return Interpretation(found.rating, f"{found.text} Of p(x|y), given the image's label y.")
    if name.startswith(CLASSES_IN_LATENTS):
        return Interpretation(
            "none", f"{found.text} The model sees the label, so a latent need not contain it."
        )
    return found


def _from_spec(context: MetricContext) -> Interpretation:
    metric, rating = context.metric, context.metric.rating(context.value)
    general = f"Thresholds: {metric.thresholds}." if metric.thresholds else metric.good
    text = metric.interpretation.get(rating)
    return Interpretation(rating, text.format(value=context.value) if text else general)


def with_suffix(interpretation: Interpretation, good: str, fair: str, poor: str) -> Interpretation:
    """Append what the rating means to an interpretation."""
    suffixes = {"good": good, "fair": fair, "poor": poor, "none": ""}
    suffix = suffixes[interpretation.rating]
    return Interpretation(interpretation.rating, interpretation.text + suffix)
