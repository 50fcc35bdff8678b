"""The training loop: it learns, is reproducible, stops before damage, and fits any objective."""

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from vaelab.config import ModelSettings, TrainSettings, UserError
from vaelab.data.loader import ImageLoader
from vaelab.models.model import Model, build_model
from vaelab.objectives import LossOutput, Objective
from vaelab.objectives.gan import Gan
from vaelab.objectives.vae import Vae, VaeOutput
from vaelab.objectives.vae_gan import VaeGan
from vaelab.runtime import matmul
from vaelab.training import collapse
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.optimizers import learning_rate
from vaelab.training.progress import NonFiniteLossError
from vaelab.training.trainer import Trainer
from vaelab.training.updates import Part

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
AVERAGED = {"ema_decay": 0.9}
# Of 64 images: 4 steps of 15, and one of 4
ACCUMULATED = {"batch_size": 5, "accumulate_grad_batches": 3, "gradient_clip_norm": 5.0}
AUGMENTED = {
    "augment_flip": 0.5,
    "augment_shift": 0.2,
    "augment_zoom": 0.3,
    "augment_color": 0.2,
}


def stripes(count: int) -> np.ndarray:
    """Images of one bright row each: as simple as a data set with something to learn gets."""
    images = np.zeros((count, *SHAPE), np.uint8)
    images[np.arange(count), 0, np.arange(count) % 8] = 255
    return images


def make_trainer(
    objective: Objective | None = None,
    network: str = "mlp",
    conditional: str = "none",
    **settings: object,
) -> Trainer:
    train = TrainSettings.model_validate({"epochs": 3, "batch_size": 16, **settings})
    objective = objective or Vae(kl_weight=train.kl_weight)
    model_settings = ModelSettings.model_validate(
        {
            "network": network,
            "hidden": (32,),
            "channels": (4, 8),
            "latent_dim": 3,
            "spectral_norm": False,
            "conditional": conditional,
        }
    )
    model = build_model(model_settings, SHAPE, objective.networks(), train.seed, classes=8)
    splits = (
        ImageLoader(stripes(count), CPU, labels=np.arange(count) % 8, classes=8)
        for count in (64, 16)
    )
    return Trainer(model, objective, train, *splits)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in trainer.model.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_the_validation_bound_falls() -> None:
    history = make_trainer(epochs=30, learning_rate=0.01).fit().history
    assert [row["epoch"] for row in history] == list(range(1, 31))
    bounds = [row["validation.neg_elbo_nats"] for row in history]
    # Which of 8 rows is white costs ln 8 = 2.1 nats to say; it starts out as grey everywhere.
    assert bounds[-1] < bounds[0] - 20


def test_epoch_means_are_weighted_by_images_not_batches() -> None:
    """20 images in batches of 16 and 4: the mean over images, not of the two batch means."""

    class Brightness(Vae):
        selection: ClassVar[str | None] = None

        def losses(
            self, model: Model, images: Tensor, generator: torch.Generator
        ) -> dict[str, LossOutput]:
            loss = super().losses(model, images, generator)["vae"].loss
            return {"vae": LossOutput(loss, {"brightness": images.flatten(1).mean(1)})}

    trainer = make_trainer(Brightness(), epochs=1)
    images = np.random.default_rng(0).integers(0, 256, (20, *SHAPE)).astype(np.uint8)
    trainer.train = ImageLoader(images, CPU)
    row = trainer.fit().history[0]
    assert row["train.brightness"] == pytest.approx(images.mean() / 255, rel=1e-6)


def test_one_seed_gives_the_same_weights_and_another_does_not() -> None:
    runs = [make_trainer(seed=seed) for seed in (1, 1, 2)]
    for run in runs:
        run.fit()
    assert_same(weights(runs[0]), weights(runs[1]))
    name = "networks.encoder.1.weight"
    assert not torch.equal(weights(runs[0])[name], weights(runs[2])[name])


@pytest.mark.parametrize(
    ("network", "objective"),
    [
        ("mlp", "vae"),
        ("conv", "vae"),
        ("resnet", "vae"),
        ("mlp", "adversarial"),
        # Optimizers that skip some steps
        ("mlp", "gan"),
        ("mlp", "vae_gan"),
        ("conv", "conditional"),
        ("mlp by oneDNN", "vae"),
    ],
)
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, network: str, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _, library = network.partition(" by ")
    monkeypatch.setattr(matmul, "LARGE", 0 if library else math.inf)
    options = {
        "epochs": 6,
        "kl_warmup_epochs": 4,
        "learning_rate_schedule": "cosine",
        "gradient_clip_norm": 10.0,
    }

    def make() -> Trainer:
        made: dict[str, Objective] = {
            "vae": Vae(kl_weight=2.0, kl_warmup_epochs=4),
            "conditional": Vae(kl_weight=2.0, kl_warmup_epochs=4),
            "adversarial": Adversarial(),
            "gan": Gan(discriminator_steps=2),
            "vae_gan": VaeGan(margin=0.01),
        }
        conditional = "labels" if objective == "conditional" else "none"
        return make_trainer(made[objective], network, conditional, **options)

    undisturbed = make()
    expected = undisturbed.fit()

    class KilledError(Exception):
        pass

    interrupted = make()
    with CheckpointFolder(tmp_path) as folder:

        def kill(report: object) -> None:
            if interrupted.progress.epoch == 3:
                interrupted.save(folder)
            if interrupted.progress.epoch == 4:
                raise KilledError

        with pytest.raises(KilledError):
            interrupted.fit(kill, folder)
    resumed = make()
    with CheckpointFolder(tmp_path) as folder:
        resumed.resume(folder)
        assert resumed.progress.epoch == 3
        progress = resumed.fit(checkpoints=folder)
    assert_same(weights(undisturbed), weights(resumed))
    assert progress == expected


def test_onednn_multiplies_in_steps_and_validation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is the whole process's: between two steps it is the caller's."""
    monkeypatch.setattr(matmul, "LARGE", 0)
    monkeypatch.setattr(matmul, "is_exact", lambda: True)
    setting = matmul.mkldnn.matmul
    before, seen = setting.fp32_precision, list[str]()

    class Watched(Vae):
        def losses(self, *given: Any) -> dict[str, LossOutput]:
            seen.append(setting.fp32_precision)
            return super().losses(*given)

        def validate_batch(self, *given: Any) -> dict[str, Tensor]:
            seen.append(setting.fp32_precision)
            return super().validate_batch(*given)

    trainer = make_trainer(Watched())
    between = [setting.fp32_precision for _ in trainer.steps_of_epoch()]
    trainer.end_epoch()
    assert between == [before] * 4
    assert setting.fp32_precision == before
    assert seen == ["bf16"] * 5, "4 steps, and a batch to validate"


@pytest.mark.parametrize(
    ("objective", "own"),
    [
        (Vae(kl_weight=2.0), {}),
        (Gan(discriminator_steps=2), {}),
        (Vae(), AUGMENTED),
        (Vae(), AVERAGED),
        (VaeGan(margin=0.01), AVERAGED),
        (Vae(), ACCUMULATED),
        (Gan(discriminator_steps=2), ACCUMULATED),
    ],
    ids=["vae", "gan", "augmented", "averaged", "averaged_gan", "accumulated", "accumulated_gan"],
)
@pytest.mark.parametrize("steps", [1, 4, 6, 8])
def test_a_training_interrupted_in_an_epoch_goes_on_from_the_step(
    tmp_path: Path, objective: Objective, own: dict[str, Any], steps: int
) -> None:
    """Of 4 or 5 steps an epoch, with binarisation drawn on the way; progress holds every metric."""

    def make() -> Trainer:
        trainer = make_trainer(objective, learning_rate_schedule="cosine", epochs=3, **own)
        images = np.random.default_rng(0).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
        trainer.train = ImageLoader(images, CPU, binarize=True)
        return trainer

    undisturbed, interrupted, resumed = make(), make(), make()
    per_epoch, expected = undisturbed.steps_per_epoch(), undisturbed.fit()
    with CheckpointFolder(tmp_path) as folder:
        for epoch in range(steps // per_epoch + 1):
            for _ in interrupted.steps_of_epoch():
                if per_epoch * epoch + interrupted.progress.step == steps:
                    interrupted.save(folder)
            interrupted.end_epoch()
        resumed.resume(folder)
        assert per_epoch * resumed.progress.epoch + resumed.progress.step == steps
        progress = resumed.fit(checkpoints=folder)
    assert progress == expected
    columns = [list(row) for row in expected.history]
    assert [list(row) for row in progress.history] == columns, "history.csv is the same file"
    assert_same(weights(undisturbed), weights(resumed))


def test_only_the_training_steps_see_augmented_images() -> None:
    """In each epoch other ones; validation and the fit of the variance see the files' own."""
    seen: dict[bool, list[Tensor]] = {True: [], False: []}

    class Watches(Vae):
        def encode_and_decode(
            self, model: Model, images: Tensor, generator: torch.Generator
        ) -> VaeOutput:
            seen[model.training].append(images.clone())
            return super().encode_and_decode(model, images, generator)

    trainer = make_trainer(Watches(), epochs=2, batch_size=64, augment_flip=1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
    own = torch.from_numpy(pixels) / 255
    trainer.train = trainer.validation = ImageLoader(pixels, CPU)
    trainer.fit()
    assert all(torch.equal(images, own) for images in seen[False])
    for images in seen[True]:
        assert not torch.equal(images.sort(0).values, own.sort(0).values)
        assert torch.equal(images.sort(0).values, own.flip(3).sort(0).values)
    measured = (own - reconstruct(trainer, own)).square().mean()
    assert trainer.model.likelihood.variance == pytest.approx(measured.item(), rel=0.02)


def reconstruct(trainer: Trainer, images: Tensor) -> Tensor:
    with torch.no_grad():
        latents = trainer.model.encode(images).rsample(torch.Generator().manual_seed(0))
        return trainer.model.decode(latents).mean


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_let_through_after_the_step_is_safe(tmp_path: Path, number: int) -> None:
    class StoppedError(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise StoppedError

    class Interrupts(Vae):
        def losses(
            self, model: Model, images: Tensor, generator: torch.Generator
        ) -> dict[str, LossOutput]:
            if trainer.progress.step == 2:
                signal.raise_signal(number)
            return super().losses(model, images, generator)

    trainer = make_trainer(Interrupts())
    before = signal.signal(number, stop)
    try:
        with CheckpointFolder(tmp_path) as folder:
            with pytest.raises(StoppedError):
                trainer.fit(checkpoints=folder)
            assert signal.getsignal(number) is stop
            resumed = make_trainer()
            resumed.resume(folder)
    finally:
        signal.signal(number, before)
    assert (resumed.progress.epoch, resumed.progress.step) == (0, 3)
    undisturbed = make_trainer()
    undisturbed.fit()
    resumed.fit()
    assert_same(weights(undisturbed), weights(resumed))


def test_a_lack_of_memory_names_the_batch_size() -> None:
    class Hungry(Vae):
        def losses(
            self, model: Model, images: Tensor, generator: torch.Generator
        ) -> dict[str, LossOutput]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB")

    with pytest.raises(UserError, match=r"device ran out of memory with train.batch_size: 16;"):
        make_trainer(Hungry()).fit()


def test_another_error_of_the_runtime_stays_what_it_is() -> None:
    class Wrong(Vae):
        def losses(
            self, model: Model, images: Tensor, generator: torch.Generator
        ) -> dict[str, LossOutput]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        make_trainer(Wrong()).fit()


class Explodes(Vae):
    """A generation loss that is not finite from the third step on."""

    steps: list[int] = []

    def losses(
        self, model: Model, images: Tensor, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        losses = super().losses(model, images, generator)
        self.steps.append(1)
        if len(self.steps) < 3:
            return losses
        bad = losses["vae"].loss * math.nan
        terms = {**losses["vae"].terms, "generation_loss_nats": bad}
        return {"vae": LossOutput(bad, terms)}


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    trainer = make_trainer(Explodes(steps=[]))
    reference = make_trainer(Vae())
    for step, batch in enumerate(
        reference.train.shuffled(16, reference.state.shuffle_rng, reference.state.noise_rng)
    ):
        if step < 2:
            reference.updater.step([Part(batch)])
    with pytest.raises(
        NonFiniteLossError, match=r"epoch 1, step 3 of 4: .*train.generation_loss_nats.*not finite"
    ):
        trainer.fit()
    assert_same(weights(trainer), weights(reference))


def test_the_images_of_the_step_that_was_not_finite_are_written_down(tmp_path: Path) -> None:
    trainer, same = make_trainer(Explodes(steps=[])), make_trainer()
    third = same.train.permutation(same.state.shuffle_rng)[32:48].tolist()
    with (
        CheckpointFolder(tmp_path) as folder,
        pytest.raises(
            NonFiniteLossError, match=r"indices of that step.s images are in .*not_finite\.json"
        ),
    ):
        trainer.fit(checkpoints=folder)
    noted = json.loads((tmp_path / "not_finite.json").read_text())
    assert noted == {"epoch": 1, "training_images": third}


def test_what_is_not_finite_reaches_no_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(Explodes(steps=[]))
    with CheckpointFolder(tmp_path) as folder:
        for step, _ in enumerate(trainer.steps_of_epoch(), 1):
            if step < 3:
                trainer.save(folder)
            else:
                with pytest.raises(NonFiniteLossError, match="step 3 of 4"):
                    trainer.save(folder)
    assert [path.name[:25] for path in folder._paths()] == [
        "epoch_000000_step_0000000" for _ in range(2)
    ]


def test_the_term_that_stayed_finite_is_not_blamed() -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        make_trainer(Explodes(steps=[])).fit()
    assert "kl_loss_nats" not in str(caught.value)


def test_early_stopping_counts_epochs_without_a_better_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collapse, "GRACE_STEPS", 0)
    trainer = make_trainer(epochs=50, learning_rate=1e-12, early_stopping_epochs=4)
    # With such a rate nothing gets better but by rounding: the first or one soon after is best.
    progress = trainer.fit()
    assert progress.epoch == progress.best_epoch + 4
    assert progress.epoch < 50


def test_the_best_weights_are_kept() -> None:
    trainer = make_trainer(epochs=8, learning_rate=0.3)
    kept: dict[int, dict[str, Tensor]] = {}
    progress = trainer.fit(lambda report: kept.update({report.epoch: weights(trainer)}))
    losses = [row["validation.loss"] for row in progress.history]
    assert progress.best_epoch == int(np.argmin(losses)) + 1
    assert progress.best_epoch < 8, "a rate this high must not end at its best"
    final, best = weights(trainer), kept[progress.best_epoch]
    final.pop("likelihood.variance"), best.pop("likelihood.variance")
    assert_same(final, best)


def test_the_fitted_variance_is_the_mean_squared_error_of_the_training_split() -> None:
    trainer = make_trainer(epochs=5)
    trainer.fit()
    model, squared = trainer.model.eval(), []
    for seed in range(20):
        noise = torch.Generator().manual_seed(seed)
        for images, _ in trainer.train.sequential(64, noise):
            with torch.no_grad():
                mean = model.decode(model.encode(images).rsample(noise)).mean
            squared.append(float((images - mean).square().mean()))
    error = np.std(squared) * math.sqrt(1 + 1 / len(squared))
    assert abs(float(model.state_dict()["likelihood.variance"]) - np.mean(squared)) < 6 * error


def test_the_best_weights_are_the_best_at_the_weight_that_was_set() -> None:
    """At a weight of 0 the bound only gets worse; the model that restores best is wanted."""
    trainer = make_trainer(Vae(kl_weight=0.25, kl_warmup_epochs=100), epochs=3)
    for row in trainer.fit().history:
        parts = row["validation.generation_loss_nats"], row["validation.kl_loss_nats"]
        assert row["validation.loss"] == pytest.approx(parts[0] + 0.25 * parts[1])
        assert row["validation.neg_elbo_nats"] == pytest.approx(sum(parts))


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    class Kink(Vae):
        def losses(
            self, model: Model, images: Tensor, generator: torch.Generator
        ) -> dict[str, LossOutput]:
            mean = model.encode(images).mean.sum(-1)
            decoded = model.decode(model.prior(len(images))).mean.flatten(1).sum(1)
            # The square root's slope at 0 is infinite, its value is not.
            return {"vae": LossOutput((mean * 0).sqrt() + decoded, {})}

    trainer = make_trainer(Kink())
    before = weights(trainer)
    with pytest.raises(NonFiniteLossError, match="the gradient is not finite"):
        trainer.fit()
    after = weights(trainer)
    before.pop("likelihood.variance"), after.pop("likelihood.variance")
    assert_same(before, after)


class Adversarial(Objective):
    """A toy objective with two optimizers that step alternately."""

    optimizers = {"autoencoder": ("encoder", "decoder"), "critic": ("discriminator",)}
    update_order: ClassVar[Literal["simultaneous", "alternating"]] = "alternating"

    def losses(
        self, model: Model, images: Tensor, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        reconstructions = model.decode(model.encode(images).rsample(generator)).mean
        real = model.discriminate(images).logits
        critic_loss = model.discriminate(reconstructions.detach()).logits - real
        return {
            "autoencoder": LossOutput(-model.discriminate(reconstructions).logits, {}),
            "critic": LossOutput(critic_loss + real**2, {"gap": critic_loss}),
        }


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_each_optimizer_updates_its_own_networks_and_no_others(
    order: Literal["simultaneous", "alternating"],
) -> None:
    class Ordered(Adversarial):
        update_order: ClassVar[Literal["simultaneous", "alternating"]] = order

    trainer = make_trainer(Ordered(), epochs=1)
    images, _ = next(trainer.train.sequential(16, trainer.state.noise_rng))
    before = weights(trainer)
    losses = trainer.objective.losses(trainer.model, images, trainer.state.noise_rng)
    trainer.updater.backward(["critic"], losses)
    trainer.updater.take_step(["critic"], {"critic": None})
    after = weights(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("networks.discriminator") for name in moved)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_skipped_step_keeps_weights_and_moments_to_the_last_bit(optimizer: str) -> None:
    decay = 0.1 if optimizer == "adamw" else 0.0
    trainer = make_trainer(Adversarial(), optimizer=optimizer, weight_decay=decay)
    images, _ = next(trainer.train.sequential(16, trainer.state.noise_rng))

    def state() -> dict[str, Tensor]:
        moments = trainer.state.optimizers["critic"].state_dict()
        return weights(trainer) | {name: tensor.clone() for name, tensor in moments.items()}

    def step(active: float) -> None:
        losses = trainer.scheduled_objective.losses(trainer.model, images, trainer.state.noise_rng)
        waiting = replace(losses["critic"], update_mask=torch.tensor(active))
        trainer.updater.backward(["critic"], {"critic": waiting})
        trainer.updater.take_step(["critic"], {"critic": waiting.update_mask})

    step(1.0)
    before = state()
    step(0.0)
    assert_same(before, state())
    assert not trainer.found_nonfinite
    step(1.0)
    after = state()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {"0.step", "0.exp_avg", "0.exp_avg_sq"} <= changed


def test_an_optimizer_has_its_objectives_decay_rates() -> None:
    class Quick(Adversarial):
        adam_betas: ClassVar[tuple[float, float]] = (0.5, 0.9)

    for objective, betas in ((Quick(), (0.5, 0.9)), (Adversarial(), (0.9, 0.999))):
        for optimizer in make_trainer(objective).state.optimizers.values():
            assert optimizer.betas == betas


def test_alternating_optimizers_see_each_others_new_weights() -> None:
    def first_critic_loss(order: Literal["simultaneous", "alternating"]) -> float:
        class Ordered(Adversarial):
            update_order: ClassVar[Literal["simultaneous", "alternating"]] = order

        trainer = make_trainer(Ordered(), learning_rate=0.1)
        batch = next(trainer.train.sequential(16, trainer.state.noise_rng))
        return float(trainer.updater.step([Part(batch)])[0]["critic_loss"].detach().mean())

    assert first_critic_loss("simultaneous") != first_critic_loss("alternating")


def test_an_objective_with_several_optimizers_trains_and_names_its_losses() -> None:
    row = make_trainer(Adversarial(), epochs=1).fit().history[0]
    assert {"train.autoencoder_loss", "train.critic_loss", "train.gap"} <= row.keys()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 4 epochs, 2 of them warm-up: half of the way up, the top, half of the way down, the end
        ("constant", {1: 0.5, 2: 1.0, 3: 1.0, 4: 1.0}),
        ("linear", {1: 0.5, 2: 1.0, 3: 0.5, 4: 0.0}),
        ("cosine", {1: 0.5, 2: 1.0, 3: 0.5, 4: 0.0}),
    ],
)
def test_learning_rate_schedules(schedule: str, expected: dict[int, float]) -> None:
    settings = TrainSettings.model_validate(
        {
            "learning_rate": 1.0,
            "epochs": 4,
            "learning_rate_warmup_epochs": 2,
            "learning_rate_schedule": schedule,
        }
    )
    rates = {epoch: learning_rate(settings, epoch) for epoch in expected}
    assert rates == pytest.approx(expected)
    assert learning_rate(settings, 0) > 0


def test_gradients_are_clipped_to_the_norm() -> None:
    trainer = make_trainer(gradient_clip_norm=1e-3)
    trainer.updater.step([Part(next(trainer.train.sequential(16, trainer.state.noise_rng)))])
    gradients = [p.grad.norm() ** 2 for p in trainer.model.parameters() if p.grad is not None]
    assert float(sum(gradients)) ** 0.5 == pytest.approx(1e-3, rel=1e-3)


def test_bfloat16_networks_give_float32_distributions_and_learn() -> None:
    trainer = make_trainer(precision="bfloat16", epochs=30, learning_rate=0.01)
    posterior = trainer.model.encode(torch.rand(2, *SHAPE))
    assert posterior.mean.dtype == torch.float32
    history = trainer.fit().history
    drop = history[0]["validation.neg_elbo_nats"] - history[-1]["validation.neg_elbo_nats"]
    assert drop > 10


def test_a_second_trainer_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    expected = rf"vae on digits \(process {os.getpid()} on .+\) is already training here"
    with (
        CheckpointFolder(tmp_path, "vae on digits"),
        pytest.raises(UserError, match=expected),
        CheckpointFolder(tmp_path, "the same again"),
    ):
        pass
    with CheckpointFolder(tmp_path):
        pass


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b""])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    trainer = make_trainer(epochs=2)
    with CheckpointFolder(tmp_path) as folder:
        trainer.fit(lambda report: trainer.save(folder))
        newest = sorted(tmp_path.glob("*.safetensors"))[-1]
        newest.write_bytes(damage(newest.read_bytes()))
        found = folder.load_latest()
    assert f"warning: {newest} is damaged" in capsys.readouterr().out
    assert found is not None
    assert found[1]["epoch"] == 1


def test_only_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    trainer = make_trainer(epochs=5)
    with CheckpointFolder(tmp_path) as folder:
        trainer.fit(lambda report: trainer.save(folder))
        names = sorted(p.name for p in tmp_path.glob("*.safetensors"))
    assert names == [f"epoch_00000{epoch}_step_00000000.safetensors" for epoch in (4, 5)]


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
def test_a_step_is_that_of_plain_adam(network: str) -> None:
    """Fused kernels pair weights with gradients by their place in memory, whatever the strides."""
    trainer = make_trainer(network=network)
    before = weights(trainer)
    trainer.updater.step([Part(next(trainer.train.sequential(16, trainer.state.noise_rng)))])
    moved = trainer.state.optimizers["vae"].parameters
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    plain = [torch.nn.Parameter(before[names[id(parameter)]]) for parameter in moved]
    for weight, parameter in zip(plain, moved, strict=True):
        weight.grad = parameter.grad
    torch.optim.Adam(plain, lr=1e-3, fused=False).step()
    for weight, parameter in zip(plain, moved, strict=True):
        assert torch.allclose(weight, parameter, atol=1e-6), names[id(parameter)]
