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
CODE = "${inputs}/"
# Packages whose modules are chosen by name: a closure does not see them.
WHOLE = {
    "data": {"data"},
    "train": {"models", "objectives"},
    "measure": {"models", "samplers"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_what_the_script_imports(stage: str) -> None:
    script = ROOT / f"pipeline/comparison/{stage}.py"
    command = f"cd ${{root}} && python -m pipeline.comparison.{stage}"
    assert STAGES[stage]["cmd"].startswith(command)
    if STAGES[stage].get("always_changed"):
        return
    deps = [ROOT / dep.removeprefix(CODE) for dep in STAGES[stage]["deps"] if dep.startswith(CODE)]
    needed = closure(script)
    missing = {p for p in needed if not any(p == dep or p.is_relative_to(dep) for dep in deps)}
    assert not {str(p.relative_to(ROOT)) for p in missing}


@pytest.mark.parametrize("stage", WHOLE)
def test_packages_whose_modules_are_chosen_by_name_are_whole_deps(stage: str) -> None:
    deps = set(STAGES[stage]["deps"])
    assert {f"{CODE}src/vaelab/{package}" for package in WHOLE[stage]} <= deps
