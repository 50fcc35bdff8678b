"""What the commands share: command line, settings, error messages and exit codes."""

import argparse
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline import paths
from vaelab.config import Settings, UserError, load_settings
from vaelab.runtime import command as library
from vaelab.runtime.host import Host, ends_with

# The command that recreates what lies in a folder; {force} reruns it alone.
REMEDIES = {
    paths.RAW: "dvc repro {force}download",
    paths.PREPARED: "dvc repro {force}prepare",
    paths.MODEL: "dvc repro {force}train",
    paths.TRAIN: "dvc repro {force}train",
    paths.EVALUATION_CLASSIFIER: "dvc repro {force}classifier",
    paths.EVALUATE: "dvc repro {force}evaluate",
    paths.COMPARISON_RAW: "make compare",
    paths.COMPARISON_PREPARED: "make compare",
    paths.COMPARISON_MODELS: "make compare",
    paths.COMPARISON: "make compare",
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
        settings = load_settings(params_file(arguments.params))
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


def params_file(path: Path) -> Path:
    """Return the settings file. Raises UserError in a folder that is not the project's."""
    if path == paths.PARAMS and not path.exists() and not path.is_symlink():
        here = Path.cwd()
        root = next((folder for folder in here.parents if (folder / path).is_file()), None)
        todo = f"type `cd {root}` first" if root else "type this command in the project's folder"
        raise UserError(f"there is no {path} in {here}: {todo}")
    return path


def parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return a command line parser with the option --params."""
    _enable_garbage_collection()
    made = argparse.ArgumentParser(
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

    library.run_command(watched_work, resume_hint, show_traceback, should_print, remedy)


def host(*, with_parent: bool = False, with_folder: bool = True) -> Host:
    """Return what this process works for: DVC if that runs a stage, and the current folder.

    After `dvc queue kill --force` both are gone. `with_parent`: its parent, whatever it is.
    """
    program = "dvc" if "DVC_STAGE" in os.environ else None
    return Host(program, with_parent=with_parent, with_folder=with_folder)


def _enable_garbage_collection() -> None:
    """Undo the gc.disable() of pipeline/__init__.py; what is imported by now stays."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def user_message(error: Exception) -> str | None:
    """Return the message for an error that a user can fix; None for a bug."""
    return library.user_message(error, remedy)


def remedy(path: Path) -> str:
    """Return the end of an error message: the command that recreates a path; "" if none does."""
    force = "-s -f " if path.exists() else ""
    for folder, command in REMEDIES.items():
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
