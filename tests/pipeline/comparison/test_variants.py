"""The comparison's own settings, and what each variant makes of them."""

from pathlib import Path

import pytest

from pipeline import paths
from pipeline.comparison.variants import ComparisonConfig, ComparisonSettings
from tests import ROOT
from vaelab.config import Settings, UserError, read_yaml
from vaelab.training.build import build


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    target = tmp_path / paths.COMPARISON_PARAMS
    target.parent.mkdir(parents=True)
    target.write_text((ROOT / paths.COMPARISON_PARAMS).read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / paths.COMPARISON_PARAMS).write_text(text)


@pytest.mark.usefixtures("folder")
def test_a_variant_differs_from_the_others_in_its_own_settings() -> None:
    config = ComparisonConfig.load()
    plain, learned = config.variant_settings("vae", 1), config.variant_settings("vae-flow", 2)
    assert (plain.train.objective, plain.model.prior, plain.train.seed) == ("vae", "auto", 1)
    assert (learned.train.objective, learned.model.prior, learned.train.seed) == ("vae", "flow", 2)
    same = {"model": {"prior"}, "train": {"seed"}}
    assert plain.model_dump(exclude=same) == learned.model_dump(exclude=same)


@pytest.mark.usefixtures("folder")
def test_every_variant_can_be_built() -> None:
    config = ComparisonConfig.load()
    assert len(config.comparison.variants) > 5
    for variant in config.comparison.variants:
        build(config.variant_settings(variant, 0), (1, 28, 28))


@pytest.mark.usefixtures("folder")
def test_the_file_says_every_setting_of_the_comparison_with_its_default() -> None:
    variants = ComparisonConfig.load().comparison.variants
    assert ComparisonConfig.load().comparison == ComparisonSettings(variants=variants)
    content = read_yaml(ROOT / paths.COMPARISON_PARAMS)
    assert isinstance(content, dict)
    assert set(content["comparison"]) == set(ComparisonSettings.model_fields)
    assert set(content) - {"comparison"} <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comparison: {seed: [1]}", "comparison/params.yaml: unknown setting seed"),
        ("comparison: {seeds: []}", "seeds: .*at least 1"),
        ("comparison: {variants: {../x: {}}}", "variants"),
        ("comparison: {samplers: [flow]}", "samplers"),
        ("train: {epochs: 0}", "train.epochs: .*greater than or equal to 1"),
        ("[1, 2]", "must be a mapping of sections"),
    ],
)
def test_what_cannot_be_is_refused_by_name(folder: Path, text: str, message: str) -> None:
    write(folder, text)
    with pytest.raises(UserError, match=message):
        ComparisonConfig.load()


@pytest.mark.usefixtures("folder")
def test_an_unknown_variant_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"variants has no vea_gan; it has autoencoder, "):
        ComparisonConfig.load().variant_settings("vea_gan", 0)


def test_a_variant_with_an_unknown_objective_is_refused_with_the_nearest_one(folder: Path) -> None:
    write(folder, "comparison: {variants: {new: {train.objective: vea_gan}}}")
    with pytest.raises(UserError, match="did you mean vae_gan"):
        ComparisonConfig.load().variant_settings("new", 0)
