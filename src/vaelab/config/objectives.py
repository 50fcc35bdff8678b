"""Which objectives there are: the files of `objectives/`, so that a new file is a new choice."""

import difflib
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "objectives"


def objective_names() -> tuple[str, ...]:
    """Name every objective, in alphabetical order."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.py") if not p.stem.startswith("_")))


def check_objective(name: str) -> str:
    """Give the name back. Raises ValueError, with the nearest one, if there is no such file."""
    names = objective_names()
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"{name!r} is no objective; {hint}there are {', '.join(names)}")
