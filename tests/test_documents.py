"""The Markdown pages: tables are rectangular, and links, commands, files and imports exist."""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests import ROOT
from tests.test_structure import LAYERS
from vaelab.config import ModelSettings, network_names
from vaelab.metrics import SPECS
from vaelab.models.component_settings import component_settings

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
# extending.md names files that it shows how to add; its code is run by a test of its own.
PRESENT = [path for path in DOCUMENTS if path.name != "extending.md"]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def prose(document: Path) -> str:
    """Return the text without blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def cells(row: str) -> int:
    """Count a table row's cells; a bar within `code` or after a backslash separates none."""
    bare = re.sub(r"`[^`]*`|\\\|", "", row.strip())
    return bare.removeprefix("|").removesuffix("|").count("|") + 1


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes from a document's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_rows_of_a_table_have_as_many_cells_as_its_head() -> None:
    wrong = []
    for document in DOCUMENTS:
        for table in re.findall(r"(?:^\|.*\n)+", prose(document), flags=re.MULTILINE):
            rows = table.splitlines()
            wrong += [(document.name, row) for row in rows if cells(row) != cells(rows[0])]
    assert not wrong


def test_each_part_with_an_error_says_what_it_is() -> None:
    """± is one standard error, and the part of the page says so: docs/evaluation.md defines it."""
    wrong = []
    for document in DOCUMENTS:
        for part in re.split(r"^#+ ", prose(document), flags=re.MULTILINE):
            if "±" in part and "standard error" not in " ".join(part.split()):
                wrong.append((document.name, part.splitlines()[0]))
    assert not wrong


def test_links_and_anchors_exist() -> None:
    wrong = []
    for document in DOCUMENTS:
        for target, anchor in LINK.findall(prose(document)):
            found = (document.parent / target) if target else document
            if not found.exists() or (anchor and anchor not in anchors(found)):
                wrong.append((document.name, target, anchor))
    assert not wrong


def test_images_have_an_alternative_text_and_each_is_shown() -> None:
    shown = {
        (document.parent / target).resolve(): text
        for document in DOCUMENTS
        for text, target in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", document.read_text())
    }
    assert [str(path) for path, text in shown.items() if len(text) < 20] == []
    assert shown.keys() == set((ROOT / "docs/images").resolve().iterdir())


def test_commands_and_paths_exist() -> None:
    text = "".join(document.read_text() for document in PRESENT)
    missing = [*missing_modules(text), *missing_options(text), *missing_paths(text)]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    made = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert {"repro", "tune", "test"} <= made
    assert not [*missing, *(made - targets)]


def missing_modules(text: str) -> Iterator[str]:
    for module in set(re.findall(r"python -m\s+((?:pipeline|benchmarks)[\w.]*)", text)):
        path = ROOT / module.rstrip(".").replace(".", "/")
        if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file():
            yield module


def missing_options(text: str) -> Iterator[str]:
    cli = (ROOT / "pipeline/cli.py").read_text()
    for module, words in set(
        re.findall(r"python -m\s+((?:pipeline|benchmarks)[\w.]*)([^`\n]*)", text)
    ):
        path = ROOT / module.rstrip(".").replace(".", "/")
        files = (
            [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else path.glob("*.py")
        )
        source = cli + "".join(file.read_text() for file in files)
        for option in re.findall(r"(?<= )--[a-z-]+", words.partition("#")[0]):
            if f'"{option}"' not in source:
                yield f"{module} {option}"


def missing_paths(text: str) -> Iterator[str]:
    for path in set(re.findall(r"`((?:tests|benchmarks|docs|src|pipeline)/[\w./]+)`", text)):
        if not (ROOT / path).exists() and not path.startswith("docs/_build"):
            yield path


def test_settings_exist() -> None:
    text = "".join(document.read_text() for document in PRESENT)
    params = flatten(YAML(typ="safe").load(ROOT / "params.yaml"))
    named = set(re.findall(r"-S '?([\w.]+)=", text))
    named |= set(re.findall(rf"`((?:{'|'.join(sections(params))})\.[\w.]+)[:`= ]", text))
    assert named >= {"train.kl_weight", "objectives.iwae.importance_samples"}
    every = [ModelSettings(network=name) for name in network_names()]
    own = {setting for settings in every for setting in component_settings(settings)}
    missing = sorted(named - params - own - SPECS.keys())  # metrics have groups named as sections
    assert not missing


def flatten(settings: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted names of settings and of groups of settings."""
    names = {prefix + name for name in settings}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            names |= flatten(value, f"{prefix}{name}.")
    return names


def sections(params: set[str]) -> list[str]:
    return sorted(name for name in params if "." not in name)


def test_imports_of_the_examples_exist() -> None:
    missing = []
    for document in PRESENT:
        for code in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.M | re.S):
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    names = [a.name for a in node.names if not hasattr(module, a.name)]
                    missing += [(document.name, node.module, name) for name in names]
    assert not missing


def test_traced_functions_exist() -> None:
    """The tables of architecture.md: a file, and the functions of it that are called."""
    rows = re.findall(
        r"^\| `([\w/.]+\.py)` \| ([^|]+) \|", (ROOT / "docs/architecture.md").read_text(), re.M
    )
    assert len(rows) > 20
    missing = []
    for path, functions in rows:
        defined = definitions(ast.parse((ROOT / path).read_text()))
        names = re.findall(r"`([\w.]+)`", functions)
        missing += [(path, name) for name in names if name not in defined]
    assert not missing


def test_the_tree_of_folders_is_complete() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    folders = {
        path.parent.name
        for folder in (ROOT / "src/vaelab", ROOT / "pipeline")
        for path in folder.glob("*/__init__.py")
    }
    assert not {name for name in folders if not re.search(rf"^  {name}/ ", text, re.M)}


def test_the_import_order_is_the_one_that_is_tested() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\d+\. (.*)$", text, re.M)]
    assert rows[:1:-1] == LAYERS


def definitions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    """Return the names of functions, classes, methods and constants."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= {prefix + name.id for name in node.targets if isinstance(name, ast.Name)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= definitions(node, f"{prefix}{node.name}.")
    return found


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
