"""Settings whose values are names of files: a new file in the folder is a new valid value."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

Kind = Literal["objective", "network", "prior", "sampler"]
PACKAGE = Path(__file__).parent.parent
FOLDERS: dict[Kind, Path] = {
    "objective": PACKAGE / "objectives",
    "network": PACKAGE / "models/networks",
    "prior": PACKAGE / "models/priors",
    "sampler": PACKAGE / "samplers",
}
AUTO: Literal["auto"] = "auto"
"""Value of `model.prior` for the objective's default, and of sizes that follow from the images."""
NO_SAMPLER = "prior"
"""Value of `sampler.name` that fits nothing: latents are sampled from the model's prior."""


def objective_names() -> tuple[str, ...]:
    """Return the names of all objectives, sorted."""
    return _file_names("objective")


def network_names() -> tuple[str, ...]:
    """Return the names of all networks, sorted."""
    return _file_names("network")


def prior_names() -> tuple[str, ...]:
    """Return the names of all priors, sorted."""
    return _file_names("prior")


def sampler_names() -> tuple[str, ...]:
    """Return the names of all samplers, sorted."""
    return _file_names("sampler")


def unknown_message(what: str, name: str, valid: Sequence[str], prefix: str = "") -> str:
    """Return one line that lists the valid names and suggests the nearest."""
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f"did you mean {prefix}{near[0]}? " if near else ""
    return f"unknown {what} {prefix}{name}; {hint}valid: {', '.join(valid)}"


def _file_names(kind: Kind) -> tuple[str, ...]:
    files = FOLDERS[kind].glob("*.py")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def _name_of_a_file(kind: Kind, others: Iterable[str] = ()) -> AfterValidator:
    def check(name: str) -> str:
        valid = (*others, *_file_names(kind))
        if name not in valid:
            raise ValueError(unknown_message(kind, name, valid))
        return name

    return AfterValidator(check)


ObjectiveName = Annotated[str, _name_of_a_file("objective")]
NetworkName = Annotated[str, _name_of_a_file("network")]
PriorName = Annotated[str, _name_of_a_file("prior")]
PriorChoice = Annotated[str, _name_of_a_file("prior", others=[AUTO])]
SamplerName = Annotated[str, _name_of_a_file("sampler")]
SamplerChoice = Annotated[str, _name_of_a_file("sampler", others=[NO_SAMPLER])]
