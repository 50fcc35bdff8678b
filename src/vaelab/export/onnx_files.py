"""Encoder and decoder as ONNX, which run without PyTorch and without this library."""

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from vaelab.config import UserError
from vaelab.models.conditional import UNKNOWN
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.runtime.files import write_atomically

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
NEEDED = ("onnx", "onnxscript")


class Encode(nn.Module):
    """Maps images, and labels for a conditional model, to q(z|x): mean, and stddev if it has."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map [batch, channel, height, width], labels [batch], to [batch, latent]."""
        posterior = _given(self.model, labels).encode(images)
        if isinstance(posterior, DiagonalGaussian):
            return posterior.mean, posterior.stddev
        return (posterior.mean,)


class Decode(nn.Module):
    """Maps latents, and labels for a conditional model, to the mean of p(x|z), in [0, 1]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map [batch, latent], labels [batch], to images."""
        return _given(self.model, labels).decode(latents).mean.clamp(0, 1)


def write_onnx(model: Model, folder: Path) -> list[str]:
    """Write encoder and decoder, for batches of any size; return the names of the files.

    Inputs are `images` or `latents`, float32, and `labels`, int64, of a conditional model, -1 where
    unknown. Outputs are `mean` and `stddev`, or `images`. Raises UserError without the packages.
    """
    check_packages()
    model = copy.deepcopy(model).cpu().eval()
    written = []
    if model.has("encoder"):
        is_gaussian = model.posterior == "gaussian" and not model.is_discrete
        outputs = ["mean", "stddev"] if is_gaussian else ["mean"]
        example = torch.zeros(2, *model.image_shape)
        _write(Encode(model), example, "images", outputs, folder / ENCODER)
        written.append(ENCODER)
    _write(Decode(model), torch.zeros(2, model.latent_dim), "latents", ["images"], folder / DECODER)
    return [*written, DECODER]


def check_packages() -> None:
    """Raise UserError where a package is missing that writes ONNX."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"ONNX needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _given(model: Model, labels: Tensor | None) -> Model:
    """Return the model given labels, without the check of `given`, which no graph can have."""
    if labels is None:
        return model
    view = copy.copy(model)
    view.labels = labels
    return view


def _write(
    module: Encode | Decode, example: Tensor, name: str, outputs: list[str], path: Path
) -> None:
    inputs, names = [example], [name]
    if module.model.classes:
        inputs.append(torch.full((2,), UNKNOWN))
        names.append("labels")
    batch = torch.export.Dim("batch")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs),
            dynamo=True,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            external_data=False,
        )
    assert program is not None
    write_atomically(path, lambda partial: program.save(str(partial)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what PyTorch's exporter prints, logs and warns of on the way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
