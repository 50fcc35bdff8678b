"""What the commands share: command line, settings, error messages and exit codes."""

import argparse
import atexit
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import paths
from vaelab.config import ArtifactError, Settings, UserError, load_settings, read_yaml
from vaelab.runtime import command as library
from vaelab.runtime.host import Host, ends_with


class Remedy(NamedTuple):
    """The command that recreates what lies in a folder, and words for when nothing is there yet.

    {force} reruns the command alone.
    """

    command: str
    missing: str
    does: str


TRAINED = Remedy("dvc repro {force}train", "is no model", "trains it")
COMPARED = Remedy("make compare", "is no comparison", "makes one")
REMEDIES = {
    paths.RAW: Remedy("dvc repro {force}download", "are no downloaded data", "downloads them"),
    paths.PREPARED: Remedy("dvc repro {force}prepare", "are no prepared data", "prepares them"),
    paths.MODEL: TRAINED,
    paths.TRAIN: TRAINED,
    paths.SAMPLER: Remedy("dvc repro {force}sampler", "is no sampler", "fits it"),
    paths.EVALUATION_CLASSIFIER: Remedy(
        "dvc repro {force}classifier", "is no classifier", "trains it"
    ),
    paths.EVALUATE: Remedy("dvc repro {force}evaluate", "is no evaluation", "measures the model"),
    paths.COMPARISON_RAW: COMPARED,
    paths.COMPARISON_PREPARED: COMPARED,
    paths.COMPARISON_MODELS: COMPARED,
    paths.COMPARISON: COMPARED,
}


def run(
    work: Callable[[Settings], None],
    description: str | None,
    should_print: Callable[[str], bool] = lambda message: True,
    *,
    launched: bool = False,
) -> None:
    """Read params.yaml and run a stage. A user error is printed as one line, with exit code 2.

    `should_print` decides whether this process prints an error message. `launched` says that
    another process of the stage has started this one and watches the folder.
    """
    arguments = parser(
        description, "`dvc repro` runs all stages that are out of date."
    ).parse_args()
    show_traceback = False

    def run_stage() -> None:
        nonlocal show_traceback
        settings = load_params(arguments.params)
        show_traceback = settings.machine.traceback
        work(settings)

    hint = "`dvc repro` continues from here"
    run_command(
        run_stage,
        hint,
        lambda: show_traceback,
        should_print,
        host(with_folder=not launched),
    )


def load_params(path: Path, load: Callable[[Path], Settings] = load_settings) -> Settings:
    """Read the settings file. Raises UserError, which says how an uncommitted mistake is undone."""
    params_file(path)
    try:
        return load(path)
    except UserError as error:
        raise UserError(f"{error}{how_to_undo(path, str(error))}") from error


def how_to_undo(path: Path, message: str) -> str:
    """Return the end of an error message of a setting that is not as in git's HEAD; else ""."""
    if paths.workspace_root() != Path.cwd():
        return ""  # DVC's temporary copy of the project, which is thrown away
    named = {re.sub(r"[.\d]+$", "", name) for name in re.findall(r"[\w.]+", message)}
    if named.isdisjoint(uncommitted_settings(path)):
        return ""
    return f"; it stands in {path}: `git checkout {path}` takes back all changes there"


def uncommitted_settings(path: Path) -> set[str]:
    """Return the names of the settings that git's HEAD has otherwise; none without git."""
    command = ["git", "show", f"HEAD:./{path.name}"]
    try:
        shown = subprocess.run(command, cwd=path.parent, capture_output=True, check=True)  # noqa: S603
        before = dict(_names(YAML(typ="safe", pure=True).load(shown.stdout)))
        after = dict(_names(read_yaml(path)))
    except (OSError, ValueError, YAMLError, subprocess.CalledProcessError):
        return set()
    sections = {name for name in before if "." not in name}
    changed = {name for name, value in after.items() if name not in before or before[name] != value}
    return changed - sections


def _names(content: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Return the settings of a mapping, and the groups of them, by dotted name."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        yield f"{prefix}{key}", value
        yield from _names(value, f"{prefix}{key}.")


def params_file(path: Path) -> Path:
    """Return the settings file. Raises UserError in a folder that is not the project's."""
    is_own = path in (paths.PARAMS, paths.COMPARISON_PARAMS)
    if is_own and not path.exists() and not path.is_symlink():
        here = Path.cwd()
        root = next((folder for folder in here.parents if (folder / path).is_file()), None)
        todo = f"type `cd {root}` first" if root else "type this command in the project's folder"
        raise UserError(f"there is no {path} in {here}: {todo}")
    return path


class Parser(argparse.ArgumentParser):
    """A parser that says where settings belong."""

    def error(self, message: str) -> NoReturn:
        """Print a mistake on the command line, and exit with code 2."""
        if re.search(r"unrecognized arguments:.* [\w.]+=", message):
            message += (
                "; settings are given in params.yaml, or with `dvc exp run -S section.key=value`"
            )
        super().error(message)


def parser(description: str | None, epilog: str | None = None) -> Parser:
    """Return a command line parser with the option --params."""
    _enable_garbage_collection()
    made = Parser(
        prog=f"python -m {spec.name}" if (spec := sys.modules["__main__"].__spec__) else None,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--params", type=Path, default=paths.PARAMS, help="settings file (default: %(default)s)"
    )
    return made


def run_command(
    work: Callable[[], None],
    resume_hint: str,
    show_traceback: Callable[[], bool] = lambda: False,
    should_print: Callable[[str], bool] = lambda message: True,
    watched: Host | None = None,
) -> None:
    """Run a command, as `vaelab.runtime.command` does, with the commands that recreate files.

    It is interrupted when a part of `watched`, or else of `host()`, is gone.
    """
    _enable_garbage_collection()

    def watched_work() -> None:
        with ends_with(watched or host()):
            work()

    library.run_command(watched_work, resume_hint, show_traceback, should_print, user_message)


def host(*, with_parent: bool = False, with_folder: bool = True) -> Host:
    """Return what this process works for: DVC if that runs a stage, and the current folder.

    After `dvc queue kill --force` both are gone. `with_parent`: its parent, whatever it is.
    """
    program = "dvc" if "DVC_STAGE" in os.environ else None
    return Host(program, with_parent=with_parent, with_folder=with_folder)


def _enable_garbage_collection() -> None:
    """Undo the gc.disable() of pipeline/__init__.py; what is imported by now stays.

    At the end nothing is collected: that takes a quarter of a second, for memory that is freed
    all the same.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
        atexit.register(gc.freeze)


def user_message(error: Exception) -> str | None:
    """Return the message for an error that a user can fix; None for a bug."""
    return not_made_yet(error) or library.user_message(error, remedy)


def not_made_yet(error: Exception) -> str | None:
    """Return the message for an error of which the folder is not there; None for any other."""
    path: Any = None
    if isinstance(error, ArtifactError):
        path = error.path
    elif isinstance(error, FileNotFoundError):
        path = error.filename
    for folder, (command, missing, does) in REMEDIES.items():
        if path and Path(path).is_relative_to(folder) and not folder.exists():
            return f"{path}: there {missing} yet; `{command.format(force='')}` {does}"
    return None


def remedy(path: Path) -> str:
    """Return the end of an error message: the command that recreates a path; "" if none does."""
    force = "-s -f " if path.exists() else ""
    for folder, (command, *_) in REMEDIES.items():
        if path.is_relative_to(folder):
            return f"; `{command.format(force=force)}` recreates it"
    return ""


def how_images_travel(folder: Path) -> str:
    """Return the end of an error message: how images get into DVC's temporary copy of the project.

    "" where this is no such copy, or the folder is outside of it.
    """
    root = paths.workspace_root()
    if root == Path.cwd() or folder.is_absolute():
        return ""
    placeholder = folder / ".gitignore"
    # DVC refuses a folder of which git tracks a file.
    removal = f"git rm -q {placeholder} && " if placeholder.is_file() else ""
    return (
        f"; this is a temporary copy of {root}, without the files that git ignores: type `{removal}"
        f"dvc add {folder}` there and commit {folder}.dvc, or set data.folder to an absolute path"
    )
