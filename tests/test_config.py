"""Settings: defaults, ranges, messages."""

from pathlib import Path

import pytest

from vaelab.config import Settings, UserError, flatten, load_settings, parse_settings

ROOT = Path(__file__).parent.parent


def test_params_yaml_names_every_setting_with_its_default() -> None:
    assert load_settings(ROOT / "params.yaml") == Settings()
    text = (ROOT / "params.yaml").read_text()
    for name in flatten(Settings()):
        assert f"\n  {name.partition('.')[2]}: " in text


def test_every_setting_of_params_yaml_is_explained() -> None:
    for line in (ROOT / "params.yaml").read_text().splitlines():
        if line.startswith("  "):
            assert "  # " in line, f"no comment: {line}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"train": {"kl_weigth": 1}},
            "train.kl_weigth is no setting; did you mean train.kl_weight",
        ),
        ({"trian": {}}, "trian is no setting; did you mean train[?] valid here: data, model"),
        ({"model": {"zzz": 1}}, "model.zzz is no setting; valid here: network, latent_dim"),
        ({"train": {"epochs": 0}}, r"train.epochs: .* greater than or equal to 1 \(it is 0\)"),
        ({"train": {"epochs": 1.5}}, r"train.epochs: .* integer.* \(it is 1.5\)"),
        ({"train": {"epochs": True}}, "train.epochs: true and false are no values"),
        (
            {"train": {"learning_rate": "fast"}},
            r"train.learning_rate: .* number.* \(it is 'fast'\)",
        ),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate: .* finite"),
        ({"train": {"kl_weight": -1}}, "train.kl_weight: .* greater than or equal to 0"),
        ({"train": {"objective": "vea"}}, "train.objective: .*'vae'"),
        ({"train": {"weight_decay": 0.1}}, "weight_decay needs optimizer: adamw"),
        ({"train": None}, "train: .* dictionary"),
        ({"data": {"name": "minst"}}, "data.name: .*'mnist'.*it is 'minst'"),
        ({"data": {"image_size": [28]}}, "data.image_size"),
        ({"data": {"image_size": [0, 28]}}, "data.image_size.0: .* greater than or equal to 1"),
        ({"data": {"mirror": "ftp://host/path"}}, "data.mirror: .*https"),
        ({"data": {"validation_fraction": 0}}, "data.validation_fraction: .* greater than 0"),
        ({"data": {"validation_fraction": 0.5}}, "data.validation_fraction: .* less than 0.5"),
        ({"model": {"kernel_size": 4}}, r"model.kernel_size: must be odd.*\(it is 4\)"),
        ({"model": {"channels": []}}, "model.channels: .* at least 1"),
        ({"model": {"gaussian_variance": 0}}, "model.gaussian_variance: .* greater than 0"),
        ({"model": {"gaussian_variance": "fit"}}, "model.gaussian_variance: .*'fitted'"),
        ({"machine": {"device": "gpu"}}, "machine.device: .*cuda"),
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


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(UserError, match=r"model.latent_dim.*; train.epochs"):
        parse_settings({"train": {"epochs": 0}, "model": {"latent_dim": 0}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"train: [1", "no valid YAML"),
        (b"train: {epochs: 1}\ntrain: {epochs: 2}", "no valid YAML: .*duplicate"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"train: !!python/object:os.system {}", "no valid YAML"),
    ],
)
def test_a_file_that_is_no_settings_file_is_refused(
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
