"""What a trial is worth: by which number, on which split, with which noise."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.artifacts import build_batches
from pipeline.study.scorer import IMAGE_GROUPS, REPORTS, TrialScorer
from pipeline.study.storage import fingerprint, study_directions
from pipeline.study.trial_runner import TrialRunner
from tests.pipeline.study.conftest import SIDE, prepare
from vaelab.config import EvaluateSettings, Settings, TuneSettings, UserError, parse_settings
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.evaluation.scoring import (
    closed_form_weight,
    normalized_bound,
    score_images,
    with_fitted_variance,
)
from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.models.model import Model, build_model
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
OBJECTIVES = ("nll", "rate_distortion", "knn_accuracy", "latent.mmd_squared", "bits_per_dim")


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


def judge(data: PreparedData, objective: str = "nll", **tune: Any) -> TrialScorer:
    return TrialScorer(settings(objective=objective, **tune), data, CPU)


@pytest.fixture
def model() -> Model:
    """A model that no training has seen."""
    return build_model(settings().model, (1, SIDE, SIDE), seed=3).eval()


def trained(
    judge: TrialScorer, watch: Callable[[Trainer, EpochReport], None] = lambda trainer, report: None
) -> Model:
    trainer = TrialRunner(judge).trainer(judge.settings)
    trainer.fit(lambda report: watch(trainer, report), show_progress=False)
    return trainer.model.eval()


# --- which number


def test_the_negative_log_likelihood_is_that_of_the_validation_split(
    data: PreparedData, model: Model
) -> None:
    judge_ = judge(data)
    verdict = judge_.score(model)
    train, validation = (
        build_batches(data, split, False, CPU) for split in ("train", "validation")
    )
    with with_fitted_variance(model, train, seed=0) as variance:
        scores = score_images(model, validation, 3, seed=0)
    assert verdict.values == (scores.nll.mean().item(),)
    assert verdict.metrics == {
        **scores.means(),
        "closed_form_kl_weight": closed_form_weight(model.likelihood, variance),
        "train_mean_squared_error": variance,
    }
    assert variance is not None
    assert verdict.metrics["closed_form_kl_weight"] == pytest.approx(2 * variance)
    parts = np.array_split(scores.nll.numpy(), IMAGE_GROUPS)
    assert verdict.groups == pytest.approx([part.mean() for part in parts], abs=5e-5)
    assert judge_.label == "validation NLL (K = 3), nats per image"


def test_rate_and_distortion_are_the_losses_of_the_bound(data: PreparedData, model: Model) -> None:
    judge_ = judge(data, "rate_distortion")
    verdict = judge_.score(model)
    train, validation = (
        build_batches(data, split, False, CPU) for split in ("train", "validation")
    )
    with with_fitted_variance(model, train, seed=0):
        scores = score_images(model, validation, 1, seed=0)
    kl, generation = scores.kl_loss, scores.generation_loss
    assert verdict.values == (kl.mean().item(), generation.mean().item())
    parts = np.array_split((kl + generation).numpy(), IMAGE_GROUPS)
    assert verdict.groups == pytest.approx([part.mean() for part in parts], abs=5e-5)
    assert judge_.directions == ["minimize", "minimize"]
    assert judge_.label == "validation negative ELBO, nats per image"


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
    judge_ = judge(data, name)
    group, _, key = full.partition(".")
    verdict = judge_.score(model)
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
    assert verdict.values == (evaluated.metrics[group][key],)
    assert verdict.metrics[full] == verdict.values[0]
    assert verdict.groups == [], "it is no mean over images"
    assert judge_.label == label


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("knn_acuracy", "did you mean latent.knn_accuracy[?] "),
        ("test.nll", "did you mean test.nll_nats[?] "),
        ("qqq", ""),
        ("dataset.test_images", "(did you mean .*)?"),
        ("test", "did you mean test.nll_nats[?] "),
    ],
)
def test_an_unknown_metric_is_refused_in_one_line(name: str, hint: str, data: PreparedData) -> None:
    pattern = f"tune.objective: {name} is not measured for this data and model; {hint}there are"
    with pytest.raises(UserError, match=pattern) as caught:
        judge(data, name)
    message = str(caught.value)
    assert "\n" not in message
    assert "there are nll, rate_distortion, latent.dimensions, " in message
    assert "dataset.test_images," not in message


def test_what_needs_labels_is_not_measured_without(data: PreparedData) -> None:
    info = data.info.model_copy(update={"class_names": None})
    unlabelled = PreparedData(info, {k: v for k, v in data.arrays.items() if "labels" not in k})
    with pytest.raises(UserError, match="knn_accuracy is not measured for this data and model"):
        judge(unlabelled, "knn_accuracy")
    assert judge(unlabelled, "mmd_squared").metric == "latent.mmd_squared"


@pytest.mark.parametrize("name", ["nll", "rate_distortion"])
@pytest.mark.parametrize("objective", ["autoencoder", "wae", "vae_gan"])
def test_what_needs_a_bound_is_refused_where_there_is_none(
    objective: str, name: str, data: PreparedData
) -> None:
    chosen = settings({"objective": objective}, objective=name)
    pattern = f"tune.objective: {name} needs a bound .* objective {objective} has not; a metric"
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
def test_every_bound_is_judged_in_nats(objective: str, data: PreparedData) -> None:
    chosen = settings({"objective": objective, "epochs": 1})
    verdict = TrialScorer(chosen, data, CPU).score(trained(TrialScorer(chosen, data, CPU)))
    assert math.isfinite(verdict.values[0])
    assert verdict.values == (verdict.metrics["nll_nats"],)
    if objective == "vq_vae":
        # Codes are the same at each draw.
        assert verdict.metrics["nll_nats"] == pytest.approx(verdict.metrics["neg_elbo_nats"])


@pytest.mark.parametrize(
    ("objective", "direction", "expected"),
    [
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
    with pytest.raises(UserError, match=f"tune.direction: {objective} .*say minimize or maximize"):
        study_directions(TuneSettings(objective=objective))


# --- with which noise


def test_a_verdict_is_always_of_one_noise(data: PreparedData, model: Model) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(judge(data).score(model))
    assert found[0] == found[1]
    other = settings().model_copy(update={"evaluate": EvaluateSettings(seed=1)})
    assert TrialScorer(other, data, CPU).score(model).values != found[0].values


def test_a_verdict_leaves_the_model_as_it_was(data: PreparedData, model: Model) -> None:
    own, before = model.likelihood, {k: v.clone() for k, v in model.state_dict().items()}
    for objective in OBJECTIVES:
        judge(data, objective).score(model)
    assert model.likelihood is own
    assert isinstance(own, GaussianLikelihood)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


# --- on which split


@pytest.fixture
def unreadable_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody read the test split."""
    for kind in ("images", "labels"):
        read = getattr(PreparedData, kind)

        def refuse(self: PreparedData, split: SplitName, read: Any = read) -> Any:
            if split == "test":
                raise PermissionError("the test split")
            return read(self, split)

        monkeypatch.setattr(PreparedData, kind, refuse)


@pytest.mark.usefixtures("unreadable_test")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_verdict_and_no_report_reads_the_test_split(objective: str, data: PreparedData) -> None:
    judge_, standings = judge(data, objective), []
    model = trained(judge_, lambda *given: standings.append(judge_.intermediate_value(*given)))
    assert len(judge_.score(model).values) == len(judge_.directions)
    assert len(standings) == 2
    with pytest.raises(PermissionError, match="the test split"):
        judge_.score_on_test(model)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_other_test_images_change_the_final_score_alone(
    objective: str, data: PreparedData, tmp_path: Path
) -> None:
    prepare(tmp_path / "data", test_seed=1)
    judges = [judge(found, objective) for found in (data, PreparedData.load(tmp_path / "data"))]
    models = [trained(judge_) for judge_ in judges]
    verdicts, finals = (
        [getattr(judge_, name)(model) for judge_, model in zip(judges, models, strict=True)]
        for name in ("verdict", "on_test")
    )
    assert verdicts[0] == verdicts[1]
    assert finals[0].metrics["nll_nats"] != finals[1].metrics["nll_nats"]


def test_the_final_score_is_of_the_test_split_and_of_more_samples(
    data: PreparedData, model: Model
) -> None:
    for objective in ("nll", "rate_distortion", "knn_accuracy"):
        final = judge(data, objective).score_on_test(model)
        train, test = (build_batches(data, split, False, CPU) for split in ("train", "test"))
        with with_fitted_variance(model, train, seed=0):
            scores = score_images(model, test, 5, seed=0)
        assert final.metrics["nll_nats"] == scores.nll.mean().item()
        assert final.metrics["neg_elbo_nats"] == scores.means()["neg_elbo_nats"]


# --- how a trial stands


def test_a_trial_stands_where_its_validation_bound_is(data: PreparedData) -> None:
    judge_, seen = judge(data), []
    trained(judge_, lambda *given: seen.append((given, judge_.intermediate_value(*given))))
    for (trainer, report), standing in seen:
        expected = normalized_bound(report.metrics, trainer.model.likelihood, SIDE * SIDE)
        assert standing == expected
    assert len(seen) == 2
    first, second = (standing for _, standing in seen)
    assert first is not None
    assert second is not None
    assert second < first, "it learns"


def test_a_trial_stands_where_its_metric_is(data: PreparedData) -> None:
    judge_, standings = judge(data, "mmd_squared"), []
    model = trained(judge_, lambda *given: standings.append(judge_.intermediate_value(*given)))
    verdict = judge_.score(model)
    # The weights of the last epoch are the best ones here: the same model is judged.
    assert verdict.values[0] == pytest.approx(standings[-1], rel=1e-6)


@pytest.mark.parametrize(
    ("epochs", "reported"),
    [
        (2, [1, 2]),
        (20, list(range(1, 21))),
        (21, list(range(2, 21, 2))),
        (100, list(range(5, 101, 5))),
    ],
)
def test_a_trial_says_how_it_stands_at_most_twenty_times(
    epochs: int, reported: list[int], data: PreparedData
) -> None:
    judge_ = TrialScorer(settings({"epochs": epochs}), data, CPU)
    trainer = TrialRunner(judge_).trainer(judge_.settings)
    metrics = {
        "validation.neg_elbo_nats": 1.0,
        "validation.mean_squared_error": 0.1,
        "validation.kl_loss_nats": 1.0,
    }
    found = [
        epoch
        for epoch in range(1, epochs + 1)
        if judge_.intermediate_value(trainer, EpochReport(epoch, metrics)) is not None
    ]
    assert found == reported
    assert len(found) <= REPORTS


def test_two_objectives_stand_nowhere(data: PreparedData) -> None:
    judge_, standings = judge(data, "rate_distortion"), []
    trained(judge_, lambda *given: standings.append(judge_.intermediate_value(*given)))
    assert standings == [None, None]


def test_a_metric_that_is_accepted_can_be_measured(data: PreparedData) -> None:
    judge_, standings = judge(data, "nll_change_on_doubling_nats"), []
    trained(judge_, lambda *given: standings.append(judge_.intermediate_value(*given)))
    assert all(math.isfinite(standing) for standing in standings if standing is not None)


# --- which trials compare


def test_trials_of_the_same_data_settings_and_judge_compare(data: PreparedData) -> None:
    same = [
        settings(),
        settings(trials=99, sampler="random", pruner="none", finalists=1, seeds=0),
        settings({"kl_weight": 0.3}),  # every trial has its own
        settings(epochs=2),
    ]
    assert len({fingerprint(found, data.info) for found in same}) == 1
    weight = {"train.kl_weight": {"type": "float", "low": 0.01, "high": 10.0}}
    other = [
        settings({"learning_rate": 0.01}),
        settings({"epochs": 3}),
        settings(epochs=5),
        settings(importance_samples=4),
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


def test_trials_that_were_judged_with_other_noise_do_not_compare(
    data: PreparedData, model: Model
) -> None:
    verdicts = [judge(data, seed=seed).score(model).values for seed in (0, 1)]
    names = [fingerprint(settings(seed=seed), data.info) for seed in (0, 1)]
    assert (verdicts[0] == verdicts[1]) == (names[0] == names[1])
