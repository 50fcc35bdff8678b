"""Build an objective, its model and its trainer from settings."""

import torch

from vaelab.config import Settings
from vaelab.data.loader import ImageLoader
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.model import Model, build_model
from vaelab.models.networks import Shape
from vaelab.objectives import Objective, build_objective, check_gaps
from vaelab.training.cuda_graph import check_cuda_graph
from vaelab.training.precision import choose_precision
from vaelab.training.schedules import check_warmups
from vaelab.training.trainer import Trainer


def build(settings: Settings, image_shape: Shape, classes: int = 0) -> tuple[Objective, Model]:
    """Build an objective and a model with the networks that its optimizers update.

    `classes` counts the labels of the data set, 0 if it has none. Raises UserError for settings
    that contradict each other.
    """
    objective = build_objective(settings)
    chosen, seed = objective.resolve_prior(settings.model), settings.train.seed
    networks = objective.networks()
    model = build_model(chosen, image_shape, networks, seed, objective.posterior, classes)
    return objective, model


def build_trainer(
    settings: Settings,
    train: ImageLoader,
    validation: ImageLoader,
    device: torch.device,
    group: ProcessGroup = SINGLE_GROUP,
) -> Trainer:
    """Build the trainer on a device, for one process or one of a group.

    Raises UserError as `build` does, for a warm-up that is longer than the training, for batches of
    fewer images than processes, and for a CUDA graph of what cannot be recorded.
    """
    channels, height, width = train.array.shape[1:]
    counts = train.label_counts()
    classes = train.classes if counts is not None and counts.any() else 0
    objective, model = build(settings, (channels, height, width), classes)
    check_warmups(objective, settings.train)
    if train.missing is not None:
        check_gaps(settings.train.objective)
        model = model.seeing_gaps()
    precision, _ = choose_precision(settings, model, device)
    chosen = settings.train.model_copy(update={"precision": precision})
    trainer = Trainer(model.to(device), objective, chosen, train, validation, group=group)
    if settings.machine.cuda_graph:
        check_cuda_graph(settings, device, group)
        trainer.record_steps()
    return trainer
