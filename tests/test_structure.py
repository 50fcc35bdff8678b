"""Imports point one way, and each DVC stage's deps cover what its script imports."""

import ast
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
LEAVES = {
    "config",
    "cross_entropy",
    "distributions",
    "networks",
    "data",
    "files",
    "randomness",
    "devices",
    "totals",
    "pareto",
    "progress",
    "locks",
    "memory",
    "signals",
    "catalogue",
    "collapse",
    "place",
    "announcements",
    "batchwise",
    "distributed",
}
# A layer may import the ones before it, and itself.
LAYERS = [
    LEAVES,
    {"likelihoods", "priors"},
    {"models", "optimisers", "checkpoint", "classifier"},
    {"objectives", "estimators", "features", "rendering", "attributes", "asking", "figures"},
    {
        "dealing",
        "halting",
        "training",
        "training_state",
        "evaluation",
        "scoring",
        "assembly",
        "report",
    },
    {"together"},
]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def module_file(name: str) -> Path | None:
    for base in (ROOT / "src", ROOT):
        path = base / Path(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


@cache
def imported_names(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def imported_files(path: Path) -> set[Path]:
    parts = (name.split(".") for name in imported_names(path))
    prefixes = (".".join(p[:end]) for p in parts for end in range(1, len(p) + 1))
    return {found for prefix in prefixes if (found := module_file(prefix))}


def closure(path: Path) -> set[Path]:
    seen: set[Path] = set()
    todo = {path}
    while todo:
        current = todo.pop()
        seen.add(current)
        todo |= imported_files(current) - seen
    return seen


def vaelab_part(path: Path) -> str:
    return path.relative_to(ROOT / "src/vaelab").parts[0].removesuffix(".py")


LIBRARY = sorted((ROOT / "src/vaelab").rglob("*.py"))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_the_library_knows_no_pipeline_and_no_tracker(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported_names(path)}
    assert not tops & {"pipeline", "mlflow", "dvc", "optuna"}


@pytest.mark.parametrize(
    "path", [p for p in LIBRARY if p.parent != p], ids=lambda p: str(p.relative_to(ROOT / "src"))
)
def test_imports_point_one_way(path: Path) -> None:
    part = vaelab_part(path)
    if part == "__init__":
        assert not imported_names(path)
        return
    level = next(i for i, layer in enumerate(LAYERS) if part in layer)
    allowed = set().union(*LAYERS[: level + 1]) | {"__init__"}
    library = {p for p in imported_files(path) if p.is_relative_to(ROOT / "src/vaelab")}
    assert {vaelab_part(p) for p in library} <= allowed


def test_only_the_study_imports_optuna() -> None:
    importers = {
        str(path.relative_to(ROOT / "pipeline"))
        for path in (ROOT / "pipeline").rglob("*.py")
        if any(name.split(".")[0].startswith("optuna") for name in imported_names(path))
    }
    assert {name.partition("/")[0] for name in importers} == {"study", "dashboard.py"}


def test_only_tracking_imports_mlflow() -> None:
    importers = {
        path.parent.name
        for path in (ROOT / "pipeline").rglob("*.py")
        if any(name.split(".")[0] == "mlflow" for name in imported_names(path))
    }
    assert importers == {"tracking"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_file_that_its_script_imports(stage: str) -> None:
    script = ROOT / "pipeline" / f"{stage}.py"
    assert STAGES[stage]["cmd"] == f"python -m pipeline.{stage}"
    deps = [ROOT / dep for dep in STAGES[stage]["deps"]]
    needed = closure(script)
    assert script in needed
    missing = {p for p in needed if not any(p == dep or p.is_relative_to(dep) for dep in deps)}
    assert not {str(p.relative_to(ROOT)) for p in missing}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_python_file_that_it_does_not_import(stage: str) -> None:
    needed = closure(ROOT / "pipeline" / f"{stage}.py")
    deps = [ROOT / dep for dep in STAGES[stage]["deps"]]
    code = [dep for dep in deps if dep.suffix == ".py"]
    assert not {str(dep.relative_to(ROOT)) for dep in code if dep not in needed}


@pytest.mark.parametrize(
    ("stage", "package"),
    [
        ("download", "data/sources"),
        ("prepare", "data/sources"),
        ("train", "networks"),
        ("train", "objectives"),
        ("train", "priors"),
        ("classifier", "networks"),
        ("evaluate", "networks"),
        ("evaluate", "priors"),
        ("render", "networks"),
        ("render", "priors"),
    ],
)
def test_packages_whose_modules_are_chosen_by_name_are_whole_deps(stage: str, package: str) -> None:
    assert f"src/vaelab/{package}" in STAGES[stage]["deps"]
