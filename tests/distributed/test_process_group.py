"""Two processes, started by torchrun on this machine, against one.

The last of the three batches of 24 has one image for two processes. Two processes draw other noise
than one, so only what has none is the same to rounding.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import ROOT
from tests.distributed import cases
from vaelab.config import MachineSettings, TrainSettings, UserError
from vaelab.data.loader import ImageLoader
from vaelab.distributed.environment import SINGLE_PROCESS, DistributedEnv, from_environ
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup, process_group
from vaelab.objectives.autoencoder import Autoencoder
from vaelab.objectives.vae import Vae
from vaelab.runtime import memory
from vaelab.runtime.devices import choose_device
from vaelab.training.sharding import ShardedLoader

Found = list[dict[str, Any]]
SEEDS = 5


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each process found, the main one first."""
    folder = tmp_path_factory.mktemp("processes")
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    ended = subprocess.run(
        [sys.executable, "-m", *command, "tests.distributed.cases", str(folder)],
        cwd=ROOT,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("case", "steps"),
    [
        ("steps of 24", 3),
        ("steps of 49", 1),
        ("steps with labels", 3),
        ("steps with missing pixels", 3),
        ("steps of 3 x 10", 2),
        ("coupled", 3),
    ],
)
def test_a_step_has_the_gradient_of_one_process(found: Found, case: str, steps: int) -> None:
    """A short last batch and one of a single image too; float32 sums in another order."""
    for process in found:
        assert len(process[case]) == steps
        assert max(process[case]) < 1e-6


def test_without_noise_the_loss_curve_is_that_of_one_process(found: Found) -> None:
    """But for rounding, which grows from step to step."""
    alone = cases.make(SINGLE_GROUP, Autoencoder(), cases.digits(), epochs=4, batch_size=50)
    expected = alone.fit(show_progress=False).history
    for ours, theirs in zip(found[0]["whole"]["Autoencoder"], expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-3), name


def test_with_noise_the_loss_curve_is_within_that_of_seeds(found: Found) -> None:
    """6 standard deviations of a new seed's curve about the mean of some."""
    curves = []
    for seed in range(SEEDS):
        trainer = cases.make(
            SINGLE_GROUP, Vae(), cases.digits(), epochs=4, batch_size=50, seed=seed
        )
        curves.append(_curve(trainer.fit(show_progress=False).history))
    mean, deviation = np.mean(curves, 0), np.std(curves, 0, ddof=1)
    apart = np.abs(_curve(found[0]["whole"]["Vae"]) - mean)
    assert (apart < 6 * deviation * (1 + 1 / SEEDS) ** 0.5).all()


def _curve(history: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[row["train.loss"], row["validation.loss"]] for row in history])


def test_all_processes_know_the_same(found: Found) -> None:
    first, second = found
    assert first["whole"] == second["whole"]
    assert first["adversarial"] == second["adversarial"]


@pytest.mark.parametrize(
    "case",
    [
        "2 to 2",
        "2 to 2 with labels",
        "2 to 2 with missing pixels",
        "2 to 2 averaged",
        "2 to 2 accumulated",
    ],
)
def test_as_many_processes_go_on_exactly(found: Found, case: str) -> None:
    for process in found:
        assert process[case] == {
            "at": [1, 1],
            "epochs": [1, 2, 3],
            "equal": True,
            "first_rows": True,
        }


@pytest.mark.parametrize("case", ["2 to 1", "1 to 2"])
def test_another_number_of_processes_goes_on_from_the_step(found: Found, case: str) -> None:
    went_on = found[0][case]
    assert went_on["at"] == [1, 1]
    assert went_on["epochs"] == [1, 2, 3]
    assert went_on["first_rows"]


def test_what_is_not_finite_in_one_process_stops_all_before_a_weight_is_touched(
    found: Found,
) -> None:
    first, second = (process["not finite"] for process in found)
    assert first["message"] == second["message"]
    assert "epoch 1, step 3 of 5: train.loss, train.generation_loss_nats" in first["message"]
    assert first["untouched"] and second["untouched"]  # noqa: PT018
    assert sorted([first["said"], second["said"]]) == [False, True], "one line, whoever says it"


def test_adversarial_weights_stay_equal(found: Found) -> None:
    trained = found[0]["adversarial"]
    assert len(trained) == 5
    for name, process in trained.items():
        assert process["equal"], name
        assert process["finite"], name


def test_a_batch_has_an_image_for_each_process(found: Found) -> None:
    assert (
        "train.batch_size is 1, and must be at least the number of processes, 2"
        in found[0]["refused"]
    )


def test_shares_are_a_batch_parts_out() -> None:
    rows = torch.tensor([5, 3, 8, 1, 9])
    groups = [ProcessGroup(DistributedEnv(rank, 3)) for rank in range(3)]
    parts = [group.local_rows(rows).tolist() for group in groups]
    for group in groups:
        group.set_batch(rows)
    assert parts == [[5, 1], [3, 9], [8]]
    assert [group.local_count for group in groups] == [2, 2, 1]


def test_a_process_without_a_share_computes_what_does_not_count() -> None:
    group = ProcessGroup(DistributedEnv(2, 3))
    rows = torch.tensor([4, 7])
    assert group.local_rows(rows).tolist() == [4]
    group.set_batch(rows)
    assert group.ddp_loss(torch.tensor([2.0])) == 0
    assert group.local_count == 0


def test_shares_of_a_mean_average_to_it() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])

    def share(rank: int) -> Tensor:
        group = ProcessGroup(DistributedEnv(rank, 3))
        group.set_batch(torch.arange(5))
        return group.ddp_loss(losses[group.local_rows(torch.arange(5))])

    assert torch.stack([share(rank) for rank in range(3)]).mean() == pytest.approx(31 / 5)


def test_shares_that_are_read_ahead_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images, noise and rows that count, though readers are batches ahead."""
    pixels = np.random.default_rng(0).integers(0, 256, (85, 1, 3, 3), dtype=np.uint8)

    def epoch() -> list[tuple[Tensor, int | None, int, float]]:
        split = ImageLoader(pixels, torch.device("cpu"), dequantize_levels=256)
        group, noise = ProcessGroup(DistributedEnv(1, 2)), torch.Generator()
        order = torch.Generator().manual_seed(3)
        given = ShardedLoader(TrainSettings(batch_size=12), group).train_batches(
            split, order, noise, 0, 1
        )
        return [
            (images, group.local_count, group.batch_count, torch.rand((), generator=noise).item())
            for images, _ in given
        ]

    in_memory = epoch()
    monkeypatch.setattr(memory, "available", lambda: 1)
    streamed = epoch()
    assert [row[1:3] for row in in_memory] == [(6, 12)] * 6 + [(0, 1)]
    for (images, *others), (expected, *expected_others) in zip(streamed, in_memory, strict=True):
        assert images.equal(expected)
        assert others == expected_others


def test_an_image_is_augmented_alike_whichever_process_computes_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (85, 1, 8, 8), dtype=np.uint8)
    split = ImageLoader(pixels, torch.device("cpu"))
    settings = TrainSettings(batch_size=12, augment_flip=0.5, augment_shift=0.2, augment_zoom=0.3)

    def epoch(group: ProcessGroup) -> list[Tensor]:
        order = torch.Generator().manual_seed(3)
        given = ShardedLoader(settings, group).train_batches(
            split, order, torch.Generator(), epoch=4, first=2
        )
        return [batch.images for batch in given]

    alone = epoch(SINGLE_GROUP)
    assert [len(batch) for batch in alone] == [12] * 5 + [1]
    parts = [epoch(ProcessGroup(DistributedEnv(rank, 2))) for rank in range(2)]
    for batch, even, odd in zip(alone, *parts, strict=True):
        assert torch.equal(batch[::2], even)
        assert torch.equal(batch[1::2] if len(batch) > 1 else batch, odd)


def test_a_process_alone_joins_nothing() -> None:
    with process_group(SINGLE_PROCESS, torch.device("cpu")) as group:
        assert group.world_size == 1
        assert group.is_rank_zero
        assert not torch.distributed.is_initialized()


RUN = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_the_place_is_read_from_what_torchrun_says() -> None:
    assert from_environ({}) == SINGLE_PROCESS
    assert from_environ({"WORLD_SIZE": "1"}) == SINGLE_PROCESS
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert from_environ(said | RUN) == DistributedEnv(5, 8, 1, 4)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"WORLD_SIZE": "two"},
            "WORLD_SIZE in the environment must be a whole number, 1 or more; it is 'two'",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR and MASTER_PORT not set"),
        ({"WORLD_SIZE": "2", "RANK": "2", **RUN}, "RANK 2 .* is out of range for WORLD_SIZE 2"),
    ],
)
def test_a_contradictory_environment_is_refused(said: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_environ(said)


def test_each_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    settings = MachineSettings(threads=1)
    assert choose_device(settings, DistributedEnv(3, 4, 1, 2)) == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"3 processes need 3 GPUs, found 2"):
        choose_device(settings, DistributedEnv(2, 3, 2, 3))
    with pytest.raises(UserError, match=r"machine\.device: cuda:1 is cuda:1 here"):
        choose_device(MachineSettings(device="cuda:1", threads=1), DistributedEnv(0, 2, 0, 2))
