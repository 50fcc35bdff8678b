"""`vaelab export`: a folder with the model, ONNX and a card."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.models import saved
from tests.commands.conftest import Run

Refused = Callable[..., str]


def test_the_files_are_written_and_named(run: Run, folder: Path) -> None:
    pytest.importorskip("onnxscript")
    saved(folder / "model", networks=("decoder",))
    code, out, err = run("export", "model", "-o", "new/model", "--license", "mit")
    assert code == 0
    assert err.startswith("note: the card has no measured numbers; --metrics ")
    assert out == (
        "new/model: README.md, config.json, decoder.onnx, preprocessing.json, weights.safetensors\n"
    )
    assert "license: mit\n" in Path("new/model/README.md").read_text()


def test_wrong_arguments_are_refused(
    folder: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(folder / "model")
    (folder / "full").mkdir()
    (folder / "full/mine").write_text("mine")
    for words, message in (
        (("none", "-o", "new"), "there is no folder none"),
        (("model", "-o", "full"), "full has files: --force replaces them"),
        (("model", "-o", "full/mine"), "full/mine is no folder: wanted one"),
        (("model", "-o", "new", "--license", "a b"), "license 'a b': wanted the name of one"),
        (("model", "-o", "new", "--metrics", "none"), "none: No such file or directory"),
    ):
        assert refused("export", *words).startswith(message)
    monkeypatch.setattr("vaelab.export.onnx_files.NEEDED", ("onnx", "no_such_package"))
    assert refused("export", "model", "-o", "new") == (
        "ONNX needs no_such_package: pip install no_such_package"
    )
    assert not Path("new").exists()
