"""Trains trials one after another, with the data and the code already in memory."""

from collections.abc import Callable
from pathlib import Path

from pipeline import paths
from pipeline.described import describe_model, training_key
from pipeline.study.judge import Judge
from vaelab.assembly import build_trainer
from vaelab.checkpoint import CONFIG, load_model, save_model
from vaelab.config import Settings
from vaelab.models import Model
from vaelab.progress import EpochReport
from vaelab.training import Trainer


class Laboratory:
    """Trains a model as settings say, keeps it on disk, and finds it again."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.data, self.device = judge, judge.data, judge.device

    def trainer(self, settings: Settings) -> Trainer:
        """Build a model and its loop on the splits at hand."""
        return build_trainer(settings, self.judge.train, self.judge.validation, self.device)

    def train(
        self,
        settings: Settings,
        on_epoch: Callable[[Trainer, EpochReport], None] = lambda trainer, report: None,
    ) -> tuple[Model, int]:
        """Train to the end, keep the model, and give it and its number of epochs."""
        trainer = self.trainer(settings)
        progress = trainer.fit(lambda report: on_epoch(trainer, report), show_progress=False)
        description = describe_model(settings, self.data.info, trainer)
        save_model(self._folder(settings), trainer.model, description)
        return trainer.model.eval(), progress.epoch

    def recall(self, settings: Settings) -> Model:
        """Give the model of a trial, trained again, to the same, if it is not on this machine."""
        folder = self._folder(settings)
        if (folder / CONFIG).is_file():  # written last
            model, _ = load_model(folder, self.device)
            return model
        print("a model is not here, or is of other code: training it again", flush=True)
        return self.train(settings)[0]

    def _folder(self, settings: Settings) -> Path:
        return paths.study_models() / training_key(settings, self.device)
