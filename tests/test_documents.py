"""What is written in Markdown: tables with a cell for each column, links and commands that lead."""

import re
from pathlib import Path

import pytest

from tests import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def prose(document: Path) -> str:
    """Leave out blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def cells(row: str) -> int:
    """Count a table row's cells; a bar within `code` or after a backslash divides none."""
    bare = re.sub(r"`[^`]*`|\\\|", "", row.strip())
    return bare.removeprefix("|").removesuffix("|").count("|") + 1


def anchors(document: Path) -> set[str]:
    """Name a document's headings as GitHub does."""
    headings = re.findall(r"^#+ (.*)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_rows_of_a_table_have_as_many_cells_as_its_head(document: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", prose(document), flags=re.MULTILINE)
    for table in tables:
        rows = table.splitlines()
        assert {row: cells(row) for row in rows} == dict.fromkeys(rows, cells(rows[0]))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_what_is_there(document: Path) -> None:
    for target, anchor in LINK.findall(prose(document)):
        found = (document.parent / target) if target else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), anchor


def test_commands_name_modules_targets_and_files_that_are_there() -> None:
    text = "".join(document.read_text() for document in DOCUMENTS)
    for module in set(re.findall(r"python -m ((?:pipeline|benchmarks)[\w.]*)", text)):
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    made = set(re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.MULTILINE))
    assert {"repro", "tune", "test"} <= made <= targets
    for path in set(re.findall(r"`((?:tests|benchmarks|docs|src|pipeline)/[\w./]+)`", text)):
        assert (ROOT / path).exists(), path
