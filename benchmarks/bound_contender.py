"""One tool's training until its validation bound is reached: the other side of `time_to_bound`.

    python -m benchmarks.bound_contender vaelab IN.npz OUT.json --target 105 --epochs 30

IN has 8-bit images to train on and to validate. OUT gets, for each epoch, the seconds since the
images were there (imports do not count) and the bound on ln p(x) of the validation images, in nats.
All train 784-400-20 by Adam at a learning rate of 0.001. vaelab has its own defaults; the others
have batches of 128, as PyTorch's example has.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.loops import PlainVae, torchvision_mnist

BATCH = 128
LEARNING_RATE = 1e-3
CPU = torch.device("cpu")
Epoch = Callable[[float], bool]
"""Notes an epoch's validation bound; returns whether training is done."""


def vaelab(train: np.ndarray, validation: np.ndarray, epochs: int, note: Epoch) -> None:
    """Train with vaelab's defaults, but for the network and the likelihood."""
    from vaelab.config import parse_settings
    from vaelab.data.loader import ImageLoader
    from vaelab.runtime import memory
    from vaelab.training.build import build_trainer

    memory.tune_malloc()  # as the stage `train` does when it chooses the device
    model = {"network": "mlp", "hidden": (400,), "latent_dim": 20, "likelihood": "bernoulli"}
    settings = parse_settings({"model": model, "train": {"epochs": epochs}})
    loaders = (ImageLoader(images, CPU) for images in (train, validation))
    trainer = build_trainer(settings, *loaders, CPU)
    done = False
    while not done:
        for _ in trainer.steps_of_epoch():
            pass
        done = note(trainer.end_epoch().metrics["validation.neg_elbo_nats"])


def example(train: np.ndarray, validation: np.ndarray, epochs: int, note: Epoch) -> None:
    """Train as PyTorch's VAE example does, with a DataLoader of torchvision's data set."""
    loaders = [
        torch.utils.data.DataLoader(torchvision_mnist(images), BATCH, shuffle=True)
        for images in (train, validation)
    ]
    model = PlainVae("mlp")
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    done = False
    while not done:
        total = 0.0
        for batch, _ in loaders[0]:
            optimizer.zero_grad()
            loss = model.loss(batch)
            loss.backward()
            total += loss.item()
            optimizer.step()
        with torch.no_grad():
            done = note(sum(model.loss(batch).item() for batch, _ in loaders[1]) / len(validation))


def pythae(train: np.ndarray, validation: np.ndarray, epochs: int, note: Epoch) -> None:
    """Train with pythae's trainer."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    from benchmarks.pythae_training import pythae_model

    class Noted(TrainingCallback):  # type: ignore[misc]
        def on_log(self, training_config: Any, logs: dict[str, float], **rest: Any) -> None:
            if note(logs["eval_epoch_loss"]):
                raise ReachedError

    with tempfile.TemporaryDirectory() as folder:
        BaseTrainer(
            model=pythae_model("mlp"),
            train_dataset=BaseDataset(_floats(train), torch.zeros(len(train))),
            eval_dataset=BaseDataset(_floats(validation), torch.zeros(len(validation))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                learning_rate=LEARNING_RATE,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=BATCH,
                no_cuda=True,
            ),
            callbacks=[Noted()],
        ).train()


def lightning(train: np.ndarray, validation: np.ndarray, epochs: int, note: Epoch) -> None:
    """Train a plain VAE with Lightning's trainer, on images in memory."""
    import pytorch_lightning
    from torch.utils.data import DataLoader, TensorDataset

    class Module(pytorch_lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.vae: nn.Module = PlainVae("mlp")
            self.nats = 0.0

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            loss: Tensor = self.vae.loss(batch[0]) / len(batch[0])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: list[Tensor], _: int) -> None:
            self.nats += self.vae.loss(batch[0]).item()

        def on_validation_epoch_end(self) -> None:
            nats, self.nats = self.nats / len(validation), 0.0
            self.trainer.should_stop |= note(nats)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

    loaders = [
        DataLoader(TensorDataset(_floats(images)), BATCH, shuffle=shuffled)
        for images, shuffled in ((train, True), (validation, False))
    ]
    with tempfile.TemporaryDirectory() as folder:
        pytorch_lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            default_root_dir=folder,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        ).fit(Module(), *loaders)


CONTENDERS = {function.__name__: function for function in (vaelab, example, pythae, lightning)}


class ReachedError(Exception):
    """The bound is reached: no more epochs."""


def _floats(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).float() / 255


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--target", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with np.load(arguments.input) as arrays:
        train, validation = arrays["train"], arrays["validation"]
    found: list[tuple[float, float]] = []
    started = time.perf_counter()

    def note(nats: float) -> bool:
        found.append((time.perf_counter() - started, nats))
        return nats <= arguments.target or len(found) == arguments.epochs

    with contextlib.suppress(ReachedError):
        CONTENDERS[arguments.contender](train, validation, arguments.epochs, note)
    arguments.output.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
