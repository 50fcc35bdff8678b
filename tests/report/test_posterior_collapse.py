"""What is said of collapsed, pruned and healthy latents, and whether the advice can be followed."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from tests.objectives.factories import MODEL, SHAPE, digits, settings, trainer
from tests.oracles import gaussian_posterior
from vaelab.config import Settings, flatten, objective_names, with_changes
from vaelab.estimators.latent_statistics import dimension_table
from vaelab.objectives import objective_class, objective_settings
from vaelab.report.posterior_collapse import (
    READ_FREE_BITS,
    READ_KL_WARMUP,
    READ_KL_WEIGHT,
    Diagnosis,
    describe_collapse,
)
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as assembly

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


def said(columns: Mapping[str, list[Any]], **changes: Any) -> Diagnosis:
    """`train__kl_weight=2` changes train.kl_weight."""
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    found = describe_collapse(columns, DEFAULTS | changed)
    assert found is not None
    return found


def one_with(pattern: str, sentences: tuple[str, ...]) -> str:
    (found,) = [sentence for sentence in sentences if re.search(pattern, sentence)]
    return found


# Verdicts


def test_unused_dimensions_are_named_and_are_no_failure():
    found = said(table([0.9, 0.0, 0.8, 0.001, 0.7]))
    assert found.verdict == "partly_off"
    (only,) = found.findings
    assert only.startswith("Off: 2 of 5 dimensions (1, 3).")
    assert "no failure" in only
    assert "model.latent_dim: 3)" in only
    assert found.suggestions == ()


def test_a_latent_that_is_off_everywhere_has_collapsed():
    found = said(table([0.0, 0.001, 0.0]))
    assert found.verdict == "collapsed"
    (only,) = found.findings
    assert only.startswith("All 3 dimensions are off")
    assert "posterior collapse" in only
    assert len(found.suggestions) == 4
    assert said(table([0.0])).findings[0].startswith("The one dimension is off")


def test_traces_are_nearly_a_collapse():
    # 0.15 of the variance: -ln(0.85) / 2 = 0.08 nats
    found = said(table([0.15, 0.0, 0.02]))
    assert found.verdict == "nearly_collapsed"
    assert "none of its 3 dimensions as much as 0.1 nats" in found.findings[0]
    assert len(found.findings) == 1
    assert found.suggestions == said(table([0.0])).suggestions
    # 0.2 of it: 0.11 nats
    assert said(table([0.2, 0.0, 0.02])).verdict == "partly_off"


def test_where_all_are_on_a_larger_latent_is_worth_a_try():
    found = said(table([0.9, 0.7]))
    assert found.verdict == "all_on"
    (only,) = found.findings
    # -ln(0.3) / 2
    assert "the weakest with about 0.6 nats" in only
    assert "model.latent_dim: 4)" in only
    assert found.suggestions == ()
    faint = said(table([0.9, 0.05]))
    assert faint.verdict == "all_on"
    assert "model.latent_dim" not in faint.findings[0]
    assert "about as large as the images need" in faint.findings[0]


def test_without_a_kl_loss_no_dimension_is_ever_off():
    found = said(table([0.9, 0.7]), train__kl_weight=0.0)
    assert found.verdict == "all_on"
    assert "with train.kl_weight: 0 there is no charge" in found.findings[0]


# Measures that disagree


def test_active_but_faint_dimensions_are_told_from_those_that_are_off():
    found = said(table([0.9, 0.05, 0.0, 0.1]))
    assert found.findings[0].startswith("Off: 1 of 4 dimensions (2).")
    sentence = one_with("active", found.findings)
    assert sentence.startswith("2 dimensions tell less than 0.1 nats though active: 1, 3.")
    assert said(table([0.9, 0.05])).findings[1].startswith("1 dimension tells less than")


def test_a_small_scale_is_not_taken_for_no_information():
    columns = table([0.9, 0.004], [1.0, 0.07])
    assert columns["active"] == [1, 0]
    found = said(columns)
    assert found.verdict == "all_on"
    sentence = one_with("without being active", found.findings)
    assert sentence.startswith("1 dimension tells something of the image without being active: 1.")
    assert said(table([0.004, 0.004], 0.07)).verdict == "all_on"


def test_rounding_to_no_noise_at_all_is_no_error():
    found = said(table([0.9, 1.0], kl=[1.1, 9.0]) | {"aggregate_stddev": [1.0, 1.0 - 1e-9]})
    assert found.verdict == "all_on"


def test_kl_that_tells_nothing_is_named_with_its_reason():
    columns = table([0.9, 0.0, 0.0], [1.0, 3.0, 1.0])
    charged = 0.5 * (9 - np.log(9) - 1)
    found = said(columns)
    assert found.findings[0].startswith("Off: 2 of 3 dimensions (1, 2).")
    sentence = one_with("at the price", found.findings)
    assert f"at the price of {charged:.2g} nats of KL: 1." in sentence
    assert "a longer training" in sentence
    free = one_with("at the price", said(columns, train__free_bits_nats=0.5).findings)
    assert "train.free_bits_nats: 0.5" in free
    capacity = {"objectives__beta_vae__capacity_nats": 5.0}
    held = one_with("at the price", said(columns, **capacity).findings)
    assert "objectives.beta_vae.capacity_nats: 5" in held
    assert [len(said(table([0.9, 0.0], kl=[1.1, kl])).findings) for kl in (0.19, 0.21)] == [1, 2]


def test_latents_far_from_the_prior_are_said_to_be():
    found = said(table([0.9, 8.0, 0.0, 0.0], [1.0, 3.0, 9.0, 0.1]))
    sentence = one_with("standard deviation", found.findings)
    assert "1 to 3 in the dimensions that are on" in sentence
    assert "a larger train.kl_weight" in sentence
    assert "standard deviation" in "".join(said(table([0.1, 0.9], [0.4, 1.0])).findings)
    assert len(said(table([0.3, 3.0], [0.6, 1.9])).findings) == 1
    iwae = said(table([0.9, 8.0], [1.0, 3.0]), train__objective="iwae")
    assert "train.kl_weight" not in one_with("standard deviation", iwae.findings)


def test_long_lists_are_cut_short():
    found = said(table([0.9] + [0.0] * 20))
    assert "(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 8 more)" in found.findings[0]
    assert "more" not in said(table([0.9] + [0.0] * 12)).findings[0]


# Models of other sorts


def test_nothing_is_said_of_latents_without_noise():
    columns = table([0.9, 0.0])
    # The Wasserstein autoencoder, and the plain one or codes
    assert describe_collapse(without(columns, "kl_nats"), DEFAULTS) is None
    bare = without(columns, "kl_nats", "ks_statistic", "active")
    assert describe_collapse(bare, DEFAULTS) is None


def test_a_learned_prior_has_no_kl_to_speak_of():
    columns = without(table([0.9, 0.0, 8.0], [1.0, 5.0, 3.0]), "kl_nats", "ks_statistic")
    found = said(columns)
    assert found.verdict == "partly_off"
    assert len(found.findings) == 1
    collapsed = without(table([0.0, 0.0]), "kl_nats", "ks_statistic")
    assert "free_bits" not in " ".join(said(collapsed).suggestions)


# Remedies


def test_the_cause_at_hand_comes_first():
    off = table([0.0])
    first = said(off, model__gaussian_variance="mean_squared_error").suggestions[0]
    assert first.startswith("model.gaussian_variance: fitted, in place of mean_squared_error")
    assert said(off, train__kl_weight=4.0).suggestions[0] == "train.kl_weight: 1, in place of 4"
    binary = {"model__likelihood": "bernoulli", "model__gaussian_variance": 1.0}
    assert not said(off, **binary).suggestions[0].startswith("model.gaussian_variance")
    assert "train.kl_weight: 0.05, in place of 0.5" in said(off, train__kl_weight=0.5).suggestions
    assert "kl_weight" not in " ".join(said(off, train__kl_weight=0.0).suggestions)
    warmup = said(off, train__epochs=40).suggestions[0]
    assert warmup.startswith("train.kl_warmup_epochs: 8:")
    assert said(off, train__epochs=3).suggestions[0].startswith("train.kl_warmup_epochs: 1:")


def test_what_is_done_already_is_not_advised():
    off = table([0.0])
    done = said(off, train__kl_warmup_epochs=3, train__free_bits_nats=0.2)
    assert not re.search("kl_warmup|free_bits", " ".join(done.suggestions))
    assert "model.hidden" in said(off, model__network="mlp").suggestions[-1]
    assert "model.channels" in said(off, model__network="resnet").suggestions[-1]


def test_objectives_that_read_a_setting_are_those_of_the_lists():
    def read(setting: str) -> set[str]:
        return {name for name in objective_names() if setting in objective_class(name).model_fields}

    assert read("kl_weight") == set(READ_KL_WEIGHT)
    assert read("kl_warmup_epochs") == set(READ_KL_WARMUP)
    # The beta-TC-VAE has the field, and refuses it.
    assert read("free_bits_nats") == {*READ_FREE_BITS, "beta_tc_vae"}


NOISY = [
    (name, prior)
    for name in objective_names()
    for prior in objective_class(name).priors()
    if objective_class(name).posterior == "gaussian" and name != "gan"
]


@pytest.mark.parametrize(("name", "prior"), NOISY)
def test_each_remedy_is_a_setting_that_training_accepts(name, prior):
    chosen = settings(name, model={"prior": prior, "gaussian_variance": 32.0})
    columns = table([0.0, 0.0])
    if prior != "standard_normal":
        columns = without(columns, "kl_nats", "ks_statistic")
    found = describe_collapse(columns, flatten(chosen) | objective_settings(chosen))
    assert found is not None
    matches = [re.match(r"([a-z_.]+): ([a-z0-9.]+)", text) for text in found.suggestions]
    changes = {m[1]: float(m[2]) if m[2][0].isdigit() else m[2] for m in matches if m}
    assert len(found.suggestions) == len(changes) + 1
    assert ("model.gaussian_variance" in changes) == (name != "vae_gan")
    for setting, value in changes.items():
        whole = int(value) if setting == "train.kl_warmup_epochs" else value
        assert flatten(chosen)[setting] != whole
        assembly.build(with_changes(chosen, {setting: whole}), SHAPE)


# A model that has collapsed, and the same after the first remedy


def trained(gaussian_variance: str | float) -> Diagnosis:
    changed = {"gaussian_variance": gaussian_variance}
    chosen = settings("vae", model=changed, epochs=8, learning_rate=0.01)
    training = trainer(chosen, images=400)
    training.fit(show_progress=False)
    with torch.no_grad():
        posterior = gaussian_posterior(training.model, digits(400))
    columns = dimension_table(posterior, posterior.rsample(rng_stream(0, "drawn")), 0.01)
    found = describe_collapse(columns, flatten(chosen))
    assert found is not None
    return found


def test_a_mean_squared_error_collapses_the_posterior():
    found = trained("mean_squared_error")
    assert found.verdict == "collapsed"
    assert found.findings[0].startswith(f"All {MODEL['latent_dim']} dimensions are off")
    assert found.suggestions[0].startswith("model.gaussian_variance: fitted")


def test_a_variance_near_the_images_own_wakes_it():
    found = trained(0.02)
    assert found.verdict in ("partly_off", "all_on")
    assert found.suggestions == ()
