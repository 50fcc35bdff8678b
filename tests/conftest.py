"""What all tests share. With VAELAB_CHECK_TYPES=1, as in .ci/run, shapes and types are checked."""

import os

# Before anything imports MLflow or Matplotlib.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

import tests.shapes  # noqa: F401  the hook looks it up by name

# Checks at run time take a quarter of the suite's time.
if os.environ.get("VAELAB_CHECK_TYPES", "0") != "0":
    install_import_hook("vaelab", "tests.shapes.checked")

# The networks of the tests are so small that handing work to a second thread costs more.
torch.set_num_threads(1)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def real_mirror() -> str:
    """The mirror with the real MNIST; without one, the test is skipped."""
    from vaelab.data.fetch import MIRROR_VARIABLE  # after the hook

    if not os.environ.get(MIRROR_VARIABLE):
        pytest.skip(f"{MIRROR_VARIABLE} is not set, so there is no real MNIST")
    return os.environ[MIRROR_VARIABLE]
