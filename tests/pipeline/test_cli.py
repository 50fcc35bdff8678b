"""Error messages for a full disk, a read-only folder, a lack of memory, a damaged file, a bug."""

import ast
import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ruamel.yaml import YAML

from pipeline import (
    classifier,
    cli,
    diff,
    download,
    evaluate,
    paths,
    prepare,
    render,
    report,
    train,
    tune,
)
from pipeline.comparison import data as comparison_data
from pipeline.study import dashboard
from pipeline.tracking import __main__ as sync
from pipeline.tracking import promote, store, ui
from tests import ROOT
from vaelab.config import ArtifactError, Settings, UserError
from vaelab.runtime import threads
from vaelab.runtime.files import annotate_oserror, write_atomically, write_text
from vaelab.runtime.locks import exclusive_lock
from vaelab.runtime.memory import is_lack_of_memory


def printed_error(error: Exception, capsys: pytest.CaptureFixture[str], **options: bool) -> str:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        cli.run_command(fail, "", show_traceback=lambda: options.get("traceback", False))
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("data.name: no such\ndata set"), "data.name: no such data set"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "results"), "results: Permission denied"),
        (MemoryError("5 GiB"), "not enough memory: 5 GiB"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory: CUDA out of memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "not enough memory: [enforce fail] DefaultCPUAllocator: can't allocate memory",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed_error(error, capsys) == f"error: {message}\n"


@pytest.mark.parametrize(
    "stage", ["download", "prepare", "train", "sampler", "classifier", "evaluate"]
)
def test_the_remedy_for_an_artifact_names_the_stage_that_makes_it(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in [Path(out) for out in outs(stage)]:
        error = ArtifactError(out, "is empty")
        assert cli.remedy(out) == f"; `dvc repro {stage}` recreates it"
        write_text(out, "")
        assert cli.remedy(out) == f"; `dvc repro -s -f {stage}` recreates it"
        assert cli.user_message(error) == f"{out}: is empty{cli.remedy(out)}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (paths.MODEL, "there is no model yet; `dvc repro train` trains it"),
        (paths.HISTORY, "there is no model yet; `dvc repro train` trains it"),
        (paths.RAW, "there are no downloaded data yet; `dvc repro download` downloads them"),
        (paths.PREPARED, "there are no prepared data yet; `dvc repro prepare` prepares them"),
        (paths.SAMPLER, "there is no sampler yet; `dvc repro sampler` fits it"),
        (
            paths.EVALUATE_METRICS,
            "there is no evaluation yet; `dvc repro evaluate` measures the model",
        ),
        (paths.COMPARISON_TABLE, "there is no comparison yet; `make compare` makes one"),
    ],
)
def test_what_no_stage_has_made_yet_is_not_said_to_be_damaged(
    path: Path, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for error in (
        ArtifactError(path, "cannot be loaded"),
        FileNotFoundError(2, "No such file or directory", str(path)),
    ):
        assert cli.user_message(error) == f"{path}: {message}"
    path.parent.mkdir(parents=True)
    write_text(path / "left", "")
    assert "yet" not in (cli.user_message(ArtifactError(path, "is empty")) or "")


def test_a_stage_before_the_training_says_that_there_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else, although other programs leave no core free."""
    (tmp_path / "params.yaml").write_text("machine: {device: cpu}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage"])
    monkeypatch.setattr(store, "open_store", lambda settings: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "free_cores", lambda: 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    with pytest.raises(SystemExit):
        evaluate.main()
    assert capsys.readouterr().err == (
        "error: models/model: there is no model yet; `dvc repro train` trains it\n"
    )


def outs(stage: str) -> list[str]:
    described = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"][stage]
    return [*described.get("outs", ()), *described.get("metrics", ())]


def test_there_is_no_remedy_for_a_file_of_the_users() -> None:
    assert cli.user_message(ArtifactError(Path("images"), "is empty")) == "images: is empty"
    assert cli.user_message(FileNotFoundError(2, "missing", "params.yaml")) == (
        "params.yaml: missing"
    )
    assert cli.remedy(paths.COMPARISON_TABLE) == "; `make compare` recreates it"


def test_the_library_names_no_command_and_no_tool_of_the_pipeline() -> None:
    named = re.compile(r"\b(dvc|mlflow|optuna|torchrun -|python -m)\b|`make |\brepro\b", re.I)
    library = ROOT / "src/vaelab"
    # Models are loaded by their MLflow addresses there.
    loaders = {library / "api", library / "commands"}
    inside = (path for path in library.rglob("*.py") if not loaders & {*path.parents})
    for path in sorted(inside):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = named.search(node.value)
                assert not found, f"{path}:{node.lineno} names {found and found.group()!r}"


def test_every_folder_of_modules_is_a_package_and_so_is_installed() -> None:
    for top in (ROOT / "src/vaelab", ROOT / "pipeline"):
        for path in top.rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_a_traceback_is_shown_if_show_traceback_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    printed = printed_error(UserError("wrong"), capsys, traceback=True)
    assert printed.startswith("Traceback")
    assert printed.endswith("error: wrong\n")


def test_machine_traceback_shows_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Settings) -> None:
        raise UserError("wrong")

    (tmp_path / "params.yaml").write_text("machine: {traceback: true}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit):
        cli.run(fail, "")
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_not_made_to_look_like_a_mistake_of_the_users() -> None:
    def fail() -> None:
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        cli.run_command(fail, "")
    assert not is_lack_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def fill(partial: Path) -> None:
        partial.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, fill)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_what_a_killed_writer_left_is_removed_and_what_another_one_writes_is_not(
    tmp_path: Path,
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, other = (tmp_path / f".{name}.{ended.pid}.tmp" for name in ("a[1].csv", "b.csv"))
    alive = tmp_path / f".a[1].csv.{os.getppid()}.tmp"
    for left in (dead, other, alive):
        left.write_text("half of it")
    write_text(tmp_path / "a[1].csv", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([alive.name, other.name, "a[1].csv"])


def test_an_error_that_names_its_file_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, annotate_oserror(tmp_path):
        (tmp_path / "missing").read_text()
    assert caught.value.filename == str(tmp_path / "missing")


def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "lock", "vae"):
        (tmp_path / "lock.holder").write_text("not JSON")
        with (
            pytest.raises(UserError, match="another process is already training here"),
            exclusive_lock(tmp_path / "lock", "gan"),
        ):
            pass


@pytest.mark.parametrize("stage", [download, prepare, train, classifier, evaluate, report, render])
def test_every_stage_explains_itself(
    stage: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "--help"])
    with pytest.raises(SystemExit) as caught:
        stage.main()
    assert caught.value.code == 0
    assert "--params" in capsys.readouterr().out


def in_a_stage(work: str, folder: Path, **limits: int) -> "subprocess.CompletedProcess[str]":
    """Run lines of Python as a stage's work, in a process with limits."""

    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))

    script = "from pipeline import cli\n" + work + "\ncli.run_command(work, '')\n"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_real_limit_on_files_ends_with_one_line(tmp_path: Path) -> None:
    """The system refuses to write more than 64 KiB to a file, as a full disk would."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/arrays.npz").write_bytes(b"old")
    work = (
        "from pathlib import Path\nimport numpy as np\n"
        "from vaelab.runtime.serialization import write_arrays\n"
        "def work(): write_arrays(Path('results/arrays.npz'), {'a': np.zeros(100_000)})"
    )
    found = in_a_stage(work, tmp_path, RLIMIT_FSIZE=2**16)
    assert (found.returncode, found.stderr) == (2, "error: results/arrays.npz: File too large\n")
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["arrays.npz"]
    assert (tmp_path / "results/arrays.npz").read_bytes() == b"old"


def test_a_real_lack_of_memory_ends_with_one_line(tmp_path: Path) -> None:
    work = "import torch\ndef work(): torch.zeros(2**40)"
    found = in_a_stage(work, tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith("error: not enough memory: ")
    assert found.stderr.count("\n") == 1


def test_in_a_sub_folder_the_project_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs/images"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"no params\.yaml in .*images: type this command in the"):
        cli.params_file(paths.PARAMS)
    (tmp_path / paths.PARAMS).write_text("")
    with pytest.raises(UserError, match=f"images: type `cd {tmp_path}` first"):
        cli.params_file(paths.PARAMS)
    assert cli.params_file(Path("other.yaml")) == Path("other.yaml")


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (diff, ["a", "b"]),
        (train, []),
        (tune, []),
        (tune, ["tune.trials=1"]),
        (tune, ["--apply"]),
        (dashboard, []),
        (promote, []),
        (sync, ["sync"]),
        (ui, []),
        (comparison_data, []),
    ],
)
def test_every_command_names_the_project_in_a_sub_folder(
    module: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in (paths.PARAMS, paths.COMPARISON_PARAMS):
        write_text(tmp_path / path, "")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as caught:
        module.main()
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: there is no \S*params\.yaml in \S+/docs: type `cd {tmp_path}` first\n", printed
    )


@pytest.mark.parametrize("module", [train, promote])
def test_a_setting_after_a_command_is_told_where_it_belongs(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "; settings are given in params.yaml, or with `dvc exp run -S section.key=value`\n"
    for argument, end in (("train.kl_weight=1", where), ("--epochs=1", "\n"), ("now", "\n")):
        monkeypatch.setattr(sys, "argv", ["command", argument])
        with pytest.raises(SystemExit) as caught:
            module.main()
        assert caught.value.code == 2
        last = capsys.readouterr().err.splitlines(keepends=True)[-1]
        assert last.endswith(f" error: unrecognized arguments: {argument}{end}")


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A params.yaml in git, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    paths.PARAMS.write_text("train: {kl_weight: 1, epochs: 0}\nmodel: {channels: [16, 32]}\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "settings"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], check=True)
    return tmp_path


def undone(before: str, after: str) -> str:
    """Return how the error ends after a change of params.yaml."""
    paths.PARAMS.write_text(paths.PARAMS.read_text().replace(before, after))
    with pytest.raises(UserError) as caught:
        cli.load_params(paths.PARAMS)
    message, stands, end = str(caught.value).partition("; it stands in ")
    assert message.startswith("params.yaml: ")
    return stands + end


UNDO = "; it stands in params.yaml: `git checkout params.yaml` takes back all changes there"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kl_weight: 1, epochs: 0", "kl_weight: -1, epochs: 1"),
        ("kl_weight: 1", "kl_weight: 1, kl_wieght: 4"),
        ("[16, 32]", "[16, 0]"),
        ("model:", "mdoel: {}\nmodel:"),
    ],
)
@pytest.mark.usefixtures("committed")
def test_a_refused_setting_that_is_new_is_said_to_stay_in_the_file(before: str, after: str) -> None:
    assert undone(before, after) == UNDO


@pytest.mark.usefixtures("committed")
def test_an_older_mistake_is_not_to_be_undone_with_git() -> None:
    """What is refused, train.epochs, is committed; another setting is changed."""
    assert undone("kl_weight: 1", "kl_weight: 2") == ""


def test_nothing_is_undone_without_git_or_in_a_temporary_copy(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(committed.parent))
    assert undone("kl_weight: 1", "kl_weight: -1") == ""
    monkeypatch.delenv("DVC_ROOT")
    assert undone("", "") == UNDO
    shutil.rmtree(committed / ".git")
    assert undone("", "") == ""


def test_outside_the_environment_one_line_says_how_to_get_there() -> None:
    command = [sys.executable, "-S", "-m", "pipeline.train"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 1
    assert re.fullmatch(
        r"error: .* is not the project's Python: type `make repro`.*\n", found.stderr
    )
