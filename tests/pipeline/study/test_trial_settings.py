"""The warm-ups of a study's trials: each ends within a trial, and is known to the pruner."""

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution

from pipeline.study.finalists import Training
from pipeline.study.run_info import settings_of_training
from pipeline.study.trial_settings import check_trial_warmups, longest_warmup
from vaelab.config import Settings, UserError, parse_settings


def study(
    train: dict[str, Any], space: dict[str, Any], epochs: int | None = None, **own: Any
) -> Settings:
    searched = {"model.latent_dim": {"type": "int", "low": 2, "high": 9}, **space}
    return parse_settings(
        {
            "train": {"epochs": 30, **train},
            "objectives": {"beta_vae": own},
            "tune": {"search_space": searched, "epochs": epochs},
        }
    )


BETA = {"objective": "beta_vae"}


def integers(low: int, high: int) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high}


@pytest.mark.parametrize(
    ("settings", "longest"),
    [
        (study({}, {}), 0),
        (study({"kl_warmup_epochs": 20}, {}), 20),
        (study({"learning_rate_warmup_epochs": 8, "kl_warmup_epochs": 2}, {}), 8),
        (study({}, {"train.kl_warmup_epochs": integers(0, 12)}), 12),
        (
            study({}, {"train.kl_warmup_epochs": {"type": "categorical", "choices": [7, 3]}}),
            7,
        ),
        (study(BETA, {}, capacity_epochs=25), 0),
        (study(BETA, {}, capacity_epochs=25, capacity_nats=3.0), 25),
        (
            study(
                BETA,
                {"objectives.beta_vae.capacity_nats": {"type": "float", "low": 0, "high": 9}},
                capacity_epochs=25,
            ),
            25,
        ),
    ],
)
def test_the_longest_warm_up_of_the_trials(settings: Settings, longest: int) -> None:
    assert longest_warmup(settings) == longest
    check_trial_warmups(settings)
    if longest:
        short = settings.tune.model_copy(update={"epochs": longest - 1})
        with pytest.raises(UserError, match=rf"is {longest}, longer .*tune.epochs: {longest - 1}"):
            check_trial_warmups(settings.model_copy(update={"tune": short}))


def test_only_the_epochs_of_a_trial_count() -> None:
    """A warm-up that is too long for train.epochs may fit tune.epochs."""
    check_trial_warmups(study({"epochs": 5, "kl_warmup_epochs": 10}, {}, epochs=10))
    with pytest.raises(UserError, match=r"train.kl_warmup_epochs is 10, longer than the training "):
        check_trial_warmups(study({"epochs": 5, "kl_warmup_epochs": 10}, {}))


def test_finalists_have_epochs_of_their_own() -> None:
    settings = study({}, {}, epochs=4)
    trial = optuna.trial.create_trial(
        params={"train.kl_weight": 0.5},
        distributions={"train.kl_weight": FloatDistribution(0.01, 10.0)},
        value=1.0,
    )
    training = Training(0, seed=2, latent_dim=7)
    found = settings_of_training(settings, trial, training)
    assert (found.train.epochs, found.train.seed, found.model.latent_dim) == (4, 2, 7)
    longer = settings.tune.model_copy(update={"finalist_epochs": 100})
    settings = settings.model_copy(update={"tune": longer})
    assert settings_of_training(settings, trial, training).train.epochs == 100
    own = settings_of_training(settings, trial, Training(0, seed=0))
    assert own.model.latent_dim == settings.model.latent_dim


def test_a_warm_up_fits_the_finalists_too() -> None:
    settings = study({"kl_warmup_epochs": 10}, {}, epochs=20)
    check_trial_warmups(settings)
    short = settings.tune.model_copy(update={"finalist_epochs": 5})
    with pytest.raises(UserError, match=r"is 10, longer .*tune.finalist_epochs: 5"):
        check_trial_warmups(settings.model_copy(update={"tune": short}))
