"""The trained model in MLflow's format, in two flavors in one folder.

`pytorch` is a module that maps images to reconstructions, a graph that needs no code of vaelab;
`pyfunc` is `served_model`, with the library that it needs and the files of the model.
"""

import logging
import shutil
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import torch
import torch.export
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from torch import Tensor, nn

import vaelab
from vaelab.models.model import Model

SERVED = Path(__file__).with_name("served_model.py")
LIBRARY = ("config", "data", "distributed", "estimators", "inference", "models", "runtime")
REQUIREMENTS = (
    *("torch", "numpy", "mlflow"),
    *("jaxtyping", "psutil", "pydantic", "ruamel.yaml", "safetensors"),
)
MODEL_FILES = "model_files"


def log_model(
    client: MlflowClient, run_id: str, model: Model, files: Path, example: np.ndarray
) -> None:
    """Log a model as `runs:/<run_id>/model`, which leaves the run's status and times unchanged.

    `files` is its folder. `example` is an image in [0, 1], [1, channel, height, width], or latents
    [1, latent] for a model without an encoder.
    """
    run = client.get_run(run_id)
    # Without one, MLflow would log it to the experiment of the active run.
    logged = client.create_logged_model(
        run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        MlflowModel.log(
            artifact_path=None,
            model_id=logged.model_id,
            run_id=run_id,
            step=-1,  # MLflow would copy the run's metrics of this step to the model
            flavor=sys.modules[__name__],
            module=exported(model),
            files=files,
            signature=signature(model),
            input_example={"images" if model.has("encoder") else "latents": example},
            validate_serving_input=False,  # it would load the copy of the library here
        )


def save_model(path: str, mlflow_model: MlflowModel, **content: Any) -> None:
    """Write the logged model's folder; `MlflowModel.log` calls this with what it was given."""
    # Its warning that a pickle is written is for docs/tracking.md.
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)
    mlflow.pytorch.save_model(
        content["module"],
        path,
        mlflow_model=mlflow_model,
        signature=content["signature"],
        input_example=content["input_example"],
        pip_requirements=[f"{name}=={_version(name)}" for name in REQUIREMENTS],
        serialization_format="pickle",
    )
    folder = Path(path)
    shutil.copytree(content["files"], folder / MODEL_FILES)
    _copy_code(folder / "code")
    mlflow.pyfunc.add_to_model(
        mlflow_model,
        loader_module=SERVED.stem,
        data=MODEL_FILES,
        code="code",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    mlflow_model.save(str(folder / "MLmodel"))


def warm_up() -> None:
    """Save a module that does nothing, for what that imports and MLflow finds out, in seconds."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = Path(folder) / MODEL_FILES
        files.mkdir()
        module = _graph(nn.Identity(), torch.zeros(2, 1))
        content = {"module": module, "files": files, "signature": None, "input_example": None}
        save_model(f"{folder}/model", MlflowModel(), **content)


def exported(model: Model) -> nn.Module:
    """Return a module that maps images to reconstructions, or latents to images, in one graph.

    It is a plain module of PyTorch: it needs no code of vaelab, knows `eval` and `to`, and takes
    batches of any size.
    """
    has_encoder = model.has("encoder")
    module = Reconstruct(model) if has_encoder else Generate(model)
    shape = model.image_shape if has_encoder else [model.latent_dim]
    return _graph(module, torch.zeros(2, *shape))


def _graph(module: nn.Module, example: Tensor) -> nn.Module:
    """Return the operations of a module, for batches of any size."""
    batch = [{0: torch.export.Dim.AUTO}]
    program = torch.export.export(module, (example,), dynamic_shapes=batch)
    found = program.module(check_guards=False)
    assert isinstance(found, torch.fx.GraphModule)
    for node in found.graph.find_nodes(
        op="call_function", target=torch.ops.aten._assert_tensor_metadata.default
    ):
        found.graph.erase_node(node)  # it would insist on the CPU
    # The program's own module refuses `eval` and `train`, and cannot be saved.
    return torch.fx.GraphModule(found, found.graph).eval()


def signature(model: Model) -> ModelSignature:
    """Return what goes into the served model and what comes out, and its parameters."""
    images = TensorSpec(np.dtype(np.float32), (-1, *model.image_shape), "images")
    latents = TensorSpec(np.dtype(np.float32), (-1, model.latent_dim), "latents")
    has_encoder = model.has("encoder")
    found = ModelSignature(
        Schema([images if has_encoder else latents]),
        Schema([images]),
        ParamSchema(
            [
                ParamSpec("task", "string", "reconstruct" if has_encoder else "decode"),
                ParamSpec("label", "long", -1),
                ParamSpec("class", "long", -1),
                ParamSpec("count", "long", 16),
                ParamSpec("seed", "long", 0),
                ParamSpec("importance_samples", "long", 100),
            ]
        ),
    )
    # MLflow then leaves the check of the input to the model, which takes more forms.
    found._is_signature_from_type_hint = True
    return found


class Reconstruct(nn.Module):
    """Maps images to the mean of p(x|z) at the posterior mean."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, channel, height, width] to the same shape."""
        return self.model.decode(self.model.encode(images).mean).mean


class Generate(nn.Module):
    """Maps latents to the mean of p(x|z)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> Tensor:
        """Map [batch, latent] to images."""
        return self.model.decode(latents).mean


def _copy_code(folder: Path) -> None:
    """Copy `served_model`, and the parts of the library that it imports."""
    library, source = folder / "library" / "vaelab", Path(vaelab.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    for part in LIBRARY:
        shutil.copytree(source / part, library / part, ignore=ignored)
    shutil.copy(source / "__init__.py", library)
    shutil.copy(SERVED, folder)


def _version(package: str) -> str:
    return version(package).partition("+")[0]
