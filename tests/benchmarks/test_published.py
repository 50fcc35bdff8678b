"""The table of published numbers: its schedules, its resumption after a stop, its outcomes."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.published import __main__ as command
from benchmarks.published import measuring
from benchmarks.published.configurations import (
    CONFIGURATIONS,
    FULL,
    Configuration,
    Measure,
    Stage,
    Training,
    burda_stages,
)
from benchmarks.published.measuring import Result, Splits, work
from benchmarks.published.table import outcome, table
from benchmarks.published.training import Clock, OutOfTimeError, train
from vaelab.config import UserError, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.scoring import score_images
from vaelab.training.build import build
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
STAGES = (Stage(1, 1e-2), Stage(3, 1e-3))
TINY = Configuration(
    published=10.0,
    tolerance=0.5,
    source="none",
    training=Training(
        parse_settings(
            {
                "model": {"network": "mlp", "hidden": (8,), "likelihood": "bernoulli"},
                "train": {"batch_size": 7},
            }
        ),
        STAGES,
        held_out=8,
        binarize=True,
        epsilon=1e-5,
    ),
    measure=Measure("test_nll", samples=3, images=25),
)


def splits() -> Splits:
    images = np.random.default_rng(0).integers(0, 256, (72, 1, 4, 4), dtype=np.uint8)
    return images[:40], images[40:]


def no_splits() -> Splits:
    raise AssertionError("the images were requested")


class StopAfter(Clock):
    """A clock whose time is over at the n-th look."""

    def __init__(self, looks: int) -> None:
        super().__init__(minutes=1)
        self.looks = looks

    def check(self, next_seconds: float = 0.0) -> None:
        self.looks -= 1
        if self.looks == 0:
            raise OutOfTimeError


def last_weights(folder: Path) -> dict[str, Tensor]:
    found = CheckpointFolder(folder).load_latest()
    assert found is not None
    return {name: tensor for name, tensor in found[0].items() if name.startswith("model.")}


def trained(folder: Path, training: Training = TINY.training) -> Trainer:
    with CheckpointFolder(folder) as checkpoints:
        return train(training, splits()[0], CPU, checkpoints, Clock(1))


# --- what is trained


def test_the_schedule_is_that_of_burda_et_al():
    stages = burda_stages(8)
    assert [stage.epochs for stage in stages] == [1, 3, 9, 27, 81, 243, 729, 2187]
    assert sum(stage.epochs for stage in stages) == 3280
    # 10^-3 10^(-i/7) to two digits
    rates = [1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4]
    assert [stage.learning_rate for stage in stages] == pytest.approx(rates)
    assert all(CONFIGURATIONS[name].training.stages == stages for name in FULL)
    # A shorter one spans the same rates.
    short = [stage.learning_rate for stage in burda_stages(4)]
    assert short == pytest.approx([1e-3, 4.6e-4, 2.2e-4, 1e-4])


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [
        ("burda-iwae-50", [784, 200, 200, 2 * 50], [50, 200, 200, 784]),
        ("jmetzen-20", [784, 500, 500, 2 * 20], [20, 500, 500, 784]),
        ("jmetzen-2", [784, 500, 500, 2 * 2], [2, 500, 500, 784]),
    ],
)
def test_the_networks_have_the_published_widths(name, encoder, decoder):
    _, model = build(CONFIGURATIONS[name].training.settings, (1, 28, 28))
    for network, widths in (("encoder", encoder), ("decoder", decoder)):
        shapes = [p.shape for p in model.networks[network].parameters() if p.dim() == 2]
        assert shapes == [(after, before) for before, after in pairwise(widths)]


def test_epsilon_does_to_the_mean_gradient_what_1e_4_does_to_the_sum():
    training = CONFIGURATIONS["burda-vae"].training
    gradients = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 1e-4
    moved = []
    for scale, epsilon in ((training.settings.train.batch_size, 1e-4), (1, training.epsilon)):
        parameter = torch.nn.Parameter(torch.zeros(3))
        adam = torch.optim.Adam([parameter], lr=1e-3, eps=epsilon)
        for gradient in gradients:
            parameter.grad = scale * gradient
            adam.step()
        moved.append(parameter.detach())
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=0)


def test_stages_rates_epsilon_and_images_are_those_of_the_configuration(tmp_path):
    trainer = trained(tmp_path)
    rates = [row["learning_rate"] for row in trainer.progress.history]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-3, 1e-3])
    assert trainer.state.optimizers["vae"].epsilon == 1e-5
    np.testing.assert_array_equal(trainer.train.array, splits()[0][:32])
    assert trainer.train.binarize


def test_the_last_weights_are_taken_not_those_that_validate_best(tmp_path):
    harmful = replace(TINY.training, stages=(Stage(1, 1e-3), Stage(1, 10.0)))
    trainer = trained(tmp_path, harmful)
    assert trainer.progress.best_epoch == 1
    state = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    for name, tensor in last_weights(tmp_path).items():
        assert torch.equal(state[name], tensor)
    assert any(
        not torch.equal(trainer.state.best_weights[n], t)
        for n, t in trainer.model.state_dict().items()
    )


# --- going on


def test_a_training_that_is_stopped_often_ends_as_one_that_never_was(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "PART", 10)
    whole = work(TINY, splits, CPU, tmp_path / "whole", Clock(1))
    seen = []
    # Looks at the clock: on starting, before a stage, after an epoch, before a part of the test.
    for _ in range(20):
        seen.append(work(TINY, splits, CPU, tmp_path / "parts", StopAfter(3)))
        if seen[-1].value is not None:
            break
    assert len(seen) > 4
    assert {result.epochs for result in seen} >= {1, 2, 4}
    assert seen[-1].value == whole.value
    assert seen[-1].standard_error == whole.standard_error
    first, second = last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_time_is_over_before_work_that_would_not_fit():
    clock = Clock(minutes=1)
    clock.check(next_seconds=59)
    with pytest.raises(OutOfTimeError):
        clock.check(next_seconds=60)


def test_a_call_without_time_does_nothing(tmp_path):
    result = work(TINY, no_splits, CPU, tmp_path, Clock(0))
    assert result == Result(epochs=0, training_seconds=0)


def test_what_is_done_is_not_done_again(tmp_path):
    first = work(TINY, splits, CPU, tmp_path, Clock(1))
    assert work(TINY, no_splits, CPU, tmp_path, Clock(1)) == first


def test_another_measure_of_the_same_training_trains_no_more(tmp_path):
    first = work(TINY, splits, CPU, tmp_path, Clock(1))
    bound = replace(TINY, measure=Measure("test_neg_elbo", images=25))
    # Looks: on starting, before the first part; none after an epoch.
    second = work(bound, splits, CPU, tmp_path, StopAfter(3))
    assert first.value is not None
    assert second.value is not None
    assert second.training_seconds == first.training_seconds


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 1e-8},
        {"held_out": 4},
        {"binarize": False},
        {"stages": STAGES[:1]},
        {"settings": parse_settings({"train": {"batch_size": 8}})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_changes_with_all_that_weights_depend_on(change):
    assert replace(TINY.training, **change).key != TINY.training.key
    assert replace(TINY.training).key == TINY.training.key


# --- what is measured


@pytest.mark.parametrize(
    ("kind", "name"), [("test_nll", "nll_nats"), ("test_neg_elbo", "neg_elbo_nats")]
)
def test_the_number_is_the_mean_over_the_test_images(tmp_path, kind, name):
    measured = replace(TINY, measure=Measure(kind, samples=3, images=25))
    result = work(measured, splits, CPU, tmp_path, Clock(1))
    model = trained(tmp_path).model.eval()
    test = ImageLoader(splits()[1][:25], CPU, binarize=True)
    scores = score_images(model, test, 3, seed=0)
    assert result.value == pytest.approx(scores.means()[name], rel=1e-9)
    if kind == "test_nll":
        assert result.standard_error == pytest.approx(scores.nll.std().item() / 5, rel=1e-9)


def test_a_training_loss_is_the_last_epochs(tmp_path):
    result = work(replace(TINY, measure=Measure("train_loss")), splits, CPU, tmp_path, Clock(1))
    assert result.value == trained(tmp_path).progress.history[3]["train.loss"]
    assert result.standard_error is None


# --- the table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10.5, "met"),
        (9.5, "met"),
        (10.51, "missed: 0.51 above"),
        (9.2, "missed: 0.80 below"),
        (None, "unfinished"),
    ],
)
def test_a_number_outside_the_tolerance_is_missed(value, expected):
    assert outcome(TINY, value) == expected
    short = replace(TINY, note="short")
    assert outcome(short, value) == expected + (" (short)" if "missed" in expected else "")


def test_the_table_shows_both_numbers_and_what_is_missed():
    missed, unfinished = Result(10, 120.0, 104.0, 0.25), Result(3, 60.0)
    lines = table({"blog": missed, "jmetzen-2": unfinished}).splitlines()
    assert len({len(line) for line in lines}) == 1
    first, second = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert first[:6] == [
        "blog", "negative ELBO, 10,000 test images", "102.60", "104.00 ± 0.25", "1",
        "missed: 1.40 above",
    ]  # fmt: skip
    assert second[3:7] == ["", "2", "unfinished", "3 of 71"]


# --- the command


def test_the_list_names_every_configuration_and_trains_none(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["published", "--list"])
    monkeypatch.setattr(command, "run", no_splits)
    command.main()
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()] == list(CONFIGURATIONS)
    assert "86.76 nats, NLL, K = 5,000, 10,000 test images, 3,280 epochs\n" in text


def test_the_command_writes_the_table(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(CONFIGURATIONS, "tiny", TINY)
    monkeypatch.setattr(command, "mnist", lambda folder: splits())
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    output = tmp_path / "table.md"
    options = ["--device", "cpu", "--folder", str(tmp_path / "kept"), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["published", "tiny", *options])
    command.main()
    assert output.read_text() in capsys.readouterr().out
    assert "| tiny " in output.read_text()
    assert "| missed: " in output.read_text()


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match="burda is no configuration; there are blog, jmetzen-20"):
        command.chosen(["blog", "burda"], "cpu")


def test_without_names_a_cpu_gets_the_short_trainings_a_gpu_the_full_ones():
    assert "burda-vae" not in command.chosen([], "cpu")
    assert "burda-vae-short" in command.chosen([], "cpu")
    assert "burda-vae" in command.chosen([], "cuda")
