"""The command line as a whole: help, errors, exit codes, and how a subcommand is found."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.commands.conftest import Run
from vaelab import commands
from vaelab.commands import build_parser, command_names

Refused = Callable[..., str]


def docstring(name: str) -> str:
    return importlib.import_module(f"vaelab.commands.{name}").__doc__ or ""


def test_each_file_is_a_subcommand_with_a_summary_and_examples(run: Run) -> None:
    assert {"encode", "sample"} <= set(command_names())
    text = run("--help")[1]
    for name in command_names():
        code, own, _ = run(name, "--help")
        assert code == 0
        assert f"\n  vaelab {name} " in own.partition("\nexamples:\n")[2]
        summary = docstring(name).partition("\n")[0]
        assert summary[:30].rstrip(".") in " ".join(text.split())


def test_the_examples_of_each_subcommand_can_be_parsed() -> None:
    parser = build_parser()
    for name in command_names():
        for example in docstring(name).partition("Examples:\n")[2].strip().splitlines():
            program, *words = example.split("  #")[0].split()
            assert program == "vaelab"
            assert parser.parse_args(words).run.__module__ == f"vaelab.commands.{name}"


def test_without_a_command_the_help_is_printed(run: Run) -> None:
    assert run() == run("--help")
    assert run("--version")[1].startswith("vaelab ")


def test_help_is_printed_without_pytorch(tmp_path: Path) -> None:
    """And `python -m vaelab` works in a folder without this project."""
    script = "import sys; from vaelab.commands import main\nmain({words}); " + (
        "assert not {'torch', 'matplotlib', 'scipy', 'mlflow'} & sys.modules.keys()"
    )
    code = script.replace("{words}", "[]")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    found = subprocess.run(
        [sys.executable, "-m", "vaelab", "smaple"], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: unknown command smaple; did you mean sample? valid: ")


def test_wrong_command_lines_are_refused_in_one_line(refused: Refused) -> None:
    assert refused("smaple").startswith("unknown command smaple; did you mean sample? valid: ")
    assert refused("sample") == (
        "the following arguments are required: MODEL, -o/--output; `vaelab sample --help` has "
        "examples"
    )
    for words, message in (
        (("--count", "0"), "argument --count: 0 is not a whole number of at least 1; `vaelab"),
        (("--count", "many"), "argument --count: many is not a whole number of at least 1; `"),
        (
            ("--seed", "-1"),
            "argument --seed: -1 is not a whole number of at least 0; `vaelab sample",
        ),
        (("--sauce", "prior"), "unrecognized arguments: --sauce prior; `vaelab --help`"),
        (("--source", "x"), "argument --source: invalid choice: 'x' (choose from "),
    ):
        assert refused("sample", "model", "-o", "a.png", *words).startswith(message)


def test_an_interruption_has_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vaelab.api.loading.load", interrupt)
    monkeypatch.setattr("vaelab.load", interrupt, raising=False)
    assert run("sample", "model", "-o", "a.png") == (
        130,
        "",
        "error: interrupted; no output was written\n",
    )


def test_the_console_script_is_this_command() -> None:
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"vaelab": "vaelab.commands:main"}
    assert callable(commands.main)
