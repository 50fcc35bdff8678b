"""The deps of the comparison's stages cover what their scripts import."""

import pytest
from ruamel.yaml import YAML

from pipeline import paths
from tests import ROOT
from tests.test_structure import closure

STAGES = {
    name: stage.get("do", stage)
    for name, stage in YAML(typ="safe").load(ROOT / paths.COMPARISON_STAGES)["stages"].items()
}
# Packages whose modules are chosen by name: a closure does not see them.
WHOLE = {
    "data": {"data"},
    "train": {"models", "objectives"},
    "measure": {"models", "samplers"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_what_the_script_imports(stage: str) -> None:
    script = ROOT / f"pipeline/comparison/{stage}.py"
    assert STAGES[stage]["cmd"].startswith(f"python -m pipeline.comparison.{stage}")
    deps = [ROOT / dep for dep in STAGES[stage]["deps"] if not dep.startswith("$")]
    needed = closure(script)
    missing = {p for p in needed if not any(p == dep or p.is_relative_to(dep) for dep in deps)}
    assert not {str(p.relative_to(ROOT)) for p in missing}


@pytest.mark.parametrize("stage", WHOLE)
def test_packages_whose_modules_are_chosen_by_name_are_whole_deps(stage: str) -> None:
    deps = set(STAGES[stage]["deps"])
    assert {f"src/vaelab/{package}" for package in WHOLE[stage]} <= deps
