"""Which trainings can be one batch: those whose models differ in nothing but the latent size."""

import itertools
import json
import math
from collections.abc import Sequence

from vaelab.config import Settings, UserError
from vaelab.models.networks import Shape
from vaelab.objectives import build_objective

PRIOR, PRECISION = "standard_normal", "float32"
# Pixels of an image up to which a network is trained faster together: what is one matrix product is
# so at any size, while grouped convolutions soon lose to one after another (docs/speed.md).
MAX_PIXELS = {"mlp": math.inf, "conv": 12 * 12}
# In any other objective a padded dimension would have a part.
OBJECTIVES = ("vae", "beta_vae")
# Settings that each entry has for itself, beside the objective's fields that change over training.
OWN_MODEL = {"latent_dim", "prior"}
# Models in a batch: with more, their activations leave a CPU's cache.
MAX_MODELS = 16
SHARED_TRAIN = {"batch_size", "precision", "objective"}


def group_compatible(settings: Sequence[Settings], image_shape: Shape) -> list[list[int]]:
    """Give the numbers of settings that are best trained together, group by group.

    The images that they train on are of a shape [channel, height, width]. What cannot be trained
    with any other is a group of its own. Large groups are cut into smaller ones of similar latent
    size, which are padded less.
    """
    found: dict[str, list[int]] = {}
    for number, chosen in enumerate(settings):
        name = batch_key(chosen, math.prod(image_shape[1:])) or f"alone {number}"
        found.setdefault(name, []).append(number)
    return [part for numbers in found.values() for part in _parts(numbers, settings)]


def _parts(numbers: list[int], settings: Sequence[Settings]) -> list[list[int]]:
    if len(numbers) <= MAX_MODELS:
        return [numbers]
    count = math.ceil(len(numbers) / MAX_MODELS)
    by_size = sorted(numbers, key=lambda number: settings[number].model.latent_dim)
    cuts = [len(numbers) * part // count for part in range(count + 1)]
    return [sorted(by_size[start:end]) for start, end in itertools.pairwise(cuts)]


def batch_key(settings: Settings, pixels: int) -> str | None:
    """Name what has to be the same in a batch; None if the settings are not for one."""
    model, train = settings.model, settings.train
    if pixels > MAX_PIXELS.get(model.network, 0):
        return None
    if train.objective not in OBJECTIVES or train.precision != PRECISION:
        return None
    try:
        objective = build_objective(settings)
        if objective.resolve_prior(model).prior != PRIOR:
            return None
    except UserError:  # said when it is built
        return None
    same = {
        "model": model.model_dump(mode="json", exclude=OWN_MODEL),
        "train": train.model_dump(mode="json", include=SHARED_TRAIN),
        "objective": objective.model_dump(
            mode="json", exclude=set(objective.hyperparameters_at(0))
        ),
        # Free bits would be charged for padded dimensions too.
        "latent_dim": model.latent_dim if train.free_bits_nats else None,
    }
    return json.dumps(same, sort_keys=True)
