"""params.yaml: whatever it holds, settings or one line that says what is wrong."""

import os
from pathlib import Path

import pytest

from pipeline import prepare
from tests.bad_input.sandbox import Sandbox, write_prepared

BOMB = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)
)
MERGES = b"a0: &a0 {k: v}\n" + b"".join(
    b"a%d: &a%d\n  <<: [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)
)
ALIASES = "its aliases (*name) expand to more than 100,000 values"

BROKEN: dict[str, tuple[bytes, str]] = {
    "a tab": (b"data:\n\tname: digits\n", r"line 2, column 1: found character '\t'"),
    "a key twice": (b"train:\n  epochs: 1\n  epochs: 2\n", 'found duplicate key "epochs"'),
    "an alias bomb": (BOMB, ALIASES),
    "an alias bomb among own settings": (
        BOMB.replace(b"\n", b"\n  ").join([b"objectives:\n vae:\n  ", b""]),
        ALIASES,
    ),
    "a bomb of merged keys": (MERGES, ALIASES),
    "an alias that holds itself": (b"objectives: &a {vae: *a}\n", ALIASES),
    "an alias of nothing": (b"train: *other\n", "found undefined alias 'other'"),
    "a merge of a number": (b"train:\n  <<: 3\n", "expected a mapping or list of mappings"),
    "a Python object": (
        b"data: !!python/object/apply:os.system [exit]\n",
        "could not determine a constructor for the tag",
    ),
    "a number by its tag": (b"train: {epochs: !!int many}\n", "invalid value: "),
    "a truth by its tag": (b"data: {dequantize: !!bool maybe}\n", "invalid value: "),
    "a day that is none": (b"train: {epochs: 2001-99-99}\n", "month must be in 1..12"),
    "5,000 digits": (b"train: {epochs: " + b"9" * 5000 + b"}\n", "Exceeds the limit (4300"),
    "5,000 digits in base 16": (
        b"train: {epochs: 0x" + b"f" * 5000 + b"}\n",
        "train.epochs: Input should be",
    ),
    "values deep in one another": (b"data: " + b"[" * 700 + b"]" * 700, "nested too deeply"),
    "an open bracket": (b"data: {name: digits\n", "line 2, column 1"),
    "an open quote": (b'data: "abc\n', "found unexpected end of stream"),
    "two documents": (b"train: {}\n---\ntrain: {}\n", "found another document"),
    "a later YAML": (b"%YAML 9.9\n---\ntrain: {}\n", "incompatible YAML document"),
    "a mapping as a key": (b"? {a: b}\n: c\n", "found unhashable key"),
    "bytes of all kinds": (bytes(range(256)), "cannot be read: it is not UTF-8 text"),
    "a zero byte": (b"train: {epochs: 3\0}\n", "unacceptable character #x0000"),
    "Latin-1": (b"# caf\xe9\n", "cannot be read: it is not UTF-8 text"),
    "UTF-16": ("train: {epochs: 3}\n".encode("utf-16"), "cannot be read: it is not UTF-8 text"),
}

WRONG: dict[str, tuple[bytes, str]] = {
    "a list at the top": (b"- data\n", "must be a mapping of sections, such as 'train:'"),
    "a word at the top": (b"digits\n", "must be a mapping of sections, such as 'train:'"),
    "an unknown section": (b"trian: {}\n", "unknown setting trian; did you mean train?"),
    "an unknown key": (
        b"train: {kl_wieght: 2}\n",
        "unknown setting train.kl_wieght; did you mean train.kl_weight?",
    ),
    "an unknown objective": (b"train: {objective: vea}\n", "unknown objective vea; did you mean"),
    "a key that is a number": (b"train: {1: 2}\n", "the name of a setting must be a string"),
    "a key of two lines": (b'"a\\nb": 1\n', "unknown setting a b"),
    "300 unknown keys": (b"\n".join(b"k%d: 1" % n for n in range(300)), "and 295 more"),
    "a section that is a list": (b"train: [1]\n", "train: must be a mapping of settings"),
    "a section that is nothing": (b"train:\n", "train: must be a mapping of settings"),
    "own settings that are a number": (b"objectives: {vae: 3}\n", "must be a mapping (it is 3)"),
    "a word for a number": (b"train: {epochs: many}\n", "valid integer"),
    "a fraction for a count": (b"train: {epochs: 1.5}\n", "train.epochs: Input should be a valid"),
    "true for a number": (b"train: {epochs: true}\n", "true and false are not valid here"),
    "a list for a number": (b"train: {epochs: [3]}\n", "(it is [3])"),
    "a null path": (b"data: {folder: null}\n", "data.folder: must be a path (it is None)"),
    "Norway": (b"data: {name: no}\n", "(it is 'no')"),
    "not a number": (b"train: {kl_weight: .nan}\n", "finite number (it is nan)"),
    "infinity": (b"train: {learning_rate: .inf}\n", "finite number (it is inf)"),
    "infinity by overflow": (b"train: {kl_weight: 1e999}\n", "finite number (it is inf)"),
    "400 digits": (b"train: {kl_weight: " + b"9" * 400 + b"}\n", "valid number (it is 999"),
    "no epochs": (b"train: {epochs: 0}\n", "greater than or equal to 1 (it is 0)"),
    "a negative seed": (b"data: {seed: -1}\n", "greater than or equal to 0 (it is -1)"),
    "a seed of 65 bits": (b"data: {seed: 18446744073709551616}\n", "data.seed: Input should be"),
    "no test images": (b"data: {test_fraction: 0.0}\n", "greater than 0"),
    "one side of a size": (b"data: {image_size: [8]}\n", "data.image_size.1: Field required"),
    "a side of 0 pixels": (b"data: {image_size: [0, 8]}\n", "data.image_size.0: Input should be"),
    "an even kernel": (b"model: {kernel_size: 4}\n", "must be odd"),
    "a width beyond memory": (b"model: {hidden: [9999999999]}\n", "less than or equal to 65536"),
    "a thread too many": (b"machine: {threads: 100000}\n", "less than or equal to 1024"),
    "a device that is none": (b"machine: {device: gpu}\n", "machine.device: String should match"),
    "a mirror that is no URL": (b"data: {mirror: ftp://host}\n", "data.mirror: String should"),
    "weight decay without adamw": (b"train: {weight_decay: 1}\n", "needs optimizer: adamw"),
    "noise on binary pixels": (
        b"data: {dequantize: true, binarization: fixed}\n",
        "data.dequantize and data.binarization exclude each other",
    ),
    "noise without a density": (
        b"data: {dequantize: true}\nmodel: {likelihood: bernoulli}\n",
        "data.dequantize needs a density",
    ),
    "logistic binary pixels": (
        b"data: {binarization: fixed}\nmodel: {likelihood: discretized_logistic}\n",
        "discretized_logistic is for 8-bit pixels",
    ),
    "a search that ends below its start": (
        b"tune: {search_space: {train.kl_weight: {type: float, low: 2, high: 1}}}\n",
        "low must be below high",
    ),
    "a search of what cannot be": (
        b"tune: {search_space: {model.latent_dim: {type: int, low: 0, high: 4}}}\n",
        "model.latent_dim cannot be 0",
    ),
}

VALID = {
    "nothing": b"",
    "a comment": b"# nothing\n",
    "a byte order mark": b"\xef\xbb\xbftrain: {epochs: 3}\n",
    "an exponent without a point": b"train: {kl_weight: 1e-3}\n",
    "a number as a text": b'train: {kl_weight: "1e-3"}\n',
    "a leading zero": b"train: {epochs: 010}\n",
    "base 8": b"train: {epochs: 0o10}\n",
    "Norway as a truth": b"data: {dequantize: no}\n",
    "an alias": b"train: {seed: &s 3}\ndata: {seed: *s}\n",
    "a merge": b"train: &t {seed: 3}\ndata: {<<: *t}\n",
}


@pytest.mark.parametrize("name", [*BROKEN, *WRONG])
def test_bad_settings_are_refused(sandbox: Sandbox, name: str) -> None:
    content, fragment = (BROKEN | WRONG)[name]
    write_prepared()
    Path("params.yaml").write_bytes(content)
    printed = sandbox.refuses(prepare.main, fragment)
    assert printed.startswith("error: params.yaml: ")
    assert len(printed) < 2500


@pytest.mark.parametrize("content", VALID.values(), ids=VALID)
def test_unusual_settings_are_read(sandbox: Sandbox, content: bytes) -> None:
    Path("params.yaml").write_bytes(content)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/source.json").write_text('{"name": "digits"}')
    assert sandbox.run(prepare.main).startswith("digits: 1,366 train")


def test_missing_settings_are_named(sandbox: Sandbox) -> None:
    sandbox.refuses(prepare.main, "error: there is no params.yaml in")


def test_a_folder_is_no_settings(sandbox: Sandbox) -> None:
    Path("params.yaml").mkdir()
    sandbox.refuses(prepare.main, "error: params.yaml: cannot be read: Is a directory")


def test_links_that_go_in_a_circle_are_no_settings(sandbox: Sandbox) -> None:
    os.symlink("params.yaml", "params.yaml")
    sandbox.refuses(prepare.main, "params.yaml: cannot be read: Too many levels of symbolic")
