"""How long the warm-ups of a training last, and what follows for its epochs and early stopping."""

from vaelab.config import TrainSettings, UserError
from vaelab.objectives import Objective


def warmup_epochs(objective: Objective, settings: TrainSettings) -> dict[str, int]:
    """Return how many epochs each warm-up takes, by the full name of its setting.

    A decay of the learning rate is not among them: it ends with the last epoch.
    """
    found = objective.warmup_epochs()
    shared = TrainSettings.model_fields
    own = f"objectives.{settings.objective}"
    named = {f"{'train' if k in shared else own}.{k}": epochs for k, epochs in found.items()}
    return named | {"train.learning_rate_warmup_epochs": settings.learning_rate_warmup_epochs}


def check_warmups(
    objective: Objective, settings: TrainSettings, origin: str = "train.epochs"
) -> None:
    """Raise UserError for a warm-up that is longer than the training.

    The values that it leads to, such as `kl_weight`, would be recorded and never be used. `origin`
    names the setting that the number of epochs comes from.
    """
    for name, epochs in warmup_epochs(objective, settings).items():
        if epochs > settings.epochs:
            raise UserError(
                f"{name} is {epochs}, longer than the training ({origin}: {settings.epochs}), so "
                f"the warm-up would not end: set it to {settings.epochs} or less, or {origin} to "
                f"{epochs} or more"
            )


def early_stopping_notes(objective: Objective, settings: TrainSettings) -> list[str]:
    """Return what the schedules mean for early stopping, one line each."""
    patience = settings.early_stopping_epochs
    if patience is None:
        return []
    name, end = max(warmup_epochs(objective, settings).items(), key=lambda item: item[1])
    shown = f"train.early_stopping_epochs: {patience}"
    counted = f" is counted from epoch {end}, the end of {name}" if end else ""
    if max(1, end) + patience >= settings.epochs:
        joined = f"{shown}{counted}, and so" if counted else shown
        return [f"{joined} has no effect with train.epochs: {settings.epochs}"]
    notes = [f"{shown}{counted}"] if counted else []
    if settings.learning_rate_schedule != "constant":
        notes.append(
            f"{shown} may end training before the {settings.learning_rate_schedule} learning rate "
            f"reaches 0 at epoch {settings.epochs}"
        )
    return notes


def best_epoch_note(objective: Objective, settings: TrainSettings, best_epoch: int) -> str | None:
    """Return a line if the best epoch is one of the objective's warm-up; else None."""
    warmups = {k: v for k, v in warmup_epochs(objective, settings).items() if "learning" not in k}
    name, end = max(warmups.items(), key=lambda item: item[1], default=("", 0))
    if not 0 < best_epoch < end or objective.selection is None:
        return None
    return (
        f"the best epoch, {best_epoch}, is before the end of {name} at epoch {end}: all epochs are "
        "validated with the final values of the warm-up, and this one has the lowest loss"
    )
