"""The side of `benchmarks.likelihood` that runs pythae, in a process that has it on its path.

    python -m benchmarks.pythae_likelihood IN.npz OUT.npz --network mlp --samples 500 --seconds 20

IN has the weights and the images; OUT gets the log-likelihood of each image that the seconds
sufficed for, in nats, and the seconds that they took.
"""

import argparse
import math
import time
from collections.abc import Mapping

import numpy as np
import torch
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.loops import conv, mlp

Arrays = Mapping[str, np.ndarray]


class Encoder(BaseEncoder):
    """Layers whose outputs are means and raw standard deviations, as vaelab's are."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> ModelOutput:
        """Return the mean and the logarithm of the variance."""
        mean, raw = self.layers(images).chunk(2, dim=1)
        stddev = functional.softplus(raw + math.log(math.e - 1)).clamp_min(1e-6)
        return ModelOutput(embedding=mean, log_covariance=2 * stddev.log())


class Decoder(BaseDecoder):
    """Layers whose outputs, with an offset of each pixel, are logits."""

    def __init__(self, layers: nn.Module, offset: Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("offset", offset)

    def forward(self, latents: Tensor) -> ModelOutput:
        """Return the probability of a white pixel."""
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(latents) + self.offset))


def build(network: str, arrays: Arrays) -> VAE:
    """Build pythae's model and give it the weights. Raises KeyError for weights that lack."""
    latents = arrays["decoder.0.weight"].shape[1]
    encoder, decoder = mlp(latents, width=512) if network == "mlp" else conv(latents)
    for name, module in (("encoder", encoder), ("decoder", decoder)):
        state = {key: torch.from_numpy(arrays[f"{name}.{key}"]) for key in module.state_dict()}
        module.load_state_dict(state)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=latents, reconstruction_loss="bce")
    offset = torch.from_numpy(arrays["offset"])
    return VAE(config, Encoder(encoder), Decoder(decoder, offset)).eval()


@torch.no_grad()
def measure(model: VAE, images: Tensor, samples: int, seconds: float) -> tuple[list[float], float]:
    """Score image after image, as `get_nll` itself does, until the seconds are over."""
    model.get_nll(images[:1], samples)
    values: list[float] = []
    started = time.perf_counter()
    for image in images.split(1):
        # Despite its name, it is the logarithm of the likelihood, not the negative one.
        values.append(float(model.get_nll(image, samples)))
        if time.perf_counter() - started > seconds:
            break
    return values, time.perf_counter() - started


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--network", choices=("mlp", "conv"), required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    with np.load(arguments.input) as arrays:
        model = build(arguments.network, arrays)
        images = torch.from_numpy(arrays["images"])
    values, seconds = measure(model, images, arguments.samples, arguments.seconds)
    np.savez(arguments.output, log_likelihood=np.array(values), seconds=np.array(seconds))


if __name__ == "__main__":
    main()
