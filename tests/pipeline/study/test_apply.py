"""Winners that cannot be applied, and files that cannot be edited, leave params.yaml as it was."""

import re
import shutil
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.study.apply import EPOCHS, apply_winner
from tests import ROOT
from vaelab.config import UserError


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("best", "results/tune/best.yaml: not found; `make tune` writes it"),
        (
            "smallest",
            "smallest.yaml: not found; no latent sizes were compared; `make tune` writes it",
        ),
    ],
)
def test_a_winner_that_is_missing_is_a_users_error(
    choice: str, message: str, workdir: Path
) -> None:
    shutil.copy(ROOT / "params.yaml", workdir)
    before = (workdir / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        apply_winner(Path("params.yaml"), choice)
    assert "\n" not in str(caught.value)
    assert (workdir / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "best.yaml: not in the format of `make tune`"),
        ("3", "best.yaml: not in the format of `make tune`"),
        ("model: 3", "best.yaml: not in the format of `make tune`"),
        ("", "best.yaml: not in the format of `make tune`"),
        ("model: {latent_dims: 3}", "unknown setting model.latent_dims; did you mean"),
        ("model: {latent_dim: 0}", "model.latent_dim: .*greater than or equal to 1"),
        ("modle: {latent_dim: 3}", "unknown setting modle; did you mean model"),
    ],
)
def test_a_winner_that_does_not_fit_is_a_users_error(
    text: str, message: str, workdir: Path
) -> None:
    shutil.copy(ROOT / "params.yaml", workdir)
    before = (workdir / "params.yaml").read_bytes()
    paths.TUNE.mkdir(parents=True)
    (paths.TUNE / "best.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        apply_winner(Path("params.yaml"), "best")
    assert "\n" not in str(caught.value)
    assert (workdir / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {latent_dim: 1}\nmodel: {latent_dim: 2}\n", "not valid YAML: .* duplicate key"),
        ("model: {latent_dim: 1\n", "not valid YAML: .*expected ',' or '}'"),
        ("model:\n", "model: must be a mapping"),
        ("- model\n", "must be a mapping of sections"),
        ("render: &r {seed: 1}\nmodel: {latent_dim: 1}\ntrain: *r\n", "cannot be set without"),
    ],
)
def test_a_file_that_cannot_be_edited_is_a_users_error(
    text: str, message: str, workdir: Path
) -> None:
    params = workdir / "params.yaml"
    params.write_text(text)
    paths.TUNE.mkdir(parents=True)
    (paths.TUNE / "best.yaml").write_text("model: {latent_dim: 3}\ntrain: {seed: 2}\n")
    with pytest.raises(UserError, match=message) as caught:
        apply_winner(params, "best")
    assert "\n" not in str(caught.value)
    assert params.read_text() == text


@pytest.mark.parametrize(
    ("epochs", "note"),
    [
        (
            (4, 4),
            "found at 4 epochs; `dvc repro` will train for 100 (with tune.finalist",
        ),
        (
            (4, 50),
            "found at 4 epochs, compared with the other finalists at 50; `dvc repro` will train "
            "for 100 (with",
        ),
        ((4, 100), "found at 4 epochs, compared with the other finalists at 100; `dvc"),
        ((100, 100), None),
        (None, None),
    ],
)
def test_other_epochs_than_those_of_the_study_are_said_in_one_line(
    epochs: tuple[int, int] | None,
    note: str | None,
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(ROOT / "params.yaml", workdir)
    paths.TUNE.mkdir(parents=True)
    comment = f"{EPOCHS.format(*epochs)}\n" if epochs else ""
    (paths.TUNE / "best.yaml").write_text(f"# study 'x'\n{comment}model: {{latent_dim: 3}}\n")
    apply_winner(Path("params.yaml"), "best")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("found at")]
    assert [line.startswith(note or "?") for line in lines] == [True] * (note is not None)
    assert all(("with tune.finalist_epochs" in line) == (epochs != (4, 100)) for line in lines)
