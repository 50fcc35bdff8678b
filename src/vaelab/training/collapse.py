"""A latent that carries no information while its model trains: posterior collapse, or a plateau.

Before the decoder has learned to use the latent, the KL loss alone moves the posterior, to the
prior: the loss stands still at that of the mean image. Some trainings leave this plateau by
themselves after a few hundred steps, others never do (Bowman et al. 2016, section 3.1).
"""

import math
from collections.abc import Mapping, Sequence

from vaelab.config import TrainSettings
from vaelab.objectives import Objective

# Less of a KL loss, in all dimensions together, tells nothing about an image that could be seen.
IDLE_NATS = 1.0
# It has collapsed after so many epochs and steps of this.
EPOCHS, STEPS = 3, 200
# Early stopping leaves so many steps to a training that has not begun to use its latent.
GRACE_STEPS = 1_000
KL = "validation.kl_loss_nats"

History = Sequence[Mapping[str, float]]


def is_late_start(history: History, steps_per_epoch: int, warmup_end: int) -> bool:
    """Return whether the latent is not used yet, and the warm-ups have not ended for long."""
    done = (len(history) - warmup_end) * steps_per_epoch
    return _is_idle(history[-1:]) and done < GRACE_STEPS


def collapse_note(
    history: History,
    objective: Objective,
    settings: TrainSettings,
    steps_per_epoch: int,
    warmup_end: int,
) -> str | None:
    """Return a line in the epoch in which the latent has been idle for long enough; else None.

    Epochs of a warm-up do not count: its small learning rate or capacity may keep the KL low.
    """
    wait = max(EPOCHS, math.ceil(STEPS / steps_per_epoch))
    seen = history[warmup_end:]
    if len(seen) < wait or not _is_idle(seen[-wait:]) or _is_idle(seen[-wait - 1 : -wait]):
        return None  # not yet, or said before
    advice = " or ".join(_suggestions(objective, settings))
    return (
        f"epoch {len(history)}: posterior collapse: the KL loss is {history[-1][KL]:.2g} nats, and "
        f"below {IDLE_NATS:g} for {wait} epochs, so the decoder does not use the latent and all "
        f"reconstructions are nearly the mean image" + (f"; try {advice}" if advice else "")
    )


def _is_idle(rows: History) -> bool:
    return bool(rows) and all(row.get(KL, math.inf) < IDLE_NATS for row in rows)


def _suggestions(objective: Objective, settings: TrainSettings) -> list[str]:
    """Return changes of settings that may help and have not been made yet."""
    weight, known = settings.kl_weight, type(objective).model_fields
    candidates = {
        "kl_warmup_epochs": None if settings.kl_warmup_epochs else max(1, settings.epochs // 5),
        "free_bits_nats": None if settings.free_bits_nats else 0.1,
        "kl_weight": (1 if weight > 1 else weight / 10) if weight else None,
    }
    found = {k: v for k, v in candidates.items() if k in known and v is not None}
    return [f"train.{name}: {value:g}" for name, value in found.items()]
