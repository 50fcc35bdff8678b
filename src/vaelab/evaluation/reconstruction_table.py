"""The scores of reconstructions as a table: file, split, class, squared error, PSNR, SSIM."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.data.dataset import PreparedData
from vaelab.evaluation.latent_table import class_of
from vaelab.evaluation.reconstructions import PREFIX


def reconstruction_rows(
    data: PreparedData, arrays: Mapping[str, NDArray[Any]]
) -> list[dict[str, str]]:
    """Return a row for each test image, the worst reconstruction first; none without an encoder.

    `arrays` are those of the evaluation. Raises ArtifactError.
    """
    scores = {n.removeprefix(PREFIX): a for n, a in arrays.items() if n.startswith(PREFIX)}
    if not scores:
        return []
    names, labels = data.names("test"), class_of(data, "test")
    return [
        {
            "name": names[row],
            "split": "test",
            "label": labels[row],
            **{name: f"{values[row]:.6g}" for name, values in scores.items()},
        }
        for row in np.argsort(scores["psnr_db"], kind="stable")
    ]
