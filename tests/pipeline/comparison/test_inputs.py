"""What the comparison's stages depend on, outside of their DVC project."""

from pathlib import Path

import pytest

from pipeline import paths
from pipeline.comparison import inputs
from vaelab.config import DataSettings


def test_the_users_images_are_listed_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    image = tmp_path / "cats/a.png"
    image.write_bytes(b"1234")
    settings = DataSettings(name="folder", folder=tmp_path)
    before = inputs.list_images(settings)
    assert before == [("cats/a.png", 4, image.stat().st_mtime_ns)]
    image.write_bytes(b"12345")
    assert inputs.list_images(settings) != before
    assert inputs.list_images(DataSettings(name="mnist", folder=tmp_path)) == []


def test_code_is_copied_without_what_python_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pipeline/cli.py", "pipeline/__pycache__/cli.pyc", "src/vaelab/config/page.css"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    project = tmp_path / paths.COMPARISON_PROJECT
    (project / ".dvc/tmp").mkdir(parents=True)
    for name in ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/tmp/lock"):
        (project / name).write_text("{}")
    inputs.inputs()
    copied = {p.relative_to(paths.COMPARISON_INPUTS) for p in paths.COMPARISON_INPUTS.rglob("*.*")}
    assert {str(path) for path in copied} == {
        "images.json",
        "pipeline/cli.py",
        "src/vaelab/config/page.css",
    }


@pytest.mark.parametrize("project", [".", "pipeline/comparison"])
def test_the_comparisons_stages_have_the_same_working_copy_as_the_others(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / project))
    assert paths.workspace_root() == tmp_path.resolve()
