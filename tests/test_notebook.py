"""docs/notebook.ipynb: its cells run as they stand, and its outputs name no machine."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from tests import ROOT

NOTEBOOK = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == kind]


@pytest.mark.slow
def test_the_cells_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown: list[int] = []

    def show() -> None:
        shown.append(len(plt.get_fignums()))
        plt.close()

    monkeypatch.setattr(plt, "show", show)
    found: dict[str, Any] = {}
    for cell in cells("code"):
        exec("".join(cell["source"]), found)
    assert shown == [1] * 5
    assert found["latents"].mean.shape == (200, 8)
    assert found["way"].shape == (10, 1, 8, 8)
    assert not [*tmp_path.iterdir()]
    # What the last cell prints: noise is explained worse.
    assert (
        found["found"]["nll_nats"]
        > 0
        > found["model"].score(found["images"][:50]).mean()["nll_nats"]
    )


def test_every_cell_has_run_in_order_and_names_no_folder_of_a_machine() -> None:
    assert [cell["execution_count"] for cell in cells("code")] == [
        *range(1, len(cells("code")) + 1)
    ]
    pictures = [output for cell in cells("code") for output in cell["outputs"] if "data" in output]
    assert sum("image/png" in output["data"] for output in pictures) == 5
    texts = ["".join(cell["source"]) for cell in NOTEBOOK["cells"]]
    texts += [
        str(output.get("text") or output["data"].get("text/plain"))
        for cell in cells("code")
        for output in cell["outputs"]
    ]
    # An absolute path, of two folders or more
    assert not [text for text in texts if re.search(r"(?<![\w:/.])/\w+/\w+", text)]
    assert (ROOT / "docs/notebook.ipynb").stat().st_size < 100_000


def test_its_pages_exist() -> None:
    last = "".join(NOTEBOOK["cells"][-1]["source"])
    for page in ("python.md", "command_line.md"):
        assert f"({page})" in last
        assert (ROOT / "docs" / page).is_file()
