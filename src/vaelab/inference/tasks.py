"""What a trained model does when it is asked by name: the tasks of a served model."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import UserError
from vaelab.config.choices import unknown_message
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.inference.decoding import (
    counterfactuals,
    decode_means,
    prior_samples,
    reconstructions,
)
from vaelab.inference.inputs import image_batch, latent_batch
from vaelab.models.conditional import UNKNOWN
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

Result = NDArray[np.float32] | dict[str, NDArray[np.float32]]
TASKS = ("reconstruct", "encode", "decode", "sample", "score", "edit")
NEEDS_ENCODER = ("reconstruct", "encode", "score", "edit")
MAX_SAMPLES = 10_000
BATCH = 100


@dataclass(frozen=True)
class Options:
    """What a task may be asked for besides its input; each task reads those that it needs.

    `label` is the class of all images, for a conditional model, and `target` the class to which
    they are edited. `count` and `seed` are of samples, `importance_samples` is K of the score.
    """

    task: str = "reconstruct"
    label: int = UNKNOWN
    target: int = UNKNOWN
    count: int = 16
    seed: int = 0
    importance_samples: int = 100


@torch.no_grad()
def run_task(model: Model, values: object, options: Options) -> Result:
    """Reconstruct, encode, score or edit images, decode latents, or sample from the prior.

    Images come out as [count, channel, height, width] in [0, 1]; encode returns `mean` and, where
    the encoder is a Gaussian, `stddev`; score returns `nll_nats` and `effective_sample_size` per
    image. Raises UserError for a wrong input or option.
    """
    _check(model, options)
    device = next(model.parameters()).device
    given = model if options.label == UNKNOWN else model.given(torch.tensor(options.label))
    if options.task == "sample":
        generator = rng_stream(options.seed, "samples", device)
        return _array(prior_samples(given, options.count, generator))
    if options.task == "decode":
        return _array(decode_means(given, latent_batch(values, model.latent_dim).to(device)))
    images = image_batch(values, model.image_shape).to(device)
    if options.task == "reconstruct":
        return _array(reconstructions(given, images))
    if options.task == "edit":
        given = model.given(torch.full((len(images),), options.label))
        return _array(counterfactuals(given, images, [options.target])[:, 0])
    return _encode(given, images) if options.task == "encode" else _score(given, images, options)


def _check(model: Model, options: Options) -> None:
    if options.task not in TASKS:
        raise UserError(unknown_message("task", options.task, TASKS))
    if options.task in NEEDS_ENCODER and not model.has("encoder"):
        raise UserError(f"task {options.task} needs an encoder; this model can decode and sample")
    if options.task == "score" and not model.has_bound:
        raise UserError("task score needs a model with a likelihood, which this one has not")
    if options.label != UNKNOWN and not model.classes:
        raise UserError(f"label {options.label}: this model was trained without labels")
    if not UNKNOWN <= options.label < max(model.classes, 1):
        raise UserError(f"label {options.label} is out of range: 0 to {model.classes - 1}, or -1")
    if options.task == "edit":
        _check_edit(model, options.target)
    for name, limit in (("count", MAX_SAMPLES), ("importance_samples", MAX_SAMPLES)):
        if not 1 <= getattr(options, name) <= limit:
            raise UserError(f"{name} {getattr(options, name)} is not between 1 and {limit}")


def _check_edit(model: Model, target: int) -> None:
    if not model.classes:
        raise UserError("task edit needs a conditional model: this one was trained without labels")
    if not 0 <= target < model.classes:
        raise UserError(f"task edit needs class, from 0 to {model.classes - 1} (it is {target})")


def _encode(model: Model, images: Tensor) -> Result:
    found = [model.encode(part) for part in torch.split(images, BATCH)]
    means = _array(torch.cat([posterior.mean for posterior in found]))
    stddevs = [posterior.stddev for posterior in found if hasattr(posterior, "stddev")]
    return {"mean": means, **({"stddev": _array(torch.cat(stddevs))} if stddevs else {})}


def _score(model: Model, images: Tensor, options: Options) -> Result:
    noise = rng_stream(options.seed, "score", images.device)
    found = [
        importance_weighted_log_likelihood(
            model, part, model.encode(part), options.importance_samples, noise
        )
        for part in torch.split(images, BATCH)
    ]
    return {
        "nll_nats": _array(-torch.cat([each.log_likelihood for each in found])),
        "effective_sample_size": _array(torch.cat([each.effective_sample_size for each in found])),
    }


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.cpu().numpy().astype(np.float32)
    return array
