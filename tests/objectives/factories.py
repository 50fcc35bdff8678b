"""Small models on digits for every objective: what the tests of objectives share."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tests.oracles import linear_model
from vaelab.config import Settings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.objectives import LossOutput, Objective
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as building
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
CLASSES = 10
LATENTS = 4
MODEL: Mapping[str, object] = {
    "network": "mlp",
    "hidden": [16],
    "latent_dim": LATENTS,
    "pseudo_inputs": 5,
    "flow_layers": 2,
    "flow_width": 8,
    "mixture_components": 2,
    "codebook_size": 8,
    "code_dimensions": 2,
    "spectral_norm": False,
}
PIXELS = load_digits().images[:, None]


def digits(count: int) -> Tensor:
    return torch.from_numpy(PIXELS[:count] / 16).float()


def settings(
    name: str,
    own: Mapping[str, object] | None = None,
    model: Mapping[str, object] | None = None,
    **train: Any,
) -> Settings:
    """Settings for an objective; its own ones only where they are given."""
    return parse_settings(
        {
            "model": {**MODEL, **(model or {})},
            "train": {"objective": name, "batch_size": 50, "epochs": 2, **train},
            "objectives": {name: dict(own)} if own else {},
        }
    )


def build(chosen: Settings, epoch: float = 1000) -> tuple[Objective, Model]:
    """An objective at a time, as the training loop sees it, and its model."""
    objective, model = building.build(chosen, SHAPE, CLASSES)
    model.initialize_from(digits(200).mean(0), digits(200))
    hyper = {key: torch.tensor(value) for key, value in objective.schedule_at(epoch).items()}
    return objective.with_dataset_size(200).model_copy(update=hyper), model


def trainer(chosen: Settings, images: int = 100) -> Trainer:
    """The loop over digits."""
    pixels = (PIXELS * 255 / 16).round().astype("uint8")
    labels = load_digits().target
    train, validation = (
        ImageLoader(pixels[part], CPU, labels=labels[part], classes=CLASSES)
        for part in (slice(images), slice(-40, None))
    )
    return building.build_trainer(chosen, train, validation, CPU)


def randomise(model: Model, scale: float = 0.3, seed: int = 0) -> Model:
    """Move every parameter: networks that start as an identity hide what does not reach them."""
    noise = rng_stream(seed, "randomise")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=noise))
    return model


def parameters(model: Model, networks: tuple[str, ...]) -> list[nn.Parameter]:
    return [p for network in networks for p in model.networks[network].parameters()]


def gradients(
    output: LossOutput, model: Model, networks: tuple[str, ...] = ("encoder", "decoder")
) -> list[Tensor]:
    """The gradient of a loss's mean loss by the parameters of networks."""
    owned = parameters(model, networks)
    return list(torch.autograd.grad(output.loss.mean(), owned, retain_graph=True))


class Table(nn.Module):
    """An encoder that says of each image what stands in a row: gradients are each image's own."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) == len(self.rows)
        return self.rows


def raw(stddev: Tensor) -> Tensor:
    """What an encoder has to say for a standard deviation: softplus(raw + ln (e - 1))."""
    return stddev.expm1().log() - torch.tensor(torch.e - 1).log()


def with_posteriors(model: Model, mean: Tensor, stddev: Tensor) -> Model:
    """Let a model have these posteriors, whatever the images."""
    model.networks["encoder"] = Table(torch.cat([mean, raw(stddev)], dim=1))
    return model


def linear_gaussian(mean: float, stddev: float, count: int) -> Model:
    """p(x|z) = N(z, 1) with N(mean, stddev^2) for q(z|x): ln p(x) = ln N(x; 0, 2)."""
    model = linear_model(1, 1, variance=1.0)
    with torch.no_grad():
        for parameter, value in zip(model.networks["decoder"].parameters(), (1, 0), strict=True):
            parameter.fill_(value)
    return with_posteriors(model, torch.full((count, 1), mean), torch.full((count, 1), stddev))


@pytest.fixture
def without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posteriors give their means, priors the origin, and an objective's own noise is 0."""

    randn = torch.randn

    def zeros(*shape: Any, generator: torch.Generator | None = None, **options: Any) -> Tensor:
        # Without a generator it is for first weights.
        return torch.zeros(*shape, **options) if generator else randn(*shape, **options)

    def mean(
        self: DiagonalGaussian, generator: object = None, samples: int | None = None
    ) -> Tensor:
        return self.mean if samples is None else self.mean.expand(samples, *self.mean.shape)

    def origin(self: Model, count: int, generator: object = None) -> Tensor:
        return torch.zeros(count, self.latent_dim)

    monkeypatch.setattr(torch, "randn", zeros)
    monkeypatch.setattr(DiagonalGaussian, "rsample", mean)
    monkeypatch.setattr(Model, "prior", origin)
