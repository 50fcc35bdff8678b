"""Recorded steps. Without a GPU, a recording is the step itself, taken when it is replayed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.training.test_trainer import assert_same, make_trainer, weights
from vaelab.config import Settings, UserError, parse_settings
from vaelab.distributed.environment import DistributedEnv
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.training.cuda_graph import ORDINARY_STEPS, Watched, check_cuda_graph

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
TWO = ProcessGroup(DistributedEnv(rank=0, local_rank=0, world_size=2, local_world_size=2))


class Recorder:
    """Stands in for CUDA graphs: counts recordings and replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(
        self, step: Callable[[], Watched], noise: torch.Generator
    ) -> tuple[Watched, Callable[[], None]]:
        self.recorded += 1
        watched: Watched = []

        def replay() -> None:
            self.replayed += 1
            watched[:] = step()

        return watched, replay


@pytest.mark.parametrize(
    "changes",
    [
        {"kl_warmup_epochs": 2, "learning_rate_schedule": "cosine"},
        {"ema_decay": 0.9},
        {"gradient_clip_norm": 1.0, "optimizer": "adamw", "weight_decay": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("conditional", ["none", "labels"])
def test_a_recorded_training_is_the_ordinary_one(changes: dict[str, Any], conditional: str) -> None:
    # The last batch of an epoch is not full.
    settings: dict[str, Any] = {"batch_size": 24, "epochs": 4, **changes}
    ordinary, recorded = (make_trainer(conditional=conditional, **settings) for _ in range(2))
    recorder = Recorder()
    recorded.record_steps(recorder)
    for trainer in (ordinary, recorded):
        trainer.fit(show_progress=False)
    assert_same(weights(ordinary), weights(recorded))
    assert ordinary.progress.history == recorded.progress.history
    full = 4 * (len(recorded.train) // 24)
    assert recorder.recorded == 1
    assert recorder.replayed == full - ORDINARY_STEPS > 0


@pytest.mark.parametrize(
    ("train", "device", "group", "needed"),
    [
        ({}, CPU, SINGLE_GROUP, "a CUDA device, not cpu"),
        ({}, CUDA, TWO, "one process"),
        ({"accumulate_grad_batches": 2}, CUDA, SINGLE_GROUP, "train.accumulate_grad_batches: 1"),
        (
            {"objective": "gan"},
            CUDA,
            SINGLE_GROUP,
            "train.objective: vae, beta_vae or iwae",
        ),
        (
            {"objective": "info_vae"},
            CPU,
            SINGLE_GROUP,
            "a CUDA device, not cpu, and train.objective: vae, beta_vae or iwae",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    train: dict[str, object], device: torch.device, group: ProcessGroup, needed: str
) -> None:
    settings: Settings = parse_settings({"train": train, "machine": {"cuda_graph": True}})
    with pytest.raises(UserError) as refused:
        check_cuda_graph(settings, device, group)
    assert str(refused.value) == f"machine.cuda_graph: true needs {needed}"


def test_the_defaults_can_be_recorded_on_a_gpu() -> None:
    check_cuda_graph(parse_settings({}), CUDA, SINGLE_GROUP)
