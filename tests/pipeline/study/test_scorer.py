"""The score of a trial: which number, on which split, with which noise."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.artifacts import build_batches
from pipeline.classifier import trained_classifier
from pipeline.study.runs import with_split
from pipeline.study.scorer import IMAGE_GROUPS, ON_VALIDATION, REPORTS, TrialScorer
from pipeline.study.storage import fingerprint, study_directions
from pipeline.study.trial_runner import TrialRunner
from tests.pipeline.study.conftest import SIDE, prepare
from vaelab.config import EvaluateSettings, Settings, TuneSettings, UserError, parse_settings
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.evaluation.likelihood import fit_test_images, likelihood_metrics
from vaelab.evaluation.scoring import (
    closed_form_weight,
    mean_effective_sample_size,
    normalized_bound,
    score_images,
    with_fitted_variance,
)
from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.models.model import Model, build_model
from vaelab.samplers import encode_posteriors, fit_sampler
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
OBJECTIVES = (
    "neg_elbo",
    "nll",
    "rate_distortion",
    "knn_accuracy",
    "latent.mmd_squared",
    "bits_per_dim",
)


def settings(train: dict[str, Any] | None = None, **tune: Any) -> Settings:
    return parse_settings(
        {
            "data": {"name": "folder"},
            "model": {
                "network": "mlp",
                "hidden": [],
                "latent_dim": 2,
                "gaussian_mean": "linear",
                "gaussian_variance": 0.5,
            },
            "train": {"epochs": 2, "learning_rate": 0.03, **(train or {})},
            "evaluate": {"importance_samples": 7},
            "tune": {"importance_samples": 3, "final_importance_samples": 5, **tune},
        }
    )


def make_scorer(data: PreparedData, objective: str = "neg_elbo", **tune: Any) -> TrialScorer:
    return TrialScorer(settings(objective=objective, **tune), data, CPU)


@pytest.fixture
def model() -> Model:
    """An untrained model."""
    return build_model(settings().model, (1, SIDE, SIDE), seed=3).eval()


def trained(
    scorer: TrialScorer,
    watch: Callable[[Trainer, EpochReport], None] = lambda trainer, report: None,
) -> Model:
    trainer = TrialRunner(scorer).build_trainer(scorer.settings)
    trainer.fit(lambda report: watch(trainer, report), show_progress=False)
    return trainer.model.eval()


# --- which number


def test_the_negative_log_likelihood_is_that_of_the_validation_split(
    data: PreparedData, model: Model
) -> None:
    scorer = make_scorer(data, "nll")
    score = scorer.score(model)
    train, validation = (
        build_batches(data, split, False, CPU) for split in ("train", "validation")
    )
    with with_fitted_variance(model, train, seed=0) as variance:
        scores = score_images(model, validation, 3, seed=0)
    assert score.values == (scores.nll.mean().item(),)
    assert score.metrics == {
        **scores.means(),
        "closed_form_kl_weight": closed_form_weight(model.likelihood, variance),
        "train_mean_squared_error": variance,
    }
    assert variance is not None
    assert score.metrics["closed_form_kl_weight"] == pytest.approx(2 * variance)
    parts = np.array_split(scores.nll.numpy(), IMAGE_GROUPS)
    assert score.groups == pytest.approx([part.mean() for part in parts], abs=5e-5)
    assert scorer.label == "validation NLL (K = 3), nats per image"


def test_the_default_judge_is_the_bound_with_the_fitted_variance(
    data: PreparedData, model: Model
) -> None:
    assert TuneSettings().objective == "neg_elbo"
    scorer = TrialScorer(settings(), data, CPU)
    score = scorer.score(model)
    train, validation = (
        build_batches(data, split, False, CPU) for split in ("train", "validation")
    )
    with with_fitted_variance(model, train, seed=0):
        scores = score_images(model, validation, 1, seed=0)
        size = mean_effective_sample_size(model, validation, 3, seed=0)
    bound = scores.generation_loss + scores.kl_loss
    assert score.values[0] == pytest.approx(bound.mean().item())
    assert score.metrics["neg_elbo_nats"] == score.values[0]
    assert score.metrics["nll_effective_sample_size"] == size
    assert 1 <= size <= 3
    assert "nll_nats" not in score.metrics, "one sample is no estimate of it"
    parts = np.array_split(bound.numpy(), IMAGE_GROUPS)
    assert score.groups == pytest.approx([part.mean() for part in parts], abs=5e-5)
    assert scorer.label == "validation negative ELBO, nats per image"
    assert scorer.directions == ["minimize"]


@pytest.mark.parametrize(
    ("objective", "names"),
    [
        ("neg_elbo", ["study_validation.neg_elbo_nats"]),
        ("nll", ["study_validation.nll_nats"]),
        (
            "rate_distortion",
            ["study_validation.kl_loss_nats", "study_validation.generation_loss_nats"],
        ),
        ("knn_accuracy", ["study_validation.latent.knn_accuracy"]),
        ("test.mean_squared_error", ["study_validation.mean_squared_error"]),
    ],
)
def test_values_are_named_by_split_and_metric(
    objective: str, names: list[str], data: PreparedData, model: Model
) -> None:
    scorer = make_scorer(data, objective)
    assert scorer.value_names == names
    score = scorer.score(model)
    assert [with_split(score.metrics)[name] for name in names] == list(score.values)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_trial_has_its_effective_sample_size(
    objective: str, data: PreparedData, model: Model
) -> None:
    size = make_scorer(data, objective).score(model).metrics["nll_effective_sample_size"]
    assert 1 <= size <= 3


def test_rate_and_distortion_are_the_losses_of_the_bound(data: PreparedData, model: Model) -> None:
    scorer = make_scorer(data, "rate_distortion")
    score = scorer.score(model)
    train, validation = (
        build_batches(data, split, False, CPU) for split in ("train", "validation")
    )
    with with_fitted_variance(model, train, seed=0):
        scores = score_images(model, validation, 1, seed=0)
    kl, generation = scores.kl_loss, scores.generation_loss
    assert score.values == (kl.mean().item(), generation.mean().item())
    parts = np.array_split((kl + generation).numpy(), IMAGE_GROUPS)
    assert score.groups == pytest.approx([part.mean() for part in parts], abs=5e-5)
    assert scorer.directions == ["minimize", "minimize"]
    assert scorer.label == "validation negative ELBO, nats per image"


@pytest.mark.parametrize(
    ("name", "full", "samples", "label"),
    [
        ("knn_accuracy", "latent.knn_accuracy", 1, "validation latent knn accuracy"),
        ("latent.knn_accuracy", "latent.knn_accuracy", 1, "validation latent knn accuracy"),
        ("mmd_squared", "latent.mmd_squared", 1, "validation latent mmd squared"),
        ("neg_elbo_nats", "test.neg_elbo_nats", 1, "validation neg elbo nats"),
        ("test.nll_nats", "test.nll_nats", 3, "validation nll nats"),
        ("bits_per_dim", "test.bits_per_dim", 3, "validation bits per dim"),
        (
            "nll_effective_sample_size",
            "test.nll_effective_sample_size",
            3,
            "validation nll effective sample size",
        ),
    ],
)
def test_a_metric_is_the_evaluate_stages_on_the_validation_split(
    name: str, full: str, samples: int, label: str, data: PreparedData, model: Model
) -> None:
    scorer = make_scorer(data, name)
    group, _, key = full.partition(".")
    score = scorer.score(model)
    evaluated = evaluate(
        model,
        EvaluationData(
            "folder",
            256,
            build_batches(data, "train", False, CPU),
            build_batches(data, "validation", False, CPU),
            data.labels("train"),
            data.labels("validation"),
        ),
        settings().evaluate.model_copy(update={"importance_samples": samples}),
        CPU,
        groups=[group],
    )
    assert score.values == (evaluated.metrics[group][key],)
    assert score.metrics[f"{ON_VALIDATION}{full.removeprefix('test.')}"] == score.values[0]
    assert score.groups == [], "it is no mean over images"
    assert scorer.label == label


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("knn_acuracy", "did you mean latent.knn_accuracy[?] "),
        ("test.nll", "did you mean test.nll_nats[?] "),
        ("qqq", ""),
        ("dataset.test_images", "(did you mean .*)?"),
        ("test", "did you mean test.ssim[?] "),
    ],
)
def test_an_unknown_metric_is_refused_in_one_line(name: str, hint: str, data: PreparedData) -> None:
    pattern = f"tune.objective: {name} is not measured for this data and model; {hint}valid: "
    with pytest.raises(UserError, match=pattern) as caught:
        make_scorer(data, name)
    message = str(caught.value)
    assert "\n" not in message
    assert "valid: neg_elbo, nll, rate_distortion, latent.dimensions, " in message
    assert "dataset.test_images," not in message


def test_what_needs_labels_is_not_measured_without(data: PreparedData) -> None:
    info = data.info.model_copy(update={"class_names": None})
    unlabelled = PreparedData(info, {k: v for k, v in data.arrays.items() if "labels" not in k})
    with pytest.raises(UserError, match="knn_accuracy is not measured for this data and model"):
        make_scorer(unlabelled, "knn_accuracy")
    assert make_scorer(unlabelled, "mmd_squared").metric == "latent.mmd_squared"


@pytest.mark.parametrize("name", ["neg_elbo", "nll", "rate_distortion"])
@pytest.mark.parametrize("objective", ["autoencoder", "wae", "vae_gan"])
def test_what_needs_a_bound_is_refused_where_there_is_none(
    objective: str, name: str, data: PreparedData
) -> None:
    chosen = settings({"objective": objective}, objective=name)
    pattern = (
        f"tune.objective: {name} needs a bound .* objective {objective} does not have; use a metric"
    )
    with pytest.raises(UserError, match=pattern):
        TrialScorer(chosen, data, CPU)
    other = settings({"objective": objective}, objective="mean_squared_error")
    assert TrialScorer(other, data, CPU).metric == "test.mean_squared_error"


@pytest.mark.parametrize("name", ["nll", "mean_squared_error"])
def test_what_has_no_encoder_cannot_be_scored(name: str, data: PreparedData) -> None:
    chosen = settings({"objective": "gan"}, objective=name)
    with pytest.raises(UserError, match="tune: objective gan has no encoder to score"):
        TrialScorer(chosen, data, CPU)


@pytest.mark.parametrize("objective", ["vae", "iwae", "factor_vae", "vq_vae"])
def test_every_bound_is_scored_in_nats(objective: str, data: PreparedData) -> None:
    chosen = settings({"objective": objective, "epochs": 1}, objective="nll")
    score = TrialScorer(chosen, data, CPU).score(trained(TrialScorer(chosen, data, CPU)))
    assert math.isfinite(score.values[0])
    assert score.values == (score.metrics["nll_nats"],)
    if objective == "vq_vae":
        # Codes are the same at each draw.
        assert score.metrics["nll_nats"] == pytest.approx(score.metrics["neg_elbo_nats"])


@pytest.mark.parametrize(
    ("objective", "direction", "expected"),
    [
        ("neg_elbo", "auto", ["minimize"]),
        ("nll", "auto", ["minimize"]),
        ("rate_distortion", "auto", ["minimize", "minimize"]),
        ("knn_accuracy", "auto", ["maximize"]),
        ("latent.linear_probe_accuracy", "auto", ["maximize"]),
        ("active_units", "auto", ["maximize"]),
        ("latent.mutual_information_nats", "auto", ["maximize"]),
        ("test.nll_effective_sample_size", "auto", ["maximize"]),
        ("aggregate_stddev_max", "minimize", ["minimize"]),
        ("mmd_squared", "auto", ["minimize"]),
        ("test.nll_nats", "auto", ["minimize"]),
        ("bits_per_dim", "auto", ["minimize"]),
        ("knn_accuracy", "minimize", ["minimize"]),
        ("mmd_squared", "maximize", ["maximize"]),
        ("samples.pixels_recall", "auto", ["maximize"]),
        ("pca_frechet_distance", "auto", ["minimize"]),
        ("latent.dimensions", "minimize", ["minimize"]),
    ],
)
def test_directions(objective: str, direction: Any, expected: list[str]) -> None:
    assert study_directions(TuneSettings(objective=objective, direction=direction)) == expected


@pytest.mark.parametrize(
    "objective",
    [
        "latent.dimensions",
        "kl_loss_nats",
        "samples.pixels_recall_floor",
        "aggregate_stddev_min",
        "aggregate_stddev_max",
    ],
)
def test_what_is_better_in_neither_direction_needs_one(objective: str) -> None:
    with pytest.raises(UserError, match=f"tune.direction: {objective} .*set minimize or maximize"):
        study_directions(TuneSettings(objective=objective))


# --- with which noise


def test_all_scores_have_the_same_noise(data: PreparedData, model: Model) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(make_scorer(data).score(model))
    assert found[0] == found[1]
    other = settings().model_copy(update={"evaluate": EvaluateSettings(seed=1)})
    assert TrialScorer(other, data, CPU).score(model).values != found[0].values


def test_scoring_leaves_the_model_as_it_was(data: PreparedData, model: Model) -> None:
    own, before = model.likelihood, {k: v.clone() for k, v in model.state_dict().items()}
    for objective in OBJECTIVES:
        make_scorer(data, objective).score(model)
    assert model.likelihood is own
    assert isinstance(own, GaussianLikelihood)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


# --- on which split


@pytest.fixture
def unreadable_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise an error where the test split is read."""
    for kind in ("images", "labels"):
        read = getattr(PreparedData, kind)

        def refuse(self: PreparedData, split: SplitName, read: Any = read) -> Any:
            if split == "test":
                raise PermissionError("the test split")
            return read(self, split)

        monkeypatch.setattr(PreparedData, kind, refuse)


@pytest.mark.usefixtures("unreadable_test")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_score_and_no_intermediate_value_reads_the_test_split(
    objective: str, data: PreparedData
) -> None:
    scorer, values = make_scorer(data, objective), []
    model = trained(scorer, lambda *given: values.append(scorer.intermediate_value(*given)))
    assert len(scorer.score(model).values) == len(scorer.directions)
    assert len(values) == 2
    with pytest.raises(PermissionError, match="the test split"):
        scorer.score_on_test(model)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_other_test_images_change_only_the_final_score(
    objective: str, data: PreparedData, tmp_path: Path
) -> None:
    prepare(tmp_path / "data", test_seed=1)
    scorers = [
        make_scorer(found, objective) for found in (data, PreparedData.load(tmp_path / "data"))
    ]
    models = [trained(scorer) for scorer in scorers]
    scores, finals = (
        [getattr(scorer, name)(model) for scorer, model in zip(scorers, models, strict=True)]
        for name in ("score", "score_on_test")
    )
    assert scores[0] == scores[1]
    assert finals[0].metrics["nll_nats"] != finals[1].metrics["nll_nats"]


def test_the_final_score_is_of_the_test_split_and_of_more_samples(
    data: PreparedData, model: Model
) -> None:
    for objective in ("neg_elbo", "nll", "rate_distortion", "knn_accuracy"):
        final = make_scorer(data, objective).score_on_test(model)
        train, test = (build_batches(data, split, False, CPU) for split in ("train", "test"))
        with with_fitted_variance(model, train, seed=0):
            scores = score_images(model, test, 5, seed=0)
        assert final.metrics["nll_nats"] == scores.nll.mean().item()
        assert final.metrics["neg_elbo_nats"] == scores.means()["neg_elbo_nats"]


# --- intermediate values


def test_an_intermediate_value_is_the_validation_bound(data: PreparedData) -> None:
    scorer, seen = make_scorer(data), []
    trained(scorer, lambda *given: seen.append((given, scorer.intermediate_value(*given))))
    for (trainer, report), value in seen:
        expected = normalized_bound(report.metrics, trainer.model.likelihood, SIDE * SIDE)
        assert value == expected
    assert len(seen) == 2
    first, second = (value for _, value in seen)
    assert first is not None
    assert second is not None
    assert second < first, "it learns"


def test_an_intermediate_value_is_the_metric(data: PreparedData) -> None:
    scorer, values = make_scorer(data, "mmd_squared"), []
    model = trained(scorer, lambda *given: values.append(scorer.intermediate_value(*given)))
    score = scorer.score(model)
    # The weights of the last epoch are the best ones here: the same model is scored.
    assert score.values[0] == pytest.approx(values[-1], rel=1e-6)


@pytest.mark.parametrize(
    ("epochs", "reported"),
    [
        (2, [1, 2]),
        (20, list(range(1, 21))),
        (21, list(range(2, 21, 2))),
        (100, list(range(5, 101, 5))),
    ],
)
def test_a_trial_reports_at_most_twenty_intermediate_values(
    epochs: int, reported: list[int], data: PreparedData
) -> None:
    scorer = TrialScorer(settings({"epochs": epochs}), data, CPU)
    trainer = TrialRunner(scorer).build_trainer(scorer.settings)
    metrics = {
        "validation.neg_elbo_nats": 1.0,
        "validation.mean_squared_error": 0.1,
        "validation.kl_loss_nats": 1.0,
    }
    found = [
        epoch
        for epoch in range(1, epochs + 1)
        if scorer.intermediate_value(trainer, EpochReport(epoch, metrics)) is not None
    ]
    assert found == reported
    assert len(found) <= REPORTS


def test_two_objectives_have_no_intermediate_value(data: PreparedData) -> None:
    scorer, values = make_scorer(data, "rate_distortion"), []
    trained(scorer, lambda *given: values.append(scorer.intermediate_value(*given)))
    assert values == [None, None]


def test_a_metric_that_is_accepted_can_be_measured(data: PreparedData) -> None:
    scorer, values = make_scorer(data, "nll_change_on_doubling_nats"), []
    trained(scorer, lambda *given: values.append(scorer.intermediate_value(*given)))
    assert all(math.isfinite(value) for value in values if value is not None)


# --- by a sampler's metric


def with_sampler(objective: str, **sampler: Any) -> Settings:
    raw = settings(objective=objective).model_dump()
    return parse_settings(raw | {"sampler": {"name": "gaussian", **sampler}})


@pytest.mark.usefixtures("unreadable_test")
@pytest.mark.parametrize(
    "metric",
    ["classifier_frechet_distance", "pixels_recall", "neg_elbo_gain_nats", "nll_nats"],
)
def test_a_trial_is_scored_by_samples_of_a_sampler_fitted_to_its_training_images(
    metric: str, data: PreparedData, model: Model
) -> None:
    chosen = with_sampler(f"sampler.{metric}")
    score = TrialScorer(chosen, data, CPU).score(model)
    posteriors = encode_posteriors(model, build_batches(data, "train", False, CPU))
    splits = [build_batches(data, split, False, CPU) for split in ("train", "validation")]
    evaluated = evaluate(
        model,
        EvaluationData("folder", 256, splits[0], splits[1]),
        settings().evaluate,
        CPU,
        trained_classifier(data, 3, CPU),
        ["samples", "test"],
        fit_sampler(chosen.sampler, {}, posteriors).sampler,
    )
    assert score.values == (evaluated.metrics["sampler"][metric],)
    assert score.metrics[f"{ON_VALIDATION}sampler.{metric}"] == score.values[0]


@pytest.mark.usefixtures("unreadable_test")
def test_a_trial_is_scored_by_the_likelihood_from_fitted_proposals(
    data: PreparedData, model: Model
) -> None:
    score = TrialScorer(settings(objective="likelihood.nll_nats"), data, CPU).score(model)
    images = build_batches(data, "validation", False, CPU)
    chosen = settings().evaluate.model_copy(update={"importance_samples": 20})
    fitted = fit_test_images(model, images, chosen, CPU)
    assert fitted is not None
    expected = likelihood_metrics(fitted, chosen, CPU)["nll_nats"]
    assert score.values[0] == pytest.approx(float(expected), abs=0.5)


@pytest.mark.parametrize("objective", ["sampler.pixels_recall", "likelihood.nll_nats"])
def test_what_is_fitted_is_fitted_to_trained_models_only(
    objective: str, data: PreparedData
) -> None:
    scorer, values = TrialScorer(with_sampler(objective), data, CPU), []
    trained(scorer, lambda *given: values.append(scorer.intermediate_value(*given)))
    assert values == [None, None]


def test_without_a_sampler_there_are_no_metrics_of_one(data: PreparedData) -> None:
    with pytest.raises(UserError, match=r"sampler\.pixels_recall is not measured .* did you mean"):
        TrialScorer(with_sampler("sampler.pixels_recall", name="prior"), data, CPU)


def test_labels_are_asked_of_a_conditional_sampler(data: PreparedData) -> None:
    flow = with_sampler("sampler.label_accuracy", name="flow_matching")
    assert TrialScorer(flow, data, CPU).metric == "sampler.label_accuracy"
    with pytest.raises(UserError, match=r"sampler\.label_accuracy is not measured"):
        TrialScorer(with_sampler("sampler.label_accuracy"), data, CPU)


def test_trials_with_other_samplers_do_not_compare(data: PreparedData) -> None:
    by_sampler, by_prior = "sampler.pixels_recall", "samples.pixels_recall"
    for objective, count in ((by_sampler, 3), (by_prior, 1)):
        found = [
            with_sampler(objective),
            with_sampler(objective, seed=1),
            with_sampler(objective, name="mixture"),
        ]
        assert len({fingerprint(chosen, data.info) for chosen in found}) == count


# --- which trials compare


def test_trials_of_the_same_data_settings_and_objective_compare(data: PreparedData) -> None:
    same = [
        settings(),
        settings(trials=99, sampler="random", pruner="none", finalists=1, seeds=0),
        settings({"kl_weight": 0.3}),  # every trial has its own
        settings(epochs=2),
        settings(importance_samples=4),  # the bound does not read it
        settings(finalist_epochs=9, smaller_sizes=0),
    ]
    assert len({fingerprint(found, data.info) for found in same}) == 1
    weight = {"train.kl_weight": {"type": "float", "low": 0.01, "high": 10.0}}
    other = [
        settings({"learning_rate": 0.01}),
        settings({"epochs": 3}),
        settings(epochs=5),
        settings(objective="nll"),
        settings(objective="nll", importance_samples=4),
        settings(objective="rate_distortion"),
        settings(search_space=weight),
        settings({"kl_weight": 0.3}, search_space={"model.latent_dim": LATENT_RANGE}),
        settings(search_space={"model.latent_dim": LATENT_RANGE}),
    ]
    names = {fingerprint(found, data.info) for found in [*same, *other]}
    assert len(names) == 1 + len(other)
    renewed = data.info.model_copy(update={"sha256": {"train_images.npy": "0" * 64}})
    assert fingerprint(settings(), renewed) not in names


LATENT_RANGE = {"type": "int", "low": 1, "high": 4}


def test_trials_whose_metric_was_measured_otherwise_do_not_compare(
    data: PreparedData, model: Model
) -> None:
    few, many = (
        settings(objective="knn_accuracy").model_copy(
            update={"evaluate": EvaluateSettings(neighbours=neighbours)}
        )
        for neighbours in (1, 100)
    )
    values = [TrialScorer(found, data, CPU).score(model).values for found in (few, many)]
    assert values[0] != values[1]
    assert fingerprint(few, data.info) != fingerprint(many, data.info)


def test_trials_scored_with_other_noise_do_not_compare(data: PreparedData, model: Model) -> None:
    scores = [make_scorer(data, seed=seed).score(model).values for seed in (0, 1)]
    names = [fingerprint(settings(seed=seed), data.info) for seed in (0, 1)]
    assert (scores[0] == scores[1]) == (names[0] == names[1])
