"""Writes a study's winner into params.yaml; nothing else in it changes."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import cli, paths
from pipeline.params.edit import change_settings
from pipeline.study.trial_settings import epochs_note
from vaelab.config import UserError

CHOICES = ("best", "smallest")
# A comment in the winner's file: the epochs of a trial and of a finalist.
EPOCHS = "# searched with epochs: {}, compared with epochs: {}"


def apply_winner(params: Path, choice: str) -> None:
    """Set a winner's settings in params.yaml and print the difference.

    Raises UserError, and leaves the file as it was, if there is no winner or its settings are not
    valid together with the others.
    """
    changes = read_winner(choice)
    print(change_settings(params, changes))
    if note := read_epochs_note(choice, cli.load_params(params).train.epochs):
        print(note)
    print("`dvc repro` trains and evaluates a model with them")


def read_winner(choice: str) -> dict[str, Any]:
    """Return the settings of a study's winner, by dotted name."""
    path = paths.TUNE / f"{choice}.yaml"
    if not path.is_file():
        reason = "; no latent sizes were compared" if choice == "smallest" else ""
        raise UserError(f"{path}: not found{reason}; `make tune` writes it")
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        return {f"{s}.{key}": value for s, keys in content.items() for key, value in keys.items()}
    except (YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not in the format of `make tune`; run it again") from error


def read_epochs_note(choice: str, trained: int) -> str | None:
    """Return a line if a winner was found at other epochs than `trained`, and the file says so."""
    text = (paths.TUNE / f"{choice}.yaml").read_text(encoding="utf-8")
    found = re.search(EPOCHS.format(r"(\d+)", r"(\d+)"), text)
    return epochs_note(int(found[1]), int(found[2]), trained) if found else None
