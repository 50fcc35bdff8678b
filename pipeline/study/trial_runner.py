"""Trains trials, in batched models or one after another, on data that is already in memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline import paths
from pipeline.study.scorer import TrialScorer
from vaelab.config import Settings
from vaelab.models.model import Model
from vaelab.models.saving import CONFIG, load_model, save_model
from vaelab.runtime import memory
from vaelab.training.build import build_trainer
from vaelab.training.fingerprint import describe_model, training_fingerprint
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer
from vaelab.training.vectorized import VectorizedTrainer, group_compatible

OnEpoch = Callable[[Trainer, EpochReport], None]
# A model, and the number of epochs that it was trained for.
Trained = tuple[Model, int]


class TrialRunner:
    """Trains the model of a trial's settings and caches it on disk."""

    def __init__(self, scorer: TrialScorer) -> None:
        self.scorer, self.data, self.device = scorer, scorer.data, scorer.device

    def train_all(
        self, settings: Sequence[Settings], on_epochs: Sequence[OnEpoch]
    ) -> Iterator[tuple[int, Trained | Exception]]:
        """Train models, batched where that is possible.

        Yields the index of each as it ends, with its model or the error that ended it. An error
        raised by one model's `on_epochs` ends only that model. Raises UserError, for all of them,
        if the memory is too small for a batched model.
        """
        for indices in group_compatible(settings, self.data.info.image_shape):
            if len(indices) > 1:
                yield from self._train_batched(indices, settings, on_epochs)
                continue
            index = indices[0]
            result: Trained | Exception
            try:
                result = self.train(settings[index], on_epochs[index])
            except Exception as error:  # the queue knows which errors are a trial's own
                result = error
            yield index, result

    def train(
        self, settings: Settings, on_epoch: OnEpoch = lambda trainer, report: None
    ) -> Trained:
        """Train one model and save it; return it with its number of epochs."""
        trainer = self.build_trainer(settings)
        trainer.fit(lambda report: on_epoch(trainer, report), show_progress=False)
        return self._save(settings, trainer)

    def load_or_retrain(self, settings: Settings) -> Model:
        """Return the model of a trial; retrain it, to the same weights, if it is not cached."""
        folder = self._folder(settings)
        if (folder / CONFIG).is_file():  # written last
            model, _ = load_model(folder, self.device)
            return model.seeing_gaps(bool(self.data.info.missing))
        print("no cached model for this code; retraining", flush=True)
        return self.train(settings)[0]

    def _train_batched(
        self, indices: Sequence[int], settings: Sequence[Settings], on_epochs: Sequence[OnEpoch]
    ) -> Iterator[tuple[int, Trained | Exception]]:
        trainers = [self.build_trainer(settings[index]) for index in indices]

        def on_epoch(row: int, report: EpochReport) -> None:
            on_epochs[indices[row]](trainers[row], report)

        with memory.oom_as_user_error("tune.trials_together", len(indices)):
            for row, result in VectorizedTrainer(trainers).fit(on_epoch):
                index = indices[row]
                if isinstance(result, Exception):
                    yield index, result
                else:
                    yield index, self._save(settings[index], trainers[row])

    def build_trainer(self, settings: Settings) -> Trainer:
        """Build a model and its trainer on the scorer's splits."""
        return build_trainer(settings, self.scorer.train, self.scorer.validation, self.device)

    def _save(self, settings: Settings, trainer: Trainer) -> Trained:
        description = describe_model(settings, self.data.info, trainer)
        save_model(self._folder(settings), trainer.model, description)
        return trainer.model.eval(), trainer.progress.epoch

    def _folder(self, settings: Settings) -> Path:
        return paths.study_models() / training_fingerprint(settings, self.device, paths.PREPARED)
