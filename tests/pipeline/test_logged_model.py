"""The model in MLflow's format: loaded elsewhere, asked and served."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image

from pipeline import paths, tracking
from pipeline.tracking.logged_model import REQUIREMENTS, exported
from pipeline.tracking.served_model import ServedModel
from pipeline.tracking.sync import log_servable_model
from tests import ROOT
from tests.bad_input.sandbox import MODEL, SHAPE, write_model, write_prepared
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import ModelSettings, TrackingSettings
from vaelab.inference.decoding import reconstructions
from vaelab.inference.tasks import Options, run_task
from vaelab.models.model import build_model
from vaelab.models.saving import ModelDescription, load_model, save_model

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE[1:], dtype=np.uint8)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Iterator[Path]:
    """The folder of a logged model, with the model's own files beside the store."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        copy_stores(empty_stores, folder)
        write_prepared()
        write_model()
        store = tracking.open_store(TrackingSettings())
        run = store.create_run("trained", {})
        log_servable_model(run)
        assert run.files_failed == ""
        assert store.client.get_run(run.run_id).info.status == "RUNNING"
        yield Path(mlflow.artifacts.download_artifacts(f"runs:/{run.run_id}/model"))


def expected(folder: Path, pixels: np.ndarray) -> np.ndarray:
    model, _ = load_model(folder / "model_files", CPU)
    return reconstructions(model, torch.from_numpy(pixels / np.float32(255))).numpy()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_mlflows_loader_gives_a_module_like_any_other(logged: Path, count: int) -> None:
    pixels = np.random.default_rng(count).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = mlflow.pytorch.load_model(str(logged)).eval()
    assert not module.training
    assert module.train().training
    found = module.eval().to("cpu")(torch.from_numpy(pixels / np.float32(255)))
    np.testing.assert_allclose(found.detach(), expected(logged, pixels), atol=1e-6)
    assert sum(weight.numel() for weight in module.parameters()) > 0


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        (ModelSettings(network="conv"), 0),
        (ModelSettings(network="resnet", likelihood="bernoulli"), 0),
        (ModelSettings(network="mlp", prior="flow"), 0),
        (ModelSettings(prior="vamp", likelihood="discretized_logistic"), 0),
        (ModelSettings(prior="codebook", latent_dim=8), 0),
        (ModelSettings(conditional="labels"), 10),
    ],
    ids=["conv", "resnet", "flow", "vamp", "codebook", "conditional"],
)
def test_every_kind_of_model_is_one_graph_that_is_saved(
    settings: ModelSettings, classes: int, tmp_path: Path
) -> None:
    model = build_model(settings, (1, 12, 12), classes=classes).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pytorch.save_model(
            exported(model), tmp_path / "model", serialization_format="pickle"
        )
        module = mlflow.pytorch.load_model(str(tmp_path / "model")).eval()
        images = torch.rand(3, 1, 12, 12)
        found = module(images).clamp(0, 1)
        if not classes:  # a graph knows no other device than where it was made, in place of a GPU
            assert module.to("meta")(images.to("meta")).device.type == "meta"
    torch.testing.assert_close(found, reconstructions(model, images), atol=1e-6, rtol=0)


ELSEWHERE = """
import sys
from pathlib import Path
# As where vaelab is not installed.
sys.path = [path for path in sys.path if not (Path(path) / "vaelab").is_dir()]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import mlflow.pyfunc, mlflow.pytorch, numpy, torch
folder, pixels = sys.argv[1], numpy.load(sys.argv[2])
before = set(sys.modules)
served = mlflow.pyfunc.load_model(folder).predict(pixels)
imported = {name.partition(".")[0] for name in set(sys.modules) - before}
import os; os.environ.pop("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", None)
module = mlflow.pytorch.load_model(folder).eval()
images = torch.from_numpy(pixels / numpy.float32(255))[None, None]
print("differ by", float(abs(served - module(images).detach().numpy()).max()))
print("vaelab of", sys.modules["vaelab"].__file__)
print("installed", *sorted(imported - set(sys.stdlib_module_names)))
"""


def test_both_loaders_work_where_vaelab_is_not_installed(logged: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", PIXELS)
    clean = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(logged), str(tmp_path / "pixels.npy")],
        cwd=tmp_path,
        # The served model is not unpickled.
        env=clean | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    printed = dict(line.split(maxsplit=2)[::2] for line in found.stdout.splitlines()[:2])
    assert float(printed["differ"]) < 1e-6
    assert printed["vaelab"] == str(logged / "code/library/vaelab/__init__.py")
    # pydantic's own requirements
    come_along = {"pydantic_core", "annotated_types", "typing_inspection", "scipy"}
    installed = set(found.stdout.splitlines()[2].split()[1:]) - {"vaelab", "served_model"}
    installed = {name for name in installed if not name.startswith("_")}
    assert installed - come_along <= {name.partition(".")[0] for name in REQUIREMENTS}


WARM = """
import gc, sys, tempfile, warnings
from pipeline.tracking import training_mirror
training_mirror.warm_up()
assert gc.isenabled()
before = set(sys.modules)
assert {"torch._dynamo", "torch.export._trace"} <= before
import torch
from mlflow.models import Model
from mlflow.utils import requirements_utils
from pipeline.tracking.logged_model import exported, save_model, signature
from vaelab.config import ModelSettings
from vaelab.models.model import build_model
warnings.simplefilter("ignore")
model = build_model(ModelSettings(network="mlp"), (1, 8, 8)).eval()
with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
    module, found = exported(model), requirements_utils._MODULES_TO_PACKAGES
    content = {"module": module, "files": "src", "signature": signature(model)}
    save_model(f"{folder}/model", Model(), **content, input_example=None)
    assert found is requirements_utils._MODULES_TO_PACKAGES is not None
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - {"torch", "vaelab"})
"""


def test_what_takes_seconds_is_done_once_and_can_be_done_early() -> None:
    command = [sys.executable, "-c", WARM]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout == "\n"


@pytest.fixture(scope="module")
def served(logged: Path) -> PyFuncModel:
    loaded: PyFuncModel = mlflow.pyfunc.load_model(str(logged))
    return loaded


@pytest.mark.parametrize(
    "form",
    [PIXELS, PIXELS.tolist(), PIXELS / 255, np.float32(PIXELS / 255), PIXELS[None, ..., None]],
    ids=["uint8", "list", "float64", "float32", "channels last"],
)
def test_the_served_model_takes_the_usual_forms(
    served: PyFuncModel, logged: Path, form: Any
) -> None:
    wanted = expected(logged, PIXELS[None, None])
    np.testing.assert_allclose(served.predict(form), wanted, atol=1e-6)
    np.testing.assert_allclose(served.predict({"images": form}), wanted, atol=1e-6)


def test_signature_and_example_have_names_and_shapes(served: PyFuncModel, logged: Path) -> None:
    signature = served.metadata.signature
    assert signature is not None
    assert str(signature.inputs) == f"['images': Tensor('float32', {(-1, *SHAPE)})]"
    assert str(signature.outputs) == f"['images': Tensor('float32', {(-1, *SHAPE)})]"
    assert {spec.name: spec.default for spec in signature.params} == {
        "task": "reconstruct",
        "label": -1,
        "class": -1,
        "count": 16,
        "seed": 0,
        "importance_samples": 100,
    }
    assert served.input_example is not None
    example = np.array(served.input_example["images"])
    assert example.shape == (1, *SHAPE)
    found = served.predict(served.input_example)
    np.testing.assert_allclose(found, expected(logged, 255 * example), atol=1e-6)
    payload = json.loads((logged / "serving_input_example.json").read_text())
    np.testing.assert_allclose(ask(served, **payload), found, atol=1e-6)


def request(served: PyFuncModel, inputs: Any, **params: Any) -> str:
    """Answer a request as MLflow's server does."""
    question = json.dumps({"inputs": inputs, "params": params})
    schema = served.metadata.get_input_schema()  # type: ignore[no-untyped-call]
    answer: str = invocations(question, "application/json", served, schema).response  # type: ignore[no-untyped-call]
    return answer


def ask(served: PyFuncModel, inputs: Any, **params: Any) -> Any:
    return json.loads(request(served, inputs, **params))["predictions"]


def test_each_task_is_answered(served: PyFuncModel, logged: Path) -> None:
    pixels = PIXELS.tolist()
    wanted = expected(logged, PIXELS[None, None])
    np.testing.assert_allclose(ask(served, pixels), wanted, atol=1e-6)
    encoded = ask(served, pixels, task="encode")
    assert np.shape(encoded["mean"]) == np.shape(encoded["stddev"]) == (1, 2)
    decoded = ask(served, {"latents": encoded["mean"]}, task="decode")
    np.testing.assert_allclose(decoded, wanted, atol=1e-6)
    assert np.shape(ask(served, None, task="sample", count=3)) == (3, *SHAPE)
    assert np.shape(ask(served, pixels, task="score")["nll_nats"]) == (1,)


def test_the_parameter_class_is_the_target_of_an_edit() -> None:
    settings = ModelSettings(network="mlp", latent_dim=2, conditional="labels")
    own = build_model(settings, SHAPE, classes=3).eval()
    found = ServedModel(own).predict(PIXELS, {"task": "edit", "class": 2, "label": 1})
    wanted = run_task(own, PIXELS, Options("edit", label=1, target=2))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            PIXELS.astype(float).tolist(),
            "pixels of float64 from 4 to 248 cannot be right: wanted floats from 0 (black) to 1 "
            "(white), or integers from 0 to 255",
        ),
        (
            [[[0.5] * 9] * 9] * 100,
            "images of shape [100, 9, 9] do not fit the model: wanted [1, 8, 8] or [8, 8, 1] or "
            "[8, 8], or a batch of them",
        ),
        ([[0.5], [0.5, 0.5]], "images are not all of one shape"),
        ({}, "wanted one array, of images or latents, got none"),
    ],
    ids=["range", "shape", "ragged", "nothing"],
)
def test_a_wrong_request_is_refused_in_one_line(
    served: PyFuncModel, inputs: Any, message: str
) -> None:
    with pytest.raises(MlflowException) as caught:
        request(served, inputs)
    answer = json.loads(caught.value.serialize_as_json())  # type: ignore[no-untyped-call]
    assert answer["message"] == message
    assert caught.value.get_http_status_code() == 400  # type: ignore[no-untyped-call]
    with pytest.raises(MlflowException, match=f"^{re.escape(message)}$"):
        served.predict(inputs)


def test_a_model_without_encoder_is_served_as_a_decoder(
    tmp_path: Path, empty_stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_directory(tmp_path, monkeypatch)
    copy_stores(empty_stores, tmp_path)
    model = build_model(MODEL, SHAPE, ("decoder",))
    description = {"objective": "gan", "networks": ("decoder",), "dataset": "folder", "levels": 256}
    save_model(
        paths.MODEL,
        model,
        ModelDescription.model_validate(
            description | {"image_shape": SHAPE, "model": MODEL, "settings": {}}
        ),
    )
    store = tracking.open_store(TrackingSettings())
    run = store.create_run("decoder", {})
    log_servable_model(run)
    uri = f"runs:/{run.run_id}/model"
    latents = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    found = mlflow.pyfunc.load_model(uri).predict(latents)
    module = mlflow.pytorch.load_model(uri).eval()
    assert found.shape == (3, *SHAPE)
    np.testing.assert_allclose(found, module(torch.from_numpy(latents)).detach(), atol=1e-6)


def post(address: str, request: Any) -> Any:
    """Return the answer to a JSON request, an error's too."""
    content = json.dumps(request).encode()
    question = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


@pytest.fixture
def server(logged: Path, tmp_path: Path) -> Iterator[str]:
    """The address of `mlflow models serve`."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(logged)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=os.environ | {"PATH": path}, cwd=tmp_path, stdout=log, stderr=log
        )
    address, last = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < last, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"{address}/invocations"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_real_server_answers_a_png(server: str, logged: Path, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    pixels = np.asarray(Image.open(tmp_path / "image.png")).tolist()
    answer = post(server, {"inputs": pixels})
    np.testing.assert_allclose(
        answer["predictions"], expected(logged, PIXELS[None, None]), atol=1e-6
    )
    refused = post(server, {"inputs": [[value + 0.0 for value in row] for row in pixels]})
    assert refused["message"].startswith("pixels of float64 from 4 to 248 cannot be right: ")
    latents = post(server, {"inputs": pixels, "params": {"task": "encode"}})["predictions"]
    assert np.shape(latents["mean"]) == (1, 2)
