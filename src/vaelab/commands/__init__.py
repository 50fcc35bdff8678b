"""The command line: `vaelab sample models/model --output samples.png`.

Each file is a subcommand; its name, without `.py`, is what users type. Its docstring is the text of
`--help`, with the examples after a line "Examples:"; `add_arguments(parser)` declares its arguments
and `run(arguments)` does it. A subcommand imports PyTorch only in `run`, so that `--help` is quick.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vaelab.config import UserError
from vaelab.config.choices import unknown_message
from vaelab.runtime.command import run_command

DESCRIPTION = "Use trained variational autoencoders, and train them, on files and folders."
EXAMPLES = """\
  vaelab sample models/model --output samples.png
  vaelab encode models/model photos/ --output latents.csv

MODEL is the folder of a trained model, or its address in MLflow, such as runs:/<run id>/model or
models:/<name>@<alias>. `vaelab COMMAND --help` shows the options and examples of a command."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose options are not abbreviated."""

    def __init__(self, **options: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(**options, allow_abbrev=False, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message}; `{self.prog} --help` has examples")


class Version(argparse.Action):
    """Print the version of the installed package."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Look it up only when it is asked for."""
        from importlib.metadata import version

        print(f"vaelab {version('vaelab')}")
        parser.exit()


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line. What a user can fix is one line, with exit code 2."""
    given = sys.argv[1:] if words is None else list(words)
    run_command(lambda: _run(given), resume_hint="no output was written")


def command_names() -> list[str]:
    """Return the names of all subcommands, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(prog="vaelab", description=DESCRIPTION, epilog=f"examples:\n{EXAMPLES}")
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name in command_names():
        module = importlib.import_module(f"{__name__}.{name}")
        text, _, examples = (module.__doc__ or "").partition("\n\nExamples:\n")
        own = commands.add_parser(
            name,
            help=text.partition("\n")[0].rstrip("."),
            description=text,
            epilog=f"examples:\n{examples.rstrip()}",
        )
        module.add_arguments(own)
        own.set_defaults(run=module.run)
    return parser


def _run(words: Sequence[str]) -> None:
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and name not in command_names():
        raise UserError(unknown_message("command", name, command_names()))
    parser = build_parser()
    arguments = parser.parse_args(words)
    if "run" not in arguments:
        parser.print_help()
        return
    arguments.run(arguments)
