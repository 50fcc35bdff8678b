"""The diagnosis of collapsed, pruned and healthy latents, and whether its suggestions are valid."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from tests.objectives.factories import MODEL, SHAPE, digits, settings, trainer
from tests.oracles import gaussian_posterior
from tests.report.factories import description, made_up
from vaelab.config import ModelSettings, Settings, flatten, objective_names, with_changes
from vaelab.estimators.latent_statistics import dimension_table
from vaelab.objectives import objective_class, objective_settings
from vaelab.report import EvaluationResult
from vaelab.report.posterior_collapse import Diagnosis, describe_collapse
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as building

DEFAULTS = flatten(Settings())


def table(
    mean_variance: list[float], stddev: list[float] | float = 1.0, kl: list[float] | None = None
) -> dict[str, list[Any]]:
    """A table as it is read from a file; KL is the Gaussian's where it is not given."""
    means = np.array(mean_variance)
    stddevs = np.broadcast_to(np.array(stddev), means.shape)
    noise = stddevs**2 - means
    given = 0.5 * (stddevs**2 - np.log(noise) - 1) if kl is None else np.array(kl)
    return {
        "mean_variance": means.tolist(),
        "aggregate_stddev": stddevs.tolist(),
        "kl_nats": given.tolist(),
        "ks_statistic": np.zeros(len(means)).tolist(),
        "active": (means > 0.01).astype(int).tolist(),
    }


def without(columns: Mapping[str, list[Any]], *names: str) -> dict[str, list[Any]]:
    return {name: column for name, column in columns.items() if name not in names}


def evaluation(
    columns: Mapping[str, Any], settings: Mapping[str, Any] = DEFAULTS
) -> EvaluationResult:
    """The result of a model with this table of dimensions, trained with these settings."""
    objective = settings["train.objective"]
    model = {
        name.removeprefix("model."): value
        for name, value in settings.items()
        if name.startswith("model.")
    }
    return made_up(
        dimensions={name: np.array(column) for name, column in columns.items()},
        objective_settings=frozenset(f"train.{k}" for k in objective_class(objective).model_fields),
        description=description(
            objective,
            networks=objective_class(objective).networks(),
            model=ModelSettings.model_validate(model),
            settings=settings,
        ),
    )


def diagnose(columns: Mapping[str, Any], **changes: Any) -> Diagnosis:
    """`train__kl_weight=2` changes train.kl_weight."""
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    found = describe_collapse(evaluation(columns, DEFAULTS | changed))
    assert found is not None
    return found


def one_with(pattern: str, sentences: tuple[str, ...]) -> str:
    (found,) = [sentence for sentence in sentences if re.search(pattern, sentence)]
    return found


# States


def test_inactive_dimensions_are_listed_and_are_not_a_failure():
    found = diagnose(table([0.9, 0.0, 0.8, 0.001, 0.7]))
    assert found.state == "partially_active"
    (only,) = found.findings
    assert only.startswith("Inactive: 2 of 5 dimensions (1, 3).")
    assert "not a failure" in only
    assert "model.latent_dim: 3)" in only
    assert found.suggestions == ()


def test_a_latent_without_active_dimensions_has_collapsed():
    found = diagnose(table([0.0, 0.001, 0.0]))
    assert found.state == "collapsed"
    (only,) = found.findings
    assert only.startswith("All 3 dimensions are inactive")
    assert "posterior collapse" in only
    assert len(found.suggestions) == 4
    assert diagnose(table([0.0])).findings[0].startswith("The only dimension is inactive")


def test_little_information_is_nearly_a_collapse():
    # 0.15 of the variance: -ln(0.85) / 2 = 0.08 nats
    found = diagnose(table([0.15, 0.0, 0.02]))
    assert found.state == "nearly_collapsed"
    assert "none of its 3 dimensions has 0.1 nats" in found.findings[0]
    assert len(found.findings) == 1
    assert found.suggestions == diagnose(table([0.0])).suggestions
    # 0.2 of it: 0.11 nats
    assert diagnose(table([0.2, 0.0, 0.02])).state == "partially_active"


def test_if_all_dimensions_are_informative_a_larger_latent_is_suggested():
    found = diagnose(table([0.9, 0.7]))
    assert found.state == "fully_active"
    (only,) = found.findings
    # -ln(0.3) / 2
    assert "the least informative with about 0.6 nats" in only
    assert "model.latent_dim: 4)" in only
    assert found.suggestions == ()
    uninformative = diagnose(table([0.9, 0.05]))
    assert uninformative.state == "fully_active"
    assert "model.latent_dim" not in uninformative.findings[0]
    assert "about as large as needed" in uninformative.findings[0]


def test_without_a_kl_loss_all_dimensions_are_in_use():
    found = diagnose(table([0.9, 0.7]), train__kl_weight=0.0)
    assert found.state == "fully_active"
    assert "with train.kl_weight: 0 there is no loss on information" in found.findings[0]


# Measures that disagree


def test_active_but_uninformative_dimensions_are_not_called_inactive():
    found = diagnose(table([0.9, 0.05, 0.0, 0.1]))
    assert found.findings[0].startswith("Inactive: 1 of 4 dimensions (2).")
    sentence = one_with("nats of information:", found.findings)
    assert sentence.startswith(
        "2 dimensions are active with less than 0.1 nats of information: 1, 3."
    )
    assert (
        diagnose(table([0.9, 0.05])).findings[1].startswith("1 dimension is active with less than")
    )


def test_latents_on_a_small_scale_are_informative():
    columns = table([0.9, 0.004], [1.0, 0.07])
    assert columns["active"] == [1, 0]
    found = diagnose(columns)
    assert found.state == "fully_active"
    sentence = one_with("without being active", found.findings)
    assert sentence.startswith("1 dimension is informative without being active: 1.")
    assert diagnose(table([0.004, 0.004], 0.07)).state == "fully_active"


def test_noise_rounded_to_zero_is_not_an_error():
    found = diagnose(table([0.9, 1.0], kl=[1.1, 9.0]) | {"aggregate_stddev": [1.0, 1.0 - 1e-9]})
    assert found.state == "fully_active"


def test_kl_without_information_is_reported_with_its_reason():
    columns = table([0.9, 0.0, 0.0], [1.0, 3.0, 1.0])
    kl = 0.5 * (9 - np.log(9) - 1)
    found = diagnose(columns)
    assert found.findings[0].startswith("Inactive: 2 of 3 dimensions (1, 2).")
    sentence = one_with("of KL loss", found.findings)
    assert f"uninformative with {kl:.2g} nats of KL loss: 1." in sentence
    assert "longer training" in sentence
    free = one_with("of KL loss", diagnose(columns, train__free_bits_nats=0.5).findings)
    assert "train.free_bits_nats: 0.5" in free
    capacity = {"train__objective": "beta_vae", "objectives__beta_vae__capacity_nats": 5.0}
    with_capacity = one_with("of KL loss", diagnose(columns, **capacity).findings)
    assert "objectives.beta_vae.capacity_nats: 5" in with_capacity
    assert [len(diagnose(table([0.9, 0.0], kl=[1.1, kl])).findings) for kl in (0.19, 0.21)] == [
        1,
        2,
    ]


def test_latents_far_from_the_prior_are_reported():
    found = diagnose(table([0.9, 8.0, 0.0, 0.0], [1.0, 3.0, 9.0, 0.1]))
    sentence = one_with("standard deviation", found.findings)
    assert "1 to 3 in the informative dimensions" in sentence
    assert "a larger train.kl_weight" in sentence
    assert "standard deviation" in "".join(diagnose(table([0.1, 0.9], [0.4, 1.0])).findings)
    assert len(diagnose(table([0.3, 3.0], [0.6, 1.9])).findings) == 1
    iwae = diagnose(table([0.9, 8.0], [1.0, 3.0]), train__objective="iwae")
    assert "train.kl_weight" not in one_with("standard deviation", iwae.findings)


def test_long_lists_are_truncated():
    found = diagnose(table([0.9] + [0.0] * 20))
    assert "(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 8 more)" in found.findings[0]
    assert "more" not in diagnose(table([0.9] + [0.0] * 12)).findings[0]


# Other models


def test_latents_without_noise_are_not_diagnosed():
    columns = table([0.9, 0.0])
    # The Wasserstein autoencoder, and autoencoders or codes
    assert describe_collapse(evaluation(without(columns, "kl_nats"))) is None
    bare = without(columns, "kl_nats", "ks_statistic", "active")
    assert describe_collapse(evaluation(bare)) is None


def test_with_a_learned_prior_there_are_no_findings_about_kl():
    columns = without(table([0.9, 0.0, 8.0], [1.0, 5.0, 3.0]), "kl_nats", "ks_statistic")
    found = diagnose(columns)
    assert found.state == "partially_active"
    assert len(found.findings) == 1
    collapsed = without(table([0.0, 0.0]), "kl_nats", "ks_statistic")
    assert "free_bits" not in " ".join(diagnose(collapsed).suggestions)


# Suggestions


def test_the_most_likely_cause_comes_first():
    inactive = table([0.0])
    first = diagnose(inactive, model__gaussian_variance="mean_squared_error").suggestions[0]
    assert first.startswith("model.gaussian_variance: fitted, instead of mean_squared_error")
    assert (
        diagnose(inactive, train__kl_weight=4.0).suggestions[0]
        == "train.kl_weight: 1, instead of 4"
    )
    binary = {"model__likelihood": "bernoulli", "model__gaussian_variance": 1.0}
    assert not diagnose(inactive, **binary).suggestions[0].startswith("model.gaussian_variance")
    assert (
        "train.kl_weight: 0.05, instead of 0.5"
        in diagnose(inactive, train__kl_weight=0.5).suggestions
    )
    assert "kl_weight" not in " ".join(diagnose(inactive, train__kl_weight=0.0).suggestions)
    warmup = diagnose(inactive, train__epochs=40).suggestions[0]
    assert warmup.startswith("train.kl_warmup_epochs: 8:")
    assert (
        diagnose(inactive, train__epochs=3).suggestions[0].startswith("train.kl_warmup_epochs: 1:")
    )


def test_a_change_that_was_made_is_not_suggested():
    inactive = table([0.0])
    done = diagnose(inactive, train__kl_warmup_epochs=3, train__free_bits_nats=0.2)
    assert not re.search("kl_warmup|free_bits", " ".join(done.suggestions))
    assert "model.hidden" in diagnose(inactive, model__network="mlp").suggestions[-1]
    assert "model.channels" in diagnose(inactive, model__network="resnet").suggestions[-1]


NOISY = [
    (name, prior)
    for name in objective_names()
    for prior in objective_class(name).priors()
    if objective_class(name).posterior == "gaussian" and name != "gan"
]


@pytest.mark.parametrize(("name", "prior"), NOISY)
def test_each_suggestion_is_accepted_by_training(name, prior):
    chosen = settings(name, model={"prior": prior, "gaussian_variance": 32.0})
    columns = table([0.0, 0.0])
    if prior != "standard_normal":
        columns = without(columns, "kl_nats", "ks_statistic")
    found = describe_collapse(evaluation(columns, flatten(chosen) | objective_settings(chosen)))
    assert found is not None
    matches = [re.match(r"([a-z_.]+): ([a-z0-9.]+)", text) for text in found.suggestions]
    changes = {m[1]: float(m[2]) if m[2][0].isdigit() else m[2] for m in matches if m}
    assert len(found.suggestions) == len(changes) + 1
    assert ("model.gaussian_variance" in changes) == (name != "vae_gan")
    for setting, value in changes.items():
        typed = int(value) if setting == "train.kl_warmup_epochs" else value
        assert flatten(chosen)[setting] != typed
        building.build(with_changes(chosen, {setting: typed}), SHAPE)


# A model that has collapsed, and the same model after the first suggestion


def trained(gaussian_variance: str | float) -> Diagnosis:
    changed = {"gaussian_variance": gaussian_variance}
    chosen = settings("vae", model=changed, epochs=8, learning_rate=0.01)
    training = trainer(chosen, images=400)
    training.fit(show_progress=False)
    with torch.no_grad():
        posterior = gaussian_posterior(training.model, digits(400))
    columns = dimension_table(posterior, posterior.rsample(rng_stream(0, "drawn")), 0.01)
    found = describe_collapse(evaluation(columns, flatten(chosen)))
    assert found is not None
    return found


def test_a_mean_squared_error_collapses_the_posterior():
    found = trained("mean_squared_error")
    assert found.state == "collapsed"
    assert found.findings[0].startswith(f"All {MODEL['latent_dim']} dimensions are inactive")
    assert found.suggestions[0].startswith("model.gaussian_variance: fitted")


def test_a_variance_close_to_the_images_own_prevents_the_collapse():
    found = trained(0.02)
    assert found.state in ("partially_active", "fully_active")
    assert found.suggestions == ()
