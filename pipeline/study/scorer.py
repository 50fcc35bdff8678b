"""The score of a trial, as `tune.objective` defines it.

It is measured on the validation split, never on the test split, and is never the weighted loss.
"""

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts import build_batches
from pipeline.study.sample_metrics import SampleScorer
from pipeline.study.storage import study_directions
from pipeline.study.trial_settings import check_trial_warmups, trial_settings
from vaelab.config import EvaluateSettings, Settings, UserError
from vaelab.config.tune import BOUNDED
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import GROUPS, EvaluationData, evaluate
from vaelab.evaluation.classifier import Classifier
from vaelab.evaluation.scoring import (
    closed_form_weight,
    mean_effective_sample_size,
    normalized_bound,
    score_images,
    with_fitted_variance,
)
from vaelab.metrics import lookup
from vaelab.models.model import Model
from vaelab.objectives import Objective
from vaelab.runtime.serialization import flattened
from vaelab.samplers import Sampler
from vaelab.training.build import build
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

# Finalists are compared by means over this many groups of images, which the storage can hold.
IMAGE_GROUPS = 50
# The most intermediate values that a trial reports to the pruner.
REPORTS = 20
CHECK_IMAGES = 200
# A trial's metric: the mean effective sample size of K = tune.importance_samples.
EFFECTIVE_SAMPLE_SIZE = "nll_effective_sample_size"
# Prefixes of a study's metrics in MLflow. Unlike the evaluate stage's `test.*`, a Gaussian
# likelihood's variance is fitted anew to the training split before they are measured.
ON_VALIDATION, ON_TEST = "study_validation.", "study_test."


@dataclass(frozen=True)
class TrialScore:
    """A trial's values, one for each direction, and its other metrics.

    `groups` has the value's mean over each of at most 50 groups of images, which are the same for
    all trials; it is empty if the value is not a mean over images.
    """

    values: tuple[float, ...]
    metrics: dict[str, float]
    groups: list[float] = field(default_factory=list)


class TrialScorer:
    """Scores models by `tune.objective` on the validation split, all with the same noise."""

    def __init__(self, settings: Settings, data: PreparedData, device: torch.device) -> None:
        self.tune, self.evaluate = settings.tune, settings.evaluate
        self.settings, self.data, self.device = settings, data, device
        self.dequantize = settings.data.dequantize
        self.train, self.validation = self.open_split("train"), self.open_split("validation")
        self.samples = SampleScorer(settings, data, self.train, device)
        self.directions = study_directions(self.tune)
        self.metric: str | None = None
        self._check_objective()
        if self.tune.objective not in BOUNDED:
            self.metric = self._full_metric_name(self.tune.objective)

    @property
    def label(self) -> str:
        """What is measured, with its unit."""
        if self.metric:
            metric = self.metric.removeprefix("test.").replace(".", " ").replace("_", " ")
            return f"validation {metric}"
        if self.tune.objective == "nll":
            return f"validation NLL (K = {self.tune.importance_samples}), nats per image"
        return "validation negative ELBO, nats per image"

    @property
    def value_names(self) -> list[str]:
        """The name of each of a trial's values, with its split and its unit."""
        if self.metric:
            return [f"{ON_VALIDATION}{self.metric.removeprefix('test.')}"]
        if self.tune.objective == "rate_distortion":
            return [f"{ON_VALIDATION}{name}" for name in ("kl_loss_nats", "generation_loss_nats")]
        return [f"{ON_VALIDATION}{self.tune.objective}_nats"]

    def open_split(self, split: SplitName) -> ImageLoader:
        """Open a split on the device."""
        return build_batches(self.data, split, self.dequantize, self.device)

    def intermediate_value(self, trainer: Trainer, report: EpochReport) -> float | None:
        """Return a trial's value after an epoch, for the pruner, at most 20 times; else None.

        Samplers and proposals are fitted to the trained model only, so their metrics have none.
        """
        every = math.ceil(trainer.settings.epochs / REPORTS)
        if len(self.directions) > 1 or report.epoch % every:
            return None
        if self.metric and self.metric.startswith(("sampler.", "likelihood.")):
            return None
        if self.metric:
            model = trainer.model.eval()  # a batched model leaves its members in training mode
            return self._measure(self.metric, model, self.validation, "validation", 2)
        missing = self.data.info.missing.get("validation", 0)
        pixels = math.prod(trainer.model.image_shape) * (1 - missing)
        return normalized_bound(report.metrics, trainer.model.likelihood, pixels)

    def score(self, model: Model) -> TrialScore:
        """Score a trained model on the validation split."""
        return self._score(model, self.validation, "validation", self.tune.importance_samples)

    def score_on_test(self, model: Model) -> TrialScore:
        """Score the winner on the test split, with `tune.final_importance_samples`."""
        return self._score(
            model, self.open_split("test"), "test", self.tune.final_importance_samples
        )

    def _score(
        self, model: Model, images: ImageLoader, split: SplitName, samples: int
    ) -> TrialScore:
        with with_fitted_variance(model, self.train, self.evaluate.seed) as variance:
            metrics, per_image = self._bounds(model, images, split, samples)
        weight = closed_form_weight(model.likelihood, variance)
        metrics |= {"closed_form_kl_weight": weight}
        if variance is not None:
            metrics["train_mean_squared_error"] = variance
        if self.metric:
            value = self._measure(self.metric, model, images, split, samples)
            name = self.metric.removeprefix("test.")
            name = name if split == "test" else f"{ON_VALIDATION}{name}"
            return TrialScore((value,), metrics | {name: value})
        if self.tune.objective == "rate_distortion":
            values = metrics["kl_loss_nats"], metrics["generation_loss_nats"]
            return TrialScore(values, metrics, _groups(per_image))
        return TrialScore((metrics[f"{self.tune.objective}_nats"],), metrics, _groups(per_image))

    def _bounds(
        self, model: Model, images: ImageLoader, split: SplitName, samples: int
    ) -> tuple[dict[str, float], Tensor]:
        """Return the bounds' means, and each image's nats by which models are compared.

        Every image has K = `samples` samples for `nll` and on the test split. Otherwise only the
        effective sample size needs them, on few images.
        """
        seed, is_nll = self.evaluate.seed, self.tune.objective == "nll"
        if is_nll or split == "test":
            scores = score_images(model, images, samples, seed)
            return scores.means(), scores.nll if is_nll else scores.neg_elbo
        scores = score_images(model, images, 1, seed)
        metrics = scores.mean_losses()
        if model.has_bound:
            size = mean_effective_sample_size(model, images, samples, seed)
            metrics[EFFECTIVE_SAMPLE_SIZE] = size
        return metrics, scores.neg_elbo

    def _measure(
        self, metric: str, model: Model, images: ImageLoader, split: SplitName, samples: int
    ) -> float:
        """Return a metric of a split as the evaluate stage measures it on the test split."""
        is_nll = metric.startswith(("test.", "likelihood.")) and (
            "nll" in metric or "bits" in metric
        )
        # The change on doubling the number of samples needs at least two.
        update = {"importance_samples": max(2, samples) if is_nll else 2}
        if not _needs_fitted_proposals(metric):
            update["likelihood_images"] = 0
        settings = self.evaluate.model_copy(update=update)
        sampled = self.samples.classifier_for(metric), self.samples.sampler_for(metric, model)
        groups = _groups_of(metric)
        return self._evaluated(model, images, split, settings, groups, *sampled)[metric]

    def _evaluated(
        self,
        model: Model,
        images: ImageLoader,
        split: SplitName,
        settings: EvaluateSettings,
        groups: Collection[str],
        classifier: Classifier | None,
        sampler: Sampler | None,
    ) -> Mapping[str, float]:
        """Return the metrics, by dotted name, of a model on the first images of a split."""
        labels, factors = self.data.labels(split), self.data.factors(split)
        data = EvaluationData(
            name=self.data.info.name,
            levels=self.data.info.levels,
            train=self.train,
            test=images,
            train_labels=self.data.labels("train"),
            test_labels=None if labels is None else labels[: len(images)],
            train_factors=self.data.factors("train"),
            test_factors=None if factors is None else factors[: len(images)],
        )
        found = evaluate(model, data, settings, self.device, classifier, groups, sampler)
        return flattened(found.metrics)

    def _check_objective(self) -> None:
        objective, model = self._build({})
        name, bounded = self.settings.train.objective, self.tune.objective in BOUNDED
        self._check_own_settings()
        check_trial_warmups(self.settings)
        if "encoder" not in objective.networks():
            raise UserError(f"tune: objective {name} has no encoder to score")
        if bounded and not model.has_bound:
            raise UserError(
                f"tune.objective: {self.tune.objective} needs a bound on the likelihood, which "
                f"objective {name} does not have; use a metric such as mean_squared_error"
            )

    def _check_own_settings(self) -> None:
        """Raise UserError for unknown settings of an objective, a network or a prior."""
        for key, entry in self.tune.search_space.items():
            if key.startswith(("objectives.", "model.networks.", "model.priors.")):
                self._build({key: entry.examples()[0]})

    def _build(self, changes: Mapping[str, object]) -> tuple[Objective, Model]:
        """Build the objective and the model of a trial with these settings changed."""
        changed = trial_settings(self.settings, changes)
        objective, model = build(changed, self.data.info.image_shape, self.train.classes)
        return objective, model.seeing_gaps(bool(self.data.info.missing))

    def _full_metric_name(self, name: str) -> str:
        """Return a metric's full name; `name` may lack its group. Raises UserError if unknown."""
        _, built = self._build({})
        model = built.to(self.device).eval()
        labels = self.data.labels("validation")
        some = ImageLoader(
            np.array(self.data.images("validation")[:CHECK_IMAGES]),
            self.device,
            labels=None if labels is None else labels[:CHECK_IMAGES],
            classes=self.train.classes,
        )
        few = {"importance_samples": 2, "annealing_images": 1, "annealing_temperatures": 2}
        few |= {"likelihood_images": 1}
        few |= {"sampler_importance_samples": 2}
        entry = lookup(name)
        # Annealed metrics take too long to compute for the message.
        groups = _groups_of(entry.group) if entry else set(GROUPS) - {"annealing"}
        settings = self.evaluate.model_copy(update=few)
        untrained = self.samples.untrained(model)
        known = self._evaluated(model, some, "validation", settings, groups, *untrained)
        metrics = [metric for metric in known if not metric.startswith("dataset.")]
        found = [metric for metric in metrics if name in (metric, metric.partition(".")[2])]
        if found:
            return found[0]
        near = difflib.get_close_matches(name, metrics, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"tune.objective: {name} is not measured for this data and model; {hint}"
            f"valid: {', '.join((*BOUNDED, *metrics))}"
        )


def _needs_fitted_proposals(metric: str) -> bool:
    """Whether a metric is computed from proposals fitted to the posteriors of some images."""
    two_stage = metric.startswith("sampler.") and ("nats" in metric or "nll" in metric)
    return two_stage or metric.startswith("likelihood.")


def _groups_of(metric: str) -> set[str]:
    """Return the groups that are evaluated for a metric."""
    group = metric.partition(".")[0]
    return {"samples", "test"} if group == "sampler" else {group}


def _groups(nats: Tensor) -> list[float]:
    parts = torch.tensor_split(nats.cpu(), min(IMAGE_GROUPS, len(nats)))
    return [round(part.mean().item(), 4) for part in parts]
