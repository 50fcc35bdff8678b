"""Arguments that several subcommands have, and the model that they name."""

import argparse
from pathlib import Path

import vaelab


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and --device."""
    parser.add_argument("model", metavar="MODEL", help="folder or MLflow address of the model")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (the default: a GPU where there is one), cpu, cuda, cuda:1 or mps",
    )


def add_images(
    parser: argparse.ArgumentParser,
    resize: str = "fit pictures of another size than the model's; without, they are refused",
) -> None:
    """Add IMAGES and --resize, which `resize` explains."""
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
        help=resize,
    )


def add_output(parser: argparse.ArgumentParser, kinds: str, *, required: bool = True) -> None:
    """Add --output and --force; `kinds` says which endings the output may have."""
    text = f"what to write: {kinds}"
    parser.add_argument("-o", "--output", metavar="PATH", type=Path, required=required, help=text)
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a file of this name; in a folder, those of the same names and no others",
    )


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help=f"of {what} (default: %(default)s); the same seed gives the same numbers",
    )


def add_count(parser: argparse.ArgumentParser, name: str, default: int, text: str) -> None:
    """Add an option that is a whole number of at least 1."""
    parser.add_argument(
        name,
        type=whole_number,
        default=default,
        metavar="N",
        help=f"{text} (default: %(default)s)",
    )


def add_label(parser: argparse.ArgumentParser, of: str = "for a conditional model: ") -> None:
    """Add --label, the classes of the images that go in."""
    parser.add_argument(
        "--label",
        help=f"{of}the class of all images, by number or name; `folders`, where the folder of each "
        "image has the name of its class; or an .npy or .npz file of labels",
    )


def whole_number(text: str) -> int:
    """Return a whole number of at least 1."""
    return _number(text, 1)


def seed(text: str) -> int:
    """Return a seed."""
    return _number(text, 0)


def _number(text: str, low: int) -> int:
    value = int(text) if text.isdecimal() and len(text) < 19 else low - 1
    if value < low:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {low}")
    return value


def load_model(arguments: argparse.Namespace) -> "vaelab.TrainedModel":
    """Load the model that the arguments name. Raises UserError."""
    return vaelab.load(arguments.model, device=arguments.device)
