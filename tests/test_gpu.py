"""What only a GPU can show; skipped, with the reason, where there is none.

On a machine with one: `make test`, or this file alone, `pytest tests/test_gpu.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.test_trainer import assert_same, stripes, weights
from vaelab.config import MachineSettings, objective_names, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.objectives import objective_class
from vaelab.runtime.devices import choose_device, describe
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.cuda_graph import OBJECTIVES
from vaelab.training.trainer import Trainer
from vaelab.training.updates import Part

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


def make_trainer(
    device: torch.device, objective: str = "vae", prior: str = "auto", **settings: object
) -> Trainer:
    chosen = parse_settings(
        {
            "model": {"latent_dim": 4, "prior": prior},
            "train": {"objective": objective, "epochs": 3, "batch_size": 16, **settings},
        }
    )
    batches = ImageLoader(stripes(64), device), ImageLoader(stripes(16), device)
    return build_trainer(chosen, *batches, device)


@pytest.fixture
def gpu() -> torch.device:
    return choose_device(MachineSettings())


def test_the_gpu_is_chosen_and_named(gpu: torch.device) -> None:
    assert gpu.type == "cuda"
    assert torch.cuda.get_device_name() in describe(gpu)


def test_the_data_lie_on_the_gpu_as_bytes(gpu: torch.device) -> None:
    batches = make_trainer(gpu).train
    assert batches.bytes is not None
    assert (batches.bytes.device.type, batches.bytes.dtype) == ("cuda", torch.uint8)


@pytest.mark.parametrize(
    ("objective", "prior"),
    [(name, prior) for name in objective_names() for prior in objective_class(name).priors()],
)
def test_no_step_waits_for_the_gpu(gpu: torch.device, objective: str, prior: str) -> None:
    changes = {f"augment_{name}": 0.2 for name in ("flip", "shift", "zoom", "color")}
    trainer = make_trainer(gpu, objective, prior, gradient_clip_norm=1.0, **changes)
    trainer.updater.step([Part(next(trainer.batches()))])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, batch in enumerate(trainer.batches()):
            trainer.set_schedule(step)
            trainer.updater.step([Part(batch)])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_gpu_learns_what_the_cpu_learns(gpu: torch.device) -> None:
    def final(device: torch.device) -> float:
        history = make_trainer(device, epochs=40, learning_rate=0.01).fit().history
        return float(np.mean([row["train.loss"] for row in history[-5:]]))

    on_gpu, on_cpu = final(gpu), final(torch.device("cpu"))
    # Other noise, the same problem: what is left to differ is the end of a noisy descent.
    assert abs(on_gpu - on_cpu) < 0.1 * abs(on_cpu) + 5


@pytest.mark.parametrize("objective", objective_names())
def test_every_objective_ends_with_finite_numbers(gpu: torch.device, objective: str) -> None:
    trainer = make_trainer(gpu, objective)
    rows = trainer.fit(show_progress=False).history
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert trainer.model.prior(5, trainer.state.noise_rng).device.type == "cuda"


@pytest.fixture
def deterministic() -> Iterator[None]:
    choose_device(MachineSettings(deterministic=True))
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_training_continues(
    gpu: torch.device, precision: str, tmp_path: Path, deterministic: None
) -> None:
    whole = make_trainer(gpu, epochs=4, precision=precision)
    whole.fit()
    half = make_trainer(gpu, epochs=2, precision=precision)
    with CheckpointFolder(tmp_path) as folder:
        half.fit(lambda report: half.save(folder))
        rest = make_trainer(gpu, epochs=4, precision=precision)
        rest.resume(folder)
        rest.fit()
    assert_same(weights(whole), weights(rest))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_recorded_training_is_the_ordinary_one(
    gpu: torch.device, objective: str, deterministic: None
) -> None:
    settings: dict[str, object] = {"batch_size": 12, "kl_warmup_epochs": 2, "learning_rate": 0.01}
    ordinary, recorded = (make_trainer(gpu, objective, "auto", **settings) for _ in range(2))
    recorded.record_steps()
    for trainer in (ordinary, recorded):
        trainer.fit(show_progress=False)
    for name, tensor in weights(ordinary).items():
        torch.testing.assert_close(weights(recorded)[name], tensor)
    assert torch.equal(ordinary.state.noise_rng.get_state(), recorded.state.noise_rng.get_state())
