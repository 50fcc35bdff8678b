"""Figures as files: the one place where they are written."""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.figure import Figure

from vaelab.runtime.files import write_atomically

SUFFIXES = (".png", ".svg", ".pdf")
# Without dates, so that equal figures are equal files.
_METADATA: dict[str, dict[str, None]] = {
    "png": {},
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": {"CreationDate": None},
}


def figure_bytes(figure: Figure, name: str, extension: str, dpi: int) -> bytes:
    """Return a figure as the content of a file, always the same for the same figure.

    The ids of SVG elements depend on the name, so that several figures can be in one page.
    """
    buffer, canvas, before = io.BytesIO(), figure.canvas, figure.dpi
    # `savefig` draws a figure twice, the first time for its layout.
    try:
        figure.dpi = dpi
        drawn: Any = get_registered_canvas_class(extension)(figure)
        with matplotlib.rc_context({"svg.hashsalt": name}):
            getattr(drawn, f"print_{extension}")(buffer, metadata=_METADATA[extension])
    finally:
        figure.set_canvas(canvas)
        figure.dpi = before
    return buffer.getvalue()


def figure_files(
    figure: Figure, name: str, extensions: Sequence[str], dpi: int
) -> dict[str, bytes]:
    """Return the content of a figure's files, by file name."""
    return {f"{name}.{e}": figure_bytes(figure, name, e, dpi) for e in extensions}


def write_figures(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files of all figures, and remove those of earlier figures."""
    for file, content in contents.items():
        write_atomically(folder / file, partial(Path.write_bytes, data=content))
    for path in folder.iterdir():
        if path.suffix in SUFFIXES and path.name not in contents:
            path.unlink()
