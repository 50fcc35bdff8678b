"""An exported folder stands alone, and its card says what is so."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

import vaelab
from tests.api.models import CONDITIONAL, NAMES, SETTINGS, loaded
from vaelab.export.card import headlines
from vaelab.runtime.serialization import write_json

METRICS: dict[str, dict[str, float]] = {
    "test": {
        "neg_elbo_nats": -30.5,
        "neg_elbo_standard_error_nats": 0.25,
        "nll_nats": -32.125,
        "nll_standard_error_nats": 0.2,
        "mean_squared_error": 0.0123,
    },
    "latent": {"active_units": 3},
}


def code_of(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card, re.M | re.S)


def front_matter(card: str) -> dict[str, object]:
    _, text, _ = card.split("---\n", 2)
    found: dict[str, object] = YAML(typ="safe").load(text)
    return found


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "metrics.json", METRICS)
    model = loaded(tmp_path / "model", CONDITIONAL)
    model.export("new", license="cc-by-4.0", metrics="metrics.json")
    return tmp_path / "new"


def test_a_conditional_model_is_exported_whole(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert front_matter(card)["license"] == "cc-by-4.0"
    assert "| negative ELBO" in card or "−30.5 ± 0.25" in card
    assert "0: cat, 1: dog, 2: owl, 3: fox" in card
    assert json.loads((exported / "labels.json").read_text())["2"] == NAMES[2]
    sizes = json.loads((exported / "preprocessing.json").read_text())
    assert (sizes["width"], sizes["height"], sizes["channels"]) == (8, 8, 1)
    again, own = (vaelab.load(name, device="cpu") for name in (exported, exported.parent / "model"))
    assert np.array_equal(again.sample(3, label="owl"), own.sample(3, label="owl"))
    for name in re.findall(r"^\| `([^`]+)` \|", card.partition("## Files")[2], re.M):
        assert (exported / name).exists()
    in_python, in_onnx = code_of(card)
    found: dict[str, object] = {}
    exec(in_python, found)
    assert found["latents"].mean.shape == (16, 3)  # type: ignore[attr-defined]
    # A process that cannot find this library, nor PyTorch
    script = (
        "import sys; sys.modules.update(torch=None, vaelab=None)\n"
        f"{in_onnx}\nprint(mean.shape, images.shape)"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "(16, 3) (16, 1, 8, 8)\n"


def test_headlines_have_their_standard_errors() -> None:
    found = {title: text for title, text, _ in headlines(METRICS)}
    assert "−30.5 ± 0.25" in found.values()
    assert "−32.12 ± 0.2" in found.values()
    assert "0.0123" in found.values()
    assert len(found) == 4


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    model = loaded(tmp_path / "model", SETTINGS)
    (tmp_path / "text.json").write_text("nothing")
    for options, message in (
        ({"license": "a: b"}, "license 'a: b': wanted the name of one, such as mit"),
        ({"metrics": tmp_path / "text.json"}, ".*text.json: cannot be read"),
    ):
        with pytest.raises(vaelab.UserError, match=f"^{message}"):
            model.export(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
