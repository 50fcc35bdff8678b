"""Settings: defaults, ranges, messages."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests import ROOT
from vaelab.config import (
    NEED_WHOLE_IMAGES,
    Settings,
    TuneSettings,
    UserError,
    flatten,
    load_settings,
    network_names,
    objective_names,
    parse_settings,
    prior_names,
    sampler_names,
    with_changes,
)
from vaelab.objectives import objective_class
from vaelab.samplers import sampler_class


def test_params_yaml_names_every_setting_with_its_default() -> None:
    written = load_settings(ROOT / "params.yaml")
    assert written.model_copy(update={"objectives": {}, "samplers": {}}) == Settings()
    lines = (ROOT / "params.yaml").read_text().splitlines()
    keys = {line.partition(":")[0] for line in lines}
    for name in [*flatten(Settings()), "model.networks", "model.priors"]:
        assert f"  {name.partition('.')[2]}" in keys


def test_own_settings_in_params_yaml_have_their_defaults() -> None:
    """Settings of an objective that is added need not be listed."""
    written = load_settings(ROOT / "params.yaml").objectives
    assert {"beta_vae", "iwae", "gan"} <= set(written)
    for name, settings in written.items():
        assert settings == objective_class(name).default_settings()
    assert "vae" not in written
    assert objective_class("vae").default_settings() == {}


def test_settings_of_samplers_in_params_yaml_have_their_defaults() -> None:
    written = load_settings(ROOT / "params.yaml").samplers
    assert set(written) == {"mixture", "flow_matching"}
    for name, settings in written.items():
        assert settings == sampler_class(name).default_settings()
    assert sampler_class("gaussian").default_settings() == {}


def test_every_setting_of_params_yaml_is_explained() -> None:
    """In its line, or for a list of several lines in the line above, which names it."""
    own = [f"  {name}:" for name in (*objective_names(), *sampler_names())]
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for before, line in pairwise(lines):
        if line.startswith("  ") and line not in own and not line.startswith("  - "):
            above = before.startswith(f"  # {line.strip()} ") and line.endswith(":")
            assert above or "  # " in line, f"no comment: {line}"


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("objective: vae", objective_names()),
        ("network: conv", network_names()),
        ("prior: auto", ("auto", *prior_names())),
        ("name: flow_matching", ("prior", *sampler_names())),
    ],
)
def test_the_names_beside_a_setting_are_those_of_files(
    setting: str, names: tuple[str, ...]
) -> None:
    (line,) = (
        line
        for line in (ROOT / "params.yaml").read_text().splitlines()
        if line.startswith(f"  {setting} ")
    )
    listed = re.sub(r" \(.*?\)", "", line.partition("# ")[2]).split(" | ")
    assert len(listed) >= 3
    assert set(listed) <= set(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"train": {"kl_weigth": 1}},
            "unknown setting train.kl_weigth; did you mean train.kl_weight",
        ),
        ({"trian": {}}, "unknown setting trian; did you mean train[?] valid: data, model"),
        ({"model": {"zzz": 1}}, "unknown setting model.zzz; valid: network, latent_dim"),
        ({"train": {"epochs": 0}}, r"train.epochs: .* greater than or equal to 1 \(it is 0\)"),
        ({"train": {"epochs": 1.5}}, r"train.epochs: .* integer.* \(it is 1.5\)"),
        ({"train": {"epochs": True}}, "train.epochs: true and false are not valid here"),
        (
            {"train": {"learning_rate": "fast"}},
            r"train.learning_rate: .* number.* \(it is 'fast'\)",
        ),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate: .* finite"),
        ({"train": {"kl_weight": -1}}, "train.kl_weight: .* greater than or equal to 0"),
        (
            {"train": {"objective": "vea"}},
            "train.objective: unknown objective vea; did you mean vae",
        ),
        ({"train": {"weight_decay": 0.1}}, "weight_decay needs optimizer: adamw"),
        ({"train": None}, "train: must be a mapping"),
        ({"data": {"name": "minst"}}, "data.name: .*'mnist'.*it is 'minst'"),
        ({"data": {"image_size": [28]}}, "data.image_size"),
        ({"data": {"image_size": [0, 28]}}, "data.image_size.0: .* greater than or equal to 1"),
        ({"data": {"mirror": "ftp://host/path"}}, "data.mirror: .*https"),
        ({"data": {"validation_fraction": 0}}, "data.validation_fraction: .* greater than 0"),
        ({"data": {"validation_fraction": 0.5}}, "data.validation_fraction: .* less than 0.5"),
        ({"model": {"kernel_size": 4}}, r"model.kernel_size: must be odd.*\(it is 4\)"),
        ({"model": {"channels": []}}, "; model.channels: .* at least 1"),
        ({"model": {"channels": [0]}}, "; model.channels.0: .* greater than or equal to 1"),
        ({"model": {"latent_dim": "all"}}, "model.latent_dim: Input should be 'auto'"),
        ({"model": {"gaussian_variance": 0}}, "model.gaussian_variance: .* greater than 0"),
        ({"model": {"gaussian_variance": "fit"}}, "model.gaussian_variance: .*'fitted'"),
        (
            {"model": {"network": "mpl"}},
            r"model.network: unknown network mpl; did you mean mlp\? valid: conv, mlp, res",
        ),
        (
            {"model": {"prior": "vmap"}},
            r"model.prior: unknown prior vmap; did .* vamp\? valid: auto,",
        ),
        (
            {"model": {"networks": {"cnov": {}}}},
            "model.networks.cnov: unknown network cnov; did you",
        ),
        ({"model": {"priors": {"auto": {}}}}, "model.priors.auto: unknown prior auto; valid: code"),
        ({"model": {"priors": {"flow": 3}}}, "model.priors.flow: must be a mapping"),
        ({"machine": {"device": "gpu"}}, "machine.device: .*cuda"),
        (
            {"render": {"formats": ["svg"]}},
            "render.formats: must have png, which every viewer shows",
        ),
        ({"render": {"formats": ["png", "gif"]}}, "render.formats"),
        ({"render": {"dpi": 10_000}}, "render.dpi: .* less than or equal to 600"),
        (
            {"data": {"dequantize": True}, "model": {"likelihood": "bernoulli"}},
            "dequantize needs a density",
        ),
        ({"data": {"dequantize": True, "binarization": "fixed"}}, "exclude each other"),
        (
            {"data": {"binarization": "fixed"}, "model": {"likelihood": "discretized_logistic"}},
            "discretized_logistic is for 8-bit pixels",
        ),
        (["train"], "must be a mapping of sections"),
        ("train", "must be a mapping of sections"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line(content: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_settings(content, "params.yaml")
    assert str(caught.value).startswith("params.yaml: ")
    assert "\n" not in str(caught.value)


def test_all_wrong_settings_are_named_in_one_message() -> None:
    with pytest.raises(UserError, match=r"model.latent_dim.*; train.epochs"):
        parse_settings({"train": {"epochs": 0}, "model": {"latent_dim": 0}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"train: [1", "not valid YAML"),
        (b"train: {epochs: 1}\ntrain: {epochs: 2}", "not valid YAML: .*duplicate"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"train: !!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_valid_yaml_is_refused(
    tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message) as caught:
        load_settings(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("# nothing\n")
    assert load_settings(tmp_path / "params.yaml") == Settings()


def test_yaml_reads_numbers_as_dvc_does(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: {learning_rate: 1e-3, kl_weight: 4}\n")
    settings = load_settings(tmp_path / "params.yaml")
    assert (settings.train.learning_rate, settings.train.kl_weight) == (0.001, 4.0)


WEIGHT = {"type": "float", "low": 0.01, "high": 10.0, "log": True}


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"trials": 0}, r"tune.trials: .* greater than or equal to 1 \(it is 0\)"),
        ({"seeds": -1}, "tune.seeds: .* greater than or equal to 0"),
        ({"sampler": "tpa"}, "tune.sampler: .*'tpe'.*'grid'"),
        ({"pruner": "halving"}, "tune.pruner: .*'hyperband'"),
        ({"pruning_after": 1}, "tune.pruning_after: .* less than 1"),
        ({"time_limit_minutes": 0}, "tune.time_limit_minutes: .* greater than 0"),
        ({"storage": "optuna.db"}, "tune.storage: .*pattern"),
        ({"study": "a'b"}, "tune.study: .*pattern"),
        ({"objective": ""}, "tune.objective: .*at least 1"),
        ({"trails": 3}, "unknown setting tune.trails; did you mean tune.trials[?]"),
        (
            {"direction": "maximize"},
            "tune: direction applies to metrics only; neg_elbo is always minimized",
        ),
        (
            {"objective": "rate_distortion", "direction": "minimize"},
            "tune: direction applies to metrics only; rate_distortion is always minimized",
        ),
        ({"search_space": {}}, "tune.search_space: .* at least 1"),
        ({"search_space": {"train.kl_weight": 3}}, r"search_space.train.kl_weight: needs type:.*3"),
        ({"search_space": {"train.kl_weight": {"low": 1, "high": 2}}}, "needs type: int or float"),
        pytest.param(
            {"search_space": {"train.kl_weight": {**WEIGHT, "steps": 2}}},
            "unknown setting tune.search_space.train.kl_weight.steps",
        ),
        (
            {"search_space": {"train.kl_weight": {**WEIGHT, "high": 0.01}}},
            r"low must be below high \(they are 0.01 and 0.01\)",
        ),
        (
            {"search_space": {"train.kl_weight": {**WEIGHT, "low": 0.0}}},
            r"log needs a low above 0 \(it is 0.0\)",
        ),
        (
            {"search_space": {"model.hidden": {"type": "categorical", "choices": []}}},
            "choices: .* at least 1",
        ),
        (
            {"search_space": {"model.hidden": {"type": "categorical", "choices": [[3], [3]]}}},
            "each choice must be listed once",
        ),
        (
            {"search_space": {"train.kl_weigth": WEIGHT}},
            "tune.search_space: unknown setting train.kl_weigth; did you mean train.kl_weight[?]",
        ),
        ({"search_space": {"data.seed": WEIGHT}}, "data.seed cannot be searched"),
        ({"search_space": {"train.seed": WEIGHT}}, "train.seed cannot be searched; .* except"),
        ({"search_space": {"train.epochs": WEIGHT}}, "train.epochs cannot be searched"),
        (
            {"search_space": {"model.latent_dim": {"type": "int", "low": 0, "high": 9}}},
            "tune.search_space: model.latent_dim cannot be 0: .* greater than or equal to 1",
        ),
        (
            {"search_space": {"train.learning_rate": {**WEIGHT, "high": 11.0}}},
            "train.learning_rate cannot be 11.0: .* less than or equal to 10",
        ),
        (
            {"search_space": {"model.latent_dim": {"type": "float", "low": 2, "high": 9}}},
            r"model.latent_dim cannot be 4\..*: .* integer",
        ),
        (
            {"search_space": {"model.network": {"type": "categorical", "choices": ["mpl"]}}},
            "model.network cannot be 'mpl': network: unknown network mpl; did you mean mlp",
        ),
        (
            {"search_space": {"train.weight_decay": {"type": "float", "low": 0, "high": 0.1}}},
            "train.weight_decay cannot be 0.03.*: weight_decay needs optimizer: adamw",
        ),
    ],
)
def test_a_bad_study_is_refused_in_one_line(tune: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_settings({"tune": tune}, "params.yaml")
    assert str(caught.value).startswith("params.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tune": {"search_space": {"model.kernel_size": {"type": "int", "low": 3, "high": 7}}}},
            "model.kernel_size cannot be 4: kernel_size: must be odd",
        ),
        (
            {
                "data": {"dequantize": True},
                "tune": {
                    "search_space": {
                        "model.likelihood": {
                            "type": "categorical",
                            "choices": ["gaussian", "bernoulli"],
                        }
                    }
                },
            },
            "model.likelihood cannot be 'bernoulli': data.dequantize needs a density",
        ),
    ],
)
def test_a_search_space_with_settings_that_no_trial_can_have_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=f"search_space: {message}"):
        parse_settings(settings)


@pytest.mark.parametrize(
    ("own", "chosen", "message"),
    [
        ("objectives.wae.x", {"train": {"objective": "wae"}}, "train.objective: vae"),
        ("model.networks.mlp.x", {"model": {"network": "mlp"}}, "model.network: conv"),
        ("model.priors.flow.x", {"model": {"prior": "flow"}}, "model.prior: auto"),
    ],
)
def test_own_settings_of_what_is_chosen_can_be_searched(
    own: str, chosen: dict[str, object], message: str
) -> None:
    tune = {"search_space": {own: {**WEIGHT, "high": 1e4}}}
    assert list(parse_settings({**chosen, "tune": tune}).tune.search_space) == [own]
    with pytest.raises(UserError, match=f"{own} has no effect with {message}"):
        parse_settings({"tune": tune})


def test_own_settings_of_networks_and_priors_are_left_out_where_there_are_none() -> None:
    """Then saved descriptions of models and fingerprints of studies do not change."""
    plain = Settings().model.model_dump()
    assert not {"networks", "priors"} & plain.keys()
    changed = with_changes(Settings(), {"model.networks.mlp.x": 3, "model.priors.flow.y": 0.5})
    assert changed.model.networks == {"mlp": {"x": 3}}
    assert changed.model.model_dump() == plain | {
        "networks": {"mlp": {"x": 3}},
        "priors": {"flow": {"y": 0.5}},
    }
    assert parse_settings(changed.model_dump()) == changed


def test_with_changes_checks_changed_settings_and_keeps_the_others() -> None:
    before = parse_settings({"train": {"epochs": 7}, "model": {"hidden": [3]}})
    after = with_changes(before, {"train.kl_weight": 4, "model.hidden": (2, 2)})
    assert (after.train.kl_weight, after.train.epochs, after.model.hidden) == (4.0, 7, (2, 2))
    assert with_changes(after, {"train.kl_weight": 1.0, "model.hidden": (3,)}) == before
    with pytest.raises(UserError, match=r"model.latent_dim: .*greater than or equal to 1"):
        with_changes(before, {"model.latent_dim": 0})
    with pytest.raises(UserError, match=r"unknown setting model.latent_dims; did you mean"):
        with_changes(before, {"model.latent_dims": 3})
    with pytest.raises(UserError, match="unknown objective vea; did you mean vae"):
        with_changes(before, {"objectives.vea.x": 3})
    own = with_changes(before, {"objectives.gan.loss": "wasserstein", "train.epochs": 8})
    own = with_changes(own, {"objectives.gan.gradient_penalty": 5.0})
    assert own.objectives == {"gan": {"loss": "wasserstein", "gradient_penalty": 5.0}}
    assert (own.train.epochs, before.objectives) == (8, {})


def test_a_search_space_keeps_its_order_and_types() -> None:
    space = {
        "train.kl_weight": WEIGHT,
        "model.hidden": {"type": "categorical", "choices": [[], [16], None, 0.5, "a", True]},
        "model.latent_dim": {"type": "int", "low": 2, "high": 64},
    }
    tune = TuneSettings.model_validate({"search_space": space})
    assert list(tune.search_space) == list(space)
    hidden = tune.search_space["model.hidden"]
    assert list(map(repr, hidden.examples())) == ["()", "(16,)", "None", "0.5", "'a'", "True"]
    assert set(tune.search_space["model.latent_dim"].examples()) == set(range(2, 65))
    low, between, high = map(str, tune.search_space["train.kl_weight"].examples())
    assert (low, high) == ("0.01", "10.0")
    assert 0.01 < float(between) < 10


MISSING = (
    "must be none, marked, a color such as '#ff00ff', or the share of pixels to hide, "
    "between 0 and 1"
)
VALID = "beta_tc_vae, beta_vae, factor_vae, info_vae, iwae, vae"


@pytest.mark.parametrize(
    ("data", "train", "message"),
    [
        ({"missing": 1}, {}, f"data.missing: {MISSING} (it is 1)"),
        ({"missing": -0.5}, {}, f"data.missing: {MISSING} (it is -0.5)"),
        ({"missing": "makred"}, {}, f"data.missing: {MISSING} (it is 'makred')"),
        ({"missing": "#f0f"}, {}, f"data.missing: {MISSING} (it is '#f0f')"),
        (
            {"missing": "marked"},
            {},
            "data.missing: marked needs data.name: folder (it is digits); of other images a share "
            "of the pixels can be hidden, such as data.missing: 0.5",
        ),
        *(
            (
                {"missing": 0.5},
                {"objective": name},
                f"train.objective: {name} needs whole images, and data.missing is 0.5; with "
                f"missing pixels use {VALID}",
            )
            for name in NEED_WHOLE_IMAGES
        ),
    ],
)
def test_missing_pixels_that_cannot_be_are_refused(
    data: dict[str, object], train: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse_settings({"data": data, "train": train}, "params.yaml")
    assert str(caught.value) == f"params.yaml: {message}"
