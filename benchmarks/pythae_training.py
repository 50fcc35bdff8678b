"""The side of `benchmarks.training` that runs pythae's trainer, with pythae on its path.

    python -m benchmarks.pythae_training IN.npz OUT.json --network mlp --batch 128 --threads 2

IN has the images; OUT gets the seconds of an epoch, from its begin to its end.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

from benchmarks.loops import PlainVae


class Encoder(BaseEncoder):
    """Layers that give means and logarithms of variances."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> ModelOutput:
        """Return both."""
        mean, log_variance = self.layers(images).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Layers that give logits."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, latents: Tensor) -> ModelOutput:
        """Return the probability of a white pixel."""
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(latents)))


class Stopwatch(TrainingCallback):
    """Notes when the epoch began and ended."""

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **rest: Any) -> None:
        """Start."""
        self.seconds = -time.perf_counter()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **rest: Any) -> None:
        """Stop."""
        self.seconds += time.perf_counter()


def pythae_model(network: str) -> VAE:
    """Return pythae's VAE of the networks of `benchmarks.loops`."""
    layers = PlainVae(network)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    return VAE(config, Encoder(layers.encoder), Decoder(layers.decoder))


def epoch(network: str, images: Tensor, batch_size: int, device: str) -> float:
    """Train for an epoch; give its seconds."""
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        BaseTrainer(
            model=pythae_model(network),
            train_dataset=BaseDataset(images, torch.zeros(len(images))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                num_epochs=1,
                learning_rate=1e-3,
                per_device_train_batch_size=batch_size,
                no_cuda=device != "cuda",
            ),
            callbacks=[stopwatch],
        ).train()
    return stopwatch.seconds


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--network", choices=("mlp", "conv"), required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with np.load(arguments.input) as arrays:
        images = torch.from_numpy(arrays["images"])
    seconds = epoch(arguments.network, images, arguments.batch, arguments.device)
    arguments.output.write_text(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
