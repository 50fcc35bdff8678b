"""A training of more epochs continues from the end of a shorter one, to the same bits."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.test_trainer import assert_same, make_trainer, weights
from vaelab.config import Settings, TrainSettings
from vaelab.objectives import Objective
from vaelab.objectives.gan import Gan
from vaelab.objectives.vae import Vae
from vaelab.objectives.vae_gan import VaeGan
from vaelab.training import collapse
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.finished import (
    IMAGES,
    KEPT,
    FinishedTrainings,
    depends_on_epochs,
    without_epochs,
)
from vaelab.training.trainer import Trainer


def train(
    root: Path, finished: FinishedTrainings, epochs: int, objective: Objective, **options: Any
) -> tuple[Trainer, int]:
    """Train and keep the end, from the longest shorter training; return the epoch it began at."""
    trainer = make_trainer(objective, epochs=epochs, **options)
    with CheckpointFolder(root / f"checkpoints {epochs}") as folder:
        if before := finished.longest_below(epochs):
            finished.copy(before, 1, folder)
        trainer.resume(folder)
        first = trainer.progress.epoch
        trainer.fit(checkpoints=folder)
        finished.keep(epochs, folder)
        folder.remove()
    return trainer, first


@pytest.mark.parametrize(
    "objective",
    [Vae(kl_weight=2.0), Vae(kl_warmup_epochs=4), Gan(discriminator_steps=2), VaeGan(margin=0.01)],
)
@pytest.mark.parametrize(
    "options", [{}, {"learning_rate_warmup_epochs": 5}, {"optimizer": "adamw", "weight_decay": 0.1}]
)
def test_more_epochs_end_where_a_training_in_one_go_ends(
    tmp_path: Path, objective: Objective, options: dict[str, Any]
) -> None:
    in_one_go = make_trainer(objective, epochs=7, **options)
    expected = in_one_go.fit()
    finished = FinishedTrainings(tmp_path / "finished", "key")
    for epochs, start in ((2, 0), (3, 2), (7, 3)):
        trainer, first = train(tmp_path, finished, epochs, objective, **options)
        assert first == start
    assert trainer.progress == expected
    assert_same(weights(in_one_go), weights(trainer))


def test_a_training_that_stopped_early_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "GRACE_STEPS", 0)
    still: dict[str, Any] = {"learning_rate": 1e-12, "early_stopping_epochs": 2}
    finished = FinishedTrainings(tmp_path / "finished", "key")
    first, _ = train(tmp_path, finished, 30, Vae(), **still)
    second, begun = train(tmp_path, finished, 40, Vae(), **still)
    in_one_go = make_trainer(epochs=40, **still)
    expected = in_one_go.fit()
    assert begun == first.progress.epoch == expected.epoch < 30
    assert second.progress == expected
    assert_same(weights(in_one_go), weights(second))


def keep(finished: FinishedTrainings, root: Path, epochs: int) -> None:
    with CheckpointFolder(root / "checkpoints") as folder:
        (folder.folder / IMAGES).mkdir()
        for epoch in (2, 4, epochs):
            (folder.folder / IMAGES / f"samples_{epoch:04d}.png").write_bytes(b"image")
        (folder.folder / "epoch_000001_step_00000000.safetensors").write_bytes(b"state")
        (folder.folder / "run_id").write_text("run")
        finished.keep(epochs, folder)
        folder.remove()


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "finished"
    finished = [FinishedTrainings(root, key) for key in "abcde"]
    for number, each in enumerate(finished):
        keep(each, tmp_path, number + 5)
    assert sorted(path.name for path in root.iterdir()) == ["c_7", "d_8", "e_9"]
    assert len(list(root.iterdir())) == KEPT


def test_a_longer_training_replaces_shorter_ones_of_its_settings(tmp_path: Path) -> None:
    root = tmp_path / "finished"
    finished = FinishedTrainings(root, "key")
    keep(FinishedTrainings(root, "other"), tmp_path, 5)
    for epochs in (5, 9, 7):
        keep(finished, tmp_path, epochs)
    assert sorted(path.name for path in root.iterdir()) == ["key_7", "key_9", "other_5"]


def test_an_end_that_is_gone_meanwhile_is_an_error(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path / "new") as folder, pytest.raises(FileNotFoundError):
        FinishedTrainings(tmp_path / "finished", "key").copy(5, 1, folder)


def test_only_a_shorter_training_of_the_same_key_is_found(tmp_path: Path) -> None:
    finished = FinishedTrainings(tmp_path / "finished", "key")
    assert finished.longest_below(10) is None
    for epochs in (20, 5):
        keep(finished, tmp_path, epochs)
    assert finished.longest_below(5) is None
    assert finished.longest_below(20) is None, "the same training, run again, starts anew"
    assert finished.longest_below(6) == 5
    assert finished.longest_below(100) == 20
    assert FinishedTrainings(tmp_path / "finished", "other").longest_below(100) is None


def test_what_is_copied_is_a_checkpoint_with_its_images(tmp_path: Path) -> None:
    finished = FinishedTrainings(tmp_path / "finished", "key")
    keep(finished, tmp_path, 5)
    with CheckpointFolder(tmp_path / "new") as folder:
        finished.copy(5, 2, folder)
        names = {path.name for path in folder.folder.iterdir()}
        assert names >= {"epoch_000001_step_00000000.safetensors", IMAGES}
        assert "run_id" not in names, "it is another run"
        images = {path.name for path in (folder.folder / IMAGES).iterdir()}
        assert images == {"samples_0002.png", "samples_0004.png"}, "epoch 5 was only the last one"
    assert finished.longest_below(6) == 5, "it is still there"


def test_what_a_continued_training_shares() -> None:
    short, long = (Settings(train=TrainSettings(epochs=n)) for n in (5, 50))
    assert without_epochs(short) == without_epochs(long)
    other = Settings(train=TrainSettings(epochs=5, batch_size=7))
    assert without_epochs(other) != without_epochs(short)
    assert not depends_on_epochs(TrainSettings(learning_rate_warmup_epochs=3, kl_warmup_epochs=3))
    assert depends_on_epochs(TrainSettings(learning_rate_schedule="cosine"))
