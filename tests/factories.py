"""Prepared data for tests, as the prepare stage writes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaelab.data.dataset import SPLITS, DatasetInfo, SplitName, array_file
from vaelab.runtime.files import sha256, write_text


def write_prepared(
    folder: Path,
    images: Mapping[SplitName, np.ndarray],
    labels: Mapping[SplitName, np.ndarray] | None = None,
    **changes: Any,
) -> None:
    """Write the images and labels of each split, and a dataset.json with some values changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        np.save(folder / array_file(split, "images"), images[split])
        if labels:
            np.save(folder / array_file(split, "labels"), labels[split])
    given: dict[str, Any] = {
        "name": "folder",
        "image_shape": images["train"].shape[1:],
        "counts": {split: len(images[split]) for split in SPLITS},
        "class_names": ("left", "right") if labels else None,
        "factor_names": None,
        "levels": 256,
        "binarization": "none",
        "seed": 0,
        "sha256": {path.name: sha256(path) for path in sorted(folder.glob("*.npy"))},
        "origin": "generated",
    }
    write_text(folder / "dataset.json", DatasetInfo(**given | changes).model_dump_json())
