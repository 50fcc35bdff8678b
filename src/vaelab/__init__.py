"""Train, measure and understand variational autoencoders.

`vaelab.load` loads a trained model, `vaelab.train` trains one on images in memory. Both return a
`vaelab.TrainedModel`, which encodes, decodes, reconstructs, samples, scores, edits, interpolates.
`vaelab.save_images` writes images as one picture.
What cannot be done raises `vaelab.UserError`, in one line.
"""

import importlib
from typing import Any

# Imported at their first use: PyTorch takes two seconds.
_MODULES = {
    "TrainedModel": "vaelab.api.trained_model",
    "UserError": "vaelab.config",
    "load": "vaelab.api.loading",
    "save_images": "vaelab.api.pictures",
    "train": "vaelab.api.training",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module vaelab has no attribute {name}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
