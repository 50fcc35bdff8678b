"""Recipes are valid settings, and the commands write and use them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import vaelab
from pipeline.params.edit import change_settings
from tests import ROOT
from vaelab.config import Settings, flatten, load_settings, with_changes
from vaelab.recipes import read_recipe, recipe_names, recipe_notes

RECIPES = recipe_names()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_says_what_to_expect(name: str) -> None:
    changes = read_recipe(name)
    assert changes
    with_changes(Settings(), changes)
    assert len(recipe_notes(name)) > 40
    assert name in (ROOT / "docs/training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_written_into_the_settings_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    change_settings(path, read_recipe(name))
    changes, written = read_recipe(name), flatten(load_settings(path))
    before = flatten(load_settings(ROOT / "params.yaml"))
    assert {name: written[name] for name in changes} == changes
    kept = before.keys() - changes.keys()
    assert {k: written[k] for k in kept if not k.startswith("evaluate.")} == {
        k: before[k] for k in kept if not k.startswith("evaluate.")
    }
    assert change_settings(path, changes) == f"{path} has these settings already"


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(vaelab.UserError, match=r"^unknown recipe mnits; did you mean mnist\?"):
        read_recipe("mnits")


def test_arrays_are_trained_by_a_recipe_from_which_arguments_may_differ() -> None:
    images = np.random.default_rng(0).random((20, 8, 8))
    model = vaelab.train(images, recipe="digits", epochs=1, latent_dim=2, progress=False)
    settings = model.description.settings
    assert (settings["train.epochs"], settings["model.latent_dim"]) == (1, 2)
    expected = read_recipe("digits")["train.objective"]
    assert settings["train.objective"] == expected == flatten(Settings())["train.objective"]
