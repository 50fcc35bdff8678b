"""What all tests share. With VAELAB_CHECK_TYPES=1, as in .ci/run, shapes and types are checked."""

import os

# Before anything imports MLflow or Matplotlib.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from jaxtyping import install_import_hook

import tests.shapes  # noqa: F401  the hook looks it up by name

# Checks at run time take a quarter of the suite's time.
if os.environ.get("VAELAB_CHECK_TYPES", "0") != "0":
    install_import_hook("vaelab", "tests.shapes.checked")

# The networks of the tests are so small that handing work to a second thread costs more.
torch.set_num_threads(1)
