"""Which trainings can be vectorized: those whose models differ only in their latent size."""

import itertools
import json
import math
from collections.abc import Sequence

from vaelab.config import Settings, UserError
from vaelab.data import augmentation
from vaelab.models.networks import Shape
from vaelab.models.sizes import resolve_sizes, with_sizes
from vaelab.objectives import build_objective

PRIOR, PRECISION = "standard_normal", "float32"
# Pixels of an image up to which vectorized training is faster (docs/speed.md): always for matrix
# products; grouped convolutions are soon slower than one model after another.
MAX_PIXELS = {"mlp": math.inf, "conv": 12 * 12}
# In any other objective a padded dimension would contribute to the loss.
OBJECTIVES = ("vae", "beta_vae")
# Settings in which members may differ, besides the scheduled fields of the objective.
INDIVIDUAL_MODEL_SETTINGS = {"latent_dim", "prior"}
# With more models in a batch, their activations no longer fit a CPU's cache.
MAX_MODELS = 16
SHARED_TRAIN_SETTINGS = {"batch_size", "precision", "objective", *augmentation.SETTINGS}


def group_compatible(settings: Sequence[Settings], image_shape: Shape) -> list[list[int]]:
    """Return groups of indices into `settings` that are best trained as one batched model.

    `image_shape` is [channel, height, width]. Settings that fit no other are a group of one. Large
    groups are split into smaller ones of similar latent size, which need less padding.
    """
    settings = [with_sizes(chosen, image_shape) for chosen in settings]
    found: dict[str, list[int]] = {}
    for number, chosen in enumerate(settings):
        name = batch_key(chosen, math.prod(image_shape[1:])) or f"single {number}"
        found.setdefault(name, []).append(number)
    sizes = [resolve_sizes(chosen.model, image_shape).latent_dim for chosen in settings]
    return [part for numbers in found.values() for part in _split_large(numbers, sizes)]


def _split_large(numbers: list[int], sizes: Sequence[int]) -> list[list[int]]:
    if len(numbers) <= MAX_MODELS:
        return [numbers]
    count = math.ceil(len(numbers) / MAX_MODELS)
    by_size = sorted(numbers, key=lambda number: sizes[number])
    cuts = [len(numbers) * part // count for part in range(count + 1)]
    return [sorted(by_size[start:end]) for start, end in itertools.pairwise(cuts)]


def batch_key(settings: Settings, pixels: int) -> str | None:
    """Return a key of what members must have in common; None if it cannot be vectorized."""
    model, train = settings.model, settings.train
    if pixels > MAX_PIXELS.get(model.network, 0):
        return None
    if train.objective not in OBJECTIVES or train.precision != PRECISION:
        return None
    if train.ema_decay is not None or train.accumulate_grad_batches > 1:
        return None
    # A label's shift and scale of the latent, and its row of the decoder, have other paddings.
    if model.conditional != "none":
        return None
    try:
        objective = build_objective(settings)
        if objective.resolve_prior(model).prior != PRIOR:
            return None
    except UserError:  # reported when it is built
        return None
    same = {
        "model": model.model_dump(mode="json", exclude=INDIVIDUAL_MODEL_SETTINGS),
        "train": train.model_dump(mode="json", include=SHARED_TRAIN_SETTINGS),
        "objective": objective.model_dump(mode="json", exclude=set(objective.schedule_at(0))),
        # Free bits would count padded dimensions too.
        "latent_dim": model.latent_dim if train.free_bits_nats else None,
    }
    return json.dumps(same, sort_keys=True)
