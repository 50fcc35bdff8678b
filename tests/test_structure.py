"""Imports point one way, and each DVC stage's deps cover what its script imports."""

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import ROOT

# From the ground up: a folder may import those of earlier rows, of its own row, and itself.
LAYERS: list[set[str]] = [
    {"config"},
    {"distributed"},
    {"runtime", "recipes"},
    {"models", "data", "figures", "metrics"},
    {"samplers"},
    {"estimators", "export", "inference", "report"},
    {"evaluation", "explorer", "objectives"},
    {"training"},
    {"api"},
    {"commands"},
]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def module_file(name: str) -> Path | None:
    for base in (ROOT / "src", ROOT):
        path = base / Path(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk the nodes that an import of the module runs: no function, no `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from run_at_import(node)


@cache
def imported_names(path: Path, at_import: bool = False) -> frozenset[str]:
    """Return what a file imports anywhere, or only what it imports when it is imported itself."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in run_at_import(tree) if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def imported_files(path: Path, at_import: bool = False) -> set[Path]:
    parts = (name.split(".") for name in imported_names(path, at_import))
    prefixes = (".".join(p[:end]) for p in parts for end in range(1, len(p) + 1))
    return {found for prefix in prefixes if (found := module_file(prefix))}


def modules_named(path: Path) -> set[Path]:
    """Return the files that a file's imports name themselves, without their packages."""
    found = set()
    for name in imported_names(path):
        target = module_file(name) or module_file(name.rpartition(".")[0])
        found |= {target} if target else set()
    return found


def closure(path: Path, at_import: bool = False) -> set[Path]:
    seen: set[Path] = set()
    todo = {path}
    while todo:
        current = todo.pop()
        seen.add(current)
        todo |= imported_files(current, at_import) - seen
    return seen


def vaelab_part(path: Path) -> str:
    return path.relative_to(ROOT / "src/vaelab").parts[0].removesuffix(".py")


LIBRARY = sorted((ROOT / "src/vaelab").rglob("*.py"))


def test_the_library_imports_no_pipeline_and_no_tracker() -> None:
    importers = {}
    for path in LIBRARY:
        tops = {name.split(".")[0] for name in imported_names(path)}
        if found := tops & {"pipeline", "mlflow", "dvc", "optuna"}:
            importers[path.name] = found
    # It downloads a model whose address of MLflow is given, and needs it for nothing else.
    assert importers == {"mlflow_address.py": {"mlflow"}}
    address = ROOT / "src/vaelab/api/mlflow_address.py"
    assert not {name for name in imported_names(address, at_import=True) if "mlflow" in name}


def test_every_module_of_the_library_is_in_a_folder() -> None:
    loose = {path.name for path in (ROOT / "src/vaelab").glob("*.py")}
    assert loose == {"__init__.py", "__main__.py"}
    # The pipeline has a module a stage, and few others.
    assert len({path.stem for path in (ROOT / "pipeline").glob("*.py")} - STAGES.keys()) <= 6


def test_imports_point_one_way() -> None:
    for path in LIBRARY:
        part = vaelab_part(path)
        if part in ("__init__", "__main__"):
            continue
        level = next(i for i, layer in enumerate(LAYERS) if part in layer)
        allowed = set().union(*LAYERS[: level + 1]) | {"__init__"}
        library = {p for p in imported_files(path) if p.is_relative_to(ROOT / "src/vaelab")}
        upwards = {vaelab_part(p) for p in library} - allowed
        assert not upwards, f"{path} imports {upwards}, which stand above it"


def test_no_imports_form_a_cycle() -> None:
    files = [*LIBRARY, *(ROOT / "pipeline").rglob("*.py")]
    graph = {path: modules_named(path) - {path} for path in files}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, with the files


def test_only_the_study_imports_optuna() -> None:
    importers = {
        str(path.relative_to(ROOT / "pipeline"))
        for path in (ROOT / "pipeline").rglob("*.py")
        if any(name.split(".")[0].startswith("optuna") for name in imported_names(path))
    }
    assert {name.partition("/")[0] for name in importers} == {"study"}


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
