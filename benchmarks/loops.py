"""Training loops as one would write them in an hour: what vaelab's loop is measured against."""

import time
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor


class PlainVae(nn.Module):
    """A VAE of PyTorch's own layers, with a Bernoulli likelihood."""

    def __init__(self, network: str, latents: int = 20) -> None:
        super().__init__()
        self.encoder, self.decoder = NETWORKS[network](latents)

    def loss(self, images: Tensor) -> Tensor:
        """Return the negative evidence lower bound, in nats, summed over images."""
        mean, log_variance = self.encoder(images).chunk(2, 1)
        latents = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        pixels = torch.sigmoid(self.decoder(latents))
        generation = functional.binary_cross_entropy(pixels, images, reduction="sum")
        return generation - 0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())


def mlp(latents: int, width: int = 400) -> tuple[nn.Module, nn.Module]:
    """Build 784-width-latents and back: the network of PyTorch's own VAE example."""
    encoder = [nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 2 * latents)]
    decoder = [nn.Linear(latents, width), nn.ReLU(), nn.Linear(width, 784)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Unflatten(1, (1, 28, 28)))


def conv(latents: int) -> tuple[nn.Module, nn.Module]:
    """Build two strided convolutions of 16 and 32 filters of 5x5, and back."""
    small = 32 * 7 * 7
    down = [nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU()]
    up = [nn.ReLU(), nn.ConvTranspose2d(32, 16, 5, 2, 2, 1)]
    last = [nn.ReLU(), nn.ConvTranspose2d(16, 1, 5, 2, 2, 1)]
    encoder = [*down, nn.Flatten(), nn.Linear(small, 2 * latents)]
    decoder = [nn.Linear(latents, small), nn.Unflatten(1, (32, 7, 7)), *up, *last]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


NETWORKS = {"mlp": mlp, "conv": conv}


def over_slices(network: str, images: Tensor, batch_size: int) -> float:
    """Train for an epoch on slices of images held in memory; give the seconds."""
    shuffled = images[torch.randperm(len(images))]
    return _epoch(network, shuffled.split(batch_size), waits=False)


def over_loader(network: str, images: Tensor, batch_size: int) -> float:
    """Train for an epoch as PyTorch's VAE example does; give the seconds.

    Torchvision's data set converts each image to PIL and back; the loss is read at each step.
    """
    loader = DataLoader(torchvision_mnist((images * 255).byte().numpy()), batch_size, shuffle=True)
    return _epoch(network, (batch for batch, _ in loader), waits=True)


def torchvision_mnist(images: np.ndarray) -> MNIST:
    """Return torchvision's MNIST of these 8-bit images [count, 1, height, width]."""
    data = MNIST.__new__(MNIST)
    data.transform, data.target_transform = ToTensor(), None
    data.data, data.targets = torch.from_numpy(images[:, 0]), torch.zeros(len(images))
    return data


def _epoch(network: str, batches: Iterable[Tensor], *, waits: bool) -> float:
    model = PlainVae(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    total = 0.0
    started = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        if waits:
            total += loss.item()
    return time.perf_counter() - started
