"""The judgement at the top of the page, on made evaluations of each kind."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.factories import evaluate_model, make_data, metric
from tests.objectives.factories import settings, trainer
from tests.report.factories import description, made_up
from tests.report.test_posterior_collapse import table
from vaelab.models.model import Model
from vaelab.report import EvaluationResult
from vaelab.report.judgement import judge
from vaelab.report.training_course import TrainingCourse

EPOCHS = 100
FALLING = 40 * np.exp(-np.arange(EPOCHS) / 12.0)  # its last tenth is less than 0.1 nats


def history(validation: np.ndarray, train: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The columns of a training whose bound is these losses, of both splits."""
    trained = validation - 0.5 if train is None else train
    return {
        "epoch": np.arange(1, len(validation) + 1),
        "validation.loss": validation,
        "train.loss": trained,
        "train.generation_loss_nats": trained - 3,
        "train.kl_loss_nats": np.full(len(trained), 3.0),
    }


def model(
    columns: dict[str, np.ndarray], mean_variance: list[float], test: float, **changes: Any
) -> EvaluationResult:
    numbers = {"test.neg_elbo_nats": test, "test.neg_elbo_standard_error_nats": 0.5}
    found = {name: np.array(column) for name, column in table(mean_variance).items()}
    return made_up(numbers, dimensions=found, history=columns, **changes)


USEFUL, USELESS = [0.9, 0.8, 0.7, 0.0], [0.0, 0.001, 0.0, 0.0]
HEALTHY = model(history(FALLING), USEFUL, test=0.2)
COLLAPSED = model(history(FALLING * 0.01), USELESS, test=0.4)
UNDERTRAINED = model(history(np.linspace(40, 10, EPOCHS)), USEFUL, test=10.5)
OVERFITTED = model(
    history(FALLING + np.maximum(0, np.arange(EPOCHS) - 40) * 0.4, 40 - np.arange(EPOCHS) * 0.8),
    USEFUL,
    test=16.0,
)


@pytest.mark.parametrize(
    ("result", "kind", "words"),
    [
        (HEALTHY, "sound", "No failure was found: 3 of 4 latent dimensions carry information"),
        (HEALTHY, "sound", "test images cost about as much as training images"),
        (COLLAPSED, "collapsed", "The posterior has collapsed: a latent carries almost no"),
        (UNDERTRAINED, "undertrained", "in the last tenth of its 100 epochs the validation loss"),
        (UNDERTRAINED, "undertrained", "10% of its whole fall. Train longer"),
        (
            OVERFITTED,
            "overfitted",
            "8 nats more than training images (21% of the 39 nats that the loss fell in "
            "training, above the 20% that count as overfitting)",
        ),
        (OVERFITTED, "overfitted", "rose by"),
    ],
)
def test_each_kind_of_model_is_judged(result, kind, words):
    found = judge(result)
    assert (found.kind, words in found.text) == (kind, True), found
    assert found.text.endswith(".")


def test_one_epoch_is_too_few_whatever_it_shows():
    found = judge(model(history(np.array([6.8])), USELESS, test=6.8))
    assert found.kind == "undertrained"
    assert found.text.startswith("This model has hardly been trained: 1 epoch cannot show")


def test_a_collapse_names_the_first_setting_to_try():
    changed = description(settings={"train.kl_weight": 20.0, "train.epochs": EPOCHS})
    found = judge(model(history(FALLING * 0.01), USELESS, 0.4, description=changed))
    assert found.text.endswith("Try train.kl_weight: 1, instead of 20.")


@pytest.mark.parametrize(
    ("objective", "own", "advice"),
    [
        ("vae_gan", {"pixel_share": 0.0}, "objectives.vae_gan.pixel_share: 0.5"),
        ("wae", {"mmd_weight": 1000.0}, "objectives.wae.mmd_weight: 100"),
        ("autoencoder", {}, "train.learning_rate: 0.00033, instead of 0.001"),
    ],
)
def test_a_decoder_that_ignores_an_informative_latent_is_said_first(objective, own, advice):
    """A VAE-GAN with one mean face had 120 of 128 active dimensions."""
    used = {"train.learning_rate": 0.001}
    used |= {f"objectives.{objective}.{key}": value for key, value in own.items()}
    columns = table(USEFUL) if objective == "vae_gan" else {}
    changes = {
        "description": description(objective, settings=used),
        "dimensions": {name: np.array(column) for name, column in columns.items()},
    }
    found = judge(made_up(psnr(12.42), **changes))
    assert found.kind == "collapsed"
    assert found.text.startswith(
        "The encoder is ignored: reconstructions are hardly closer to their images than the "
        "mean image is (PSNR: 0.02 dB more)"
    )
    informative = "although 3 of 4 latent dimensions carry information about the image"
    assert (informative in found.text) == (objective == "vae_gan")
    assert found.text.endswith(f" Try {advice}.")
    sound = judge(made_up(psnr(12.7), **changes))
    assert sound.kind == "sound"


@pytest.mark.parametrize("objective", ["vae_gan", "wae", "autoencoder", "vq_vae"])
def test_a_trained_model_whose_encoder_is_ignored_is_told_from_the_same_one_in_use(objective):
    own = {"feature_weight": 0.3} if objective == "vae_gan" else {}
    training = trainer(settings(objective, own, epochs=30, learning_rate=0.01), images=300)
    training.fit(show_progress=False)
    model, changes = training.model, {"description": description(objective)}
    assert "ignored" not in judge(made_up(measured(model), **changes)).text
    first = next(p for p in model.networks["decoder"].parameters() if p.dim() == 2)
    with torch.no_grad():
        first.zero_()  # the decoder's first layer no longer sees the latent
    assert judge(made_up(measured(model), **changes)).text.startswith("The encoder is ignored")


def measured(model: Model) -> dict[str, float]:
    found = evaluate_model(model, make_data(levels=256), importance_samples=1)
    return {name: metric(found, name) for name in psnr(0)}


def psnr(decibels: float) -> dict[str, float]:
    return {"test.psnr_db": decibels, "test.psnr_db_mean_image": 12.4}


def test_a_gap_within_the_errors_of_the_images_is_no_overfitting():
    columns = history(FALLING, FALLING - 1.0)
    assert judge(model(columns, USEFUL, test=0.3)).kind == "sound"
    # 3 standard errors of 5 nats are more than the gap of 13.
    noisy = {"test.neg_elbo_nats": 12.0, "test.neg_elbo_standard_error_nats": 5.0}
    dimensions = {name: np.array(column) for name, column in table(USEFUL).items()}
    assert judge(made_up(noisy, dimensions=dimensions, history=columns)).kind == "sound"


def test_a_gap_of_a_sound_model_is_set_in_relation():
    found = judge(model(history(FALLING), USEFUL, test=4.0))
    assert found.kind == "sound"
    assert (
        "test images cost 4.5 nats more than training images (11% of the 40 nats that the loss "
        "fell in training, below the 20% that count as overfitting), and"
    ) in found.text
    assert (
        "nats less than training images, and"
        in judge(model(history(FALLING), USEFUL, test=-4.0)).text
    )


def test_a_better_sampler_is_recommended():
    numbers = {
        "samples.classifier_frechet_distance": 35.0,
        "sampler.classifier_frechet_distance": 8.75,
    }
    text = judge(made_up(numbers)).text
    assert text.endswith(
        "samples of the prior are 4 times as far from real images, by the Fréchet distance in the "
        "features of a classifier of these images."
    )
    assert "sampler" not in judge(made_up({"samples.classifier_frechet_distance": 35.0})).text


def test_a_model_without_an_encoder_is_judged_by_its_samples():
    gan = description("gan", networks=("decoder", "discriminator"))
    numbers = {
        "samples.classifier_frechet_distance": 6.0,
        "samples.classifier_frechet_distance_floor": 2.0,
    }
    found = judge(made_up(numbers, description=gan))
    assert found.kind == "samples_only"
    assert found.text.endswith(
        "by the Fréchet distance in the features of a classifier of these images, they are 3 times "
        "as far from test images as training images are."
    )


def test_a_course_is_read_from_the_losses():
    losses = np.array([10.0, 6.0, 4.0, 3.0, 2.0, np.nan, 1.5, 1.2, 1.1, 1.0, 2.0])
    course = TrainingCourse.of(history(losses))
    assert course is not None
    assert (course.epochs, course.best_epoch) == (11, 10)
    assert (course.fall, course.rise) == (9, 1)
    # The last tenth of the measured epochs is one, in which the loss rose.
    assert course.late_fall == -1
    assert course.train_neg_elbo == pytest.approx(0.5)
    assert TrainingCourse.of({}) is None
