"""Trains trials, together or one after another, with the data and the code already in memory."""

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
    """Trains a model as settings say, keeps it on disk, and finds it again."""

    def __init__(self, scorer: TrialScorer) -> None:
        self.scorer, self.data, self.device = scorer, scorer.data, scorer.device

    def trainer(self, settings: Settings) -> Trainer:
        """Build a model and its loop on the splits at hand."""
        return build_trainer(settings, self.scorer.train, self.scorer.validation, self.device)

    def train(
        self, settings: Settings, on_epoch: OnEpoch = lambda trainer, report: None
    ) -> Trained:
        """Train to the end, keep the model, and give it and its number of epochs."""
        trainer = self.trainer(settings)
        trainer.fit(lambda report: on_epoch(trainer, report), show_progress=False)
        return self._save(settings, trainer)

    def train_all(
        self, settings: Sequence[Settings], on_epochs: Sequence[OnEpoch]
    ) -> Iterator[tuple[int, Trained | Exception]]:
        """Train as many together as can be; give each one's number, and its model or what ended it.

        What an entry's `on_epochs` raises ends that entry, and no other. Raises UserError, for
        all, where memory is too small for so many.
        """
        for numbers in group_compatible(settings, self.data.info.image_shape):
            if len(numbers) == 1:
                yield numbers[0], self._attempt(settings[numbers[0]], on_epochs[numbers[0]])
            else:
                yield from self._train_vectorized(numbers, settings, on_epochs)

    def _attempt(self, settings: Settings, on_epoch: OnEpoch) -> Trained | Exception:
        try:
            return self.train(settings, on_epoch)
        except Exception as error:  # whoever asked for it knows what to make of it
            return error

    def _train_vectorized(
        self, numbers: Sequence[int], settings: Sequence[Settings], on_epochs: Sequence[OnEpoch]
    ) -> Iterator[tuple[int, Trained | Exception]]:
        trainers = [self.trainer(settings[number]) for number in numbers]

        def on_epoch(place: int, report: EpochReport) -> None:
            on_epochs[numbers[place]](trainers[place], report)

        with memory.oom_as_user_error("tune.trials_together", len(numbers)):
            for place, outcome in VectorizedTrainer(trainers).fit(on_epoch):
                number, trainer = numbers[place], trainers[place]
                if isinstance(outcome, Exception):
                    yield number, outcome
                else:
                    yield number, self._save(settings[number], trainer)

    def _save(self, settings: Settings, trainer: Trainer) -> Trained:
        description = describe_model(settings, self.data.info, trainer)
        save_model(self._folder(settings), trainer.model, description)
        return trainer.model.eval(), trainer.progress.epoch

    def load_or_retrain(self, settings: Settings) -> Model:
        """Give the model of a trial, trained again, to the same, if it is not on this machine."""
        folder = self._folder(settings)
        if (folder / CONFIG).is_file():  # written last
            model, _ = load_model(folder, self.device)
            return model
        print("a model is not here, or is of other code: training it again", flush=True)
        return self.train(settings)[0]

    def _folder(self, settings: Settings) -> Path:
        return paths.study_models() / training_fingerprint(settings, self.device, paths.PREPARED)
