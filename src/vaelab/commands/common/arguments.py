"""Arguments that several subcommands have, and the model that they name."""

import argparse
from collections.abc import Callable
from pathlib import Path

import vaelab


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and --device."""
    parser.add_argument("model", metavar="MODEL", help="folder or MLflow address of the model")
    parser.add_argument(
        "--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1 or mps"
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add IMAGES and --resize."""
    parser.add_argument(
        "images",
        metavar="IMAGES",
        nargs="+",
        type=Path,
        help="image files, folders of them, or .npy and .npz files of arrays",
    )
    parser.add_argument(
        "--resize",
        choices=("crop", "pad", "stretch"),
        help="fit pictures of another size than the model's; without, they are refused",
    )


def add_output(parser: argparse.ArgumentParser, kinds: str) -> None:
    """Add --output and --force; `kinds` says which endings the output may have."""
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=Path, required=True, help=f"what to write: {kinds}"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a file of this name; in a folder, those of the same names and no others",
    )


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        type=number("a seed", 0, 2**63 - 1),
        default=0,
        help=f"of {what} (default: %(default)s); the same seed gives the same numbers",
    )


def add_count(parser: argparse.ArgumentParser, name: str, default: int, text: str) -> None:
    """Add an option that is a whole number of at least 1."""
    parser.add_argument(
        name,
        type=number("a whole number", 1, 10**9),
        default=default,
        metavar="N",
        help=f"{text} (default: %(default)s)",
    )


def add_label(parser: argparse.ArgumentParser) -> None:
    """Add --label, the classes of the images that go in."""
    parser.add_argument(
        "--label",
        help="for a conditional model: the class of all images, by number or name; `folders`, "
        "where the folder of each image has the name of its class; or an .npy file of labels",
    )


def number(what: str, low: int, high: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        value = int(text) if text.removeprefix("-").isdecimal() else low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not {what} of at least {low}")
        return value

    return parse


def load_model(arguments: argparse.Namespace) -> "vaelab.TrainedModel":
    """Load the model that the arguments name. Raises UserError."""
    return vaelab.load(arguments.model, device=arguments.device)
