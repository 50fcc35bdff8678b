"""What a study needs to score trials by their samples: a classifier, and a sampler a trial."""

from functools import cached_property

import torch

from pipeline.classifier import trained_classifier
from vaelab.config import NO_SAMPLER, Settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.classifier import Classifier, build_classifier
from vaelab.models.model import Model
from vaelab.samplers import (
    Sampler,
    build_sampler,
    encode_posteriors,
    fit_sampler,
    sampler_class,
)

# Groups of metrics that are of samples, and parts of the names of those that need a classifier.
SAMPLE_GROUPS, CLASSIFIED = ("samples", "sampler"), ("class", "label")


class SampleScorer:
    """Fits samplers to the training split, and trains the classifier once, when it is needed."""

    def __init__(
        self, settings: Settings, data: PreparedData, train: ImageLoader, device: torch.device
    ) -> None:
        self.settings, self.data, self.train, self.device = settings, data, train, device

    def classifier_for(self, metric: str) -> Classifier | None:
        """Return the classifier if the metric needs one and the data have labels."""
        group, _, name = metric.partition(".")
        needed = group in SAMPLE_GROUPS and any(part in name for part in CLASSIFIED)
        return self._classifier if needed else None

    def sampler_for(self, metric: str, model: Model) -> Sampler | None:
        """Fit a sampler to a model if the metric needs one."""
        if not metric.startswith("sampler.") or self.settings.sampler.name == NO_SAMPLER:
            return None
        posteriors = encode_posteriors(model, self.train, self.data.labels("train"))
        return fit_sampler(self.settings.sampler, self.settings.samplers, posteriors).sampler

    def untrained(self, model: Model) -> tuple[Classifier | None, Sampler | None]:
        """Return a classifier and a sampler that are not trained: to find out what is measured."""
        names, name = self.data.info.class_names, self.settings.sampler.name
        classes = 0 if names is None or self.train.labels is None else len(names)
        shape = self.data.info.image_shape
        classifier = build_classifier(shape, classes).to(self.device).eval() if classes else None
        if name == NO_SAMPLER:
            return classifier, None
        own = sampler_class(name).default_settings() | self.settings.samplers.get(name, {})
        sampler = build_sampler(name, own, model.latent_dim, classes)
        return classifier, sampler.to(self.device).eval()

    @cached_property
    def _classifier(self) -> Classifier | None:
        epochs = self.settings.evaluate.classifier_epochs
        return trained_classifier(self.data, epochs, self.device)
