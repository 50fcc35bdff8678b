"""MNIST as the benchmarks use it, prepared once in a folder of its own."""

from pathlib import Path

from pipeline.download import download
from pipeline.prepare import work as prepare
from vaelab.config import parse_settings
from vaelab.data.dataset import INFO_FILE, PreparedData

FOLDER = Path(".benchmarks/mnist")


def mnist() -> PreparedData:
    """Open MNIST: downloaded the first time, through VAELAB_DATA_MIRROR where that is set."""
    prepared = FOLDER / "prepared"
    if not (prepared / INFO_FILE).is_file():
        settings = parse_settings({"data": {"name": "mnist"}})
        download(settings, FOLDER / "raw")
        prepare(settings, FOLDER / "raw", prepared)
    return PreparedData.load(prepared)
