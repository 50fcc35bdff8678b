"""Servers that answer with something else, and archives whose members would go elsewhere."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from torchvision.datasets import MNIST

from pipeline import download, prepare
from tests.bad_input.sandbox import Sandbox
from tests.data.server import Server
from vaelab.data.fetch import MIRROR_VARIABLE, Fetcher
from vaelab.data.sources import cifar10

NAME = "train-images-idx3-ubyte.gz"
PATH = f"/mnist/{NAME}"
OTHER = gzip.compress(b"something else")


def redirect(server: Server, target: str) -> None:
    server.redirects[PATH] = target


def cut_short(server: Server) -> None:
    server.files[PATH] = OTHER
    server.cuts.extend([5, 0, 0, 0])


BAD_SERVERS: dict[str, tuple[Callable[[Server], object], str]] = {
    "nothing there": (lambda s: None, "HTTP Error 404: Not Found"),
    "a page": (
        lambda s: s.files.update({PATH: b"<!DOCTYPE html>"}),
        "refused: not a complete gzip file (Not a gzipped file",
    ),
    "another file": (
        lambda s: s.files.update({PATH: OTHER}),
        "refused: 14 bytes with SHA-256 ",
    ),
    "half a file": (
        lambda s: s.files.update({PATH: OTHER[:20]}),
        "refused: not a complete gzip file (Compressed file ended before",
    ),
    "a connection that ends": (
        cut_short,
        "the connection ended after 5 of 34 bytes",
    ),
    "a server that hangs up": (lambda s: s.failures.extend([0] * 4), "Remote end closed"),
    "a server that fails": (lambda s: s.failures.extend([503] * 4), "HTTP Error 503"),
    "no right to it": (lambda s: s.failures.extend([403] * 4), "HTTP Error 403"),
    "a redirection to a file": (
        lambda s: redirect(s, "file:///etc/hostname"),
        "HTTP Error 302: Found - Redirection to url 'file:///etc/hostname' is not allowed",
    ),
    "a redirection in a circle": (lambda s: redirect(s, PATH), "infinite loop"),
    "a redirection to nowhere": (lambda s: redirect(s, "http://127.0.0.1:1/"), "refused"),
}
BAD_MIRRORS = {
    "a word": ("mirror", "data.mirror: String should match pattern"),
    "another protocol": ("ftp://127.0.0.1/", "data.mirror: String should match pattern"),
    "no host": ("http://", "no host given"),
    "half an address": ("http://[::1", "could not be downloaded: http://[::1/mnist/"),
    "a port that is a word": ("http://127.0.0.1:port", "nonnumeric port"),
    "a port without a server": ("http://127.0.0.1:1", "Connection refused"),
    "a folder that is not there": ("file:///no/such/folder", "No such file or directory"),
    "letters of no address": ("http://127.0.0.1:1/\u00e4", "could not be downloaded"),
    "two lines": ("http://127.0.0.1:1/a\nb", "could not be downloaded"),
}


@pytest.fixture
def alone(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox with no other host than the mirror, and what an earlier download left."""
    monkeypatch.setattr(MNIST, "mirrors", [])
    monkeypatch.setattr(download, "Fetcher", partial(Fetcher, attempts=2, pause_s=0.0))
    Path("data/raw/kmnist").mkdir(parents=True)
    Path("data/raw/kmnist/file.gz").write_bytes(b"x")
    Path("data/raw/source.json").write_text('{"name": "kmnist", "files": {}}')
    return sandbox


@pytest.mark.parametrize(("prepare_server", "fragment"), BAD_SERVERS.values(), ids=BAD_SERVERS)
def test_bad_answers_are_reported(
    alone: Sandbox,
    server: Server,
    prepare_server: Callable[[Server], object],
    fragment: str,
) -> None:
    prepare_server(server)
    alone.settings(data={"name": "mnist", "mirror": server.url})
    printed = alone.refuses(download.main, fragment)
    assert printed.startswith(f"error: {NAME} could not be downloaded: {server.url}{PATH}: ")
    assert f"name a mirror that has mnist/{NAME} in data.mirror or {MIRROR_VARIABLE}" in printed


@pytest.mark.parametrize(("mirror", "fragment"), BAD_MIRRORS.values(), ids=BAD_MIRRORS)
def test_mirrors_that_are_none_are_reported(alone: Sandbox, mirror: str, fragment: str) -> None:
    alone.settings(data={"name": "mnist", "mirror": mirror})
    alone.refuses(download.main, fragment)


@pytest.mark.parametrize("value", ["no/such/folder", "ftp://host", "a\nb", "~"])
def test_a_bad_mirror_variable_is_reported(
    alone: Sandbox, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, value)
    alone.settings(data={"name": "mnist"})
    alone.refuses(download.main, f"{MIRROR_VARIABLE}: {value!r} is neither an http://")


def test_members_with_paths_out_of_an_archive_are_not_written(sandbox: Sandbox) -> None:
    outside = Path("outside").resolve()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in (str(outside), "../outside", f"../{cifar10.FOLDER}/{cifar10.NAMES}"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    raw = Path("data/raw/cifar10")
    raw.mkdir(parents=True)
    (raw / cifar10.ARCHIVE).write_bytes(buffer.getvalue())
    Path("data/raw/source.json").write_text('{"name": "cifar10"}')
    sandbox.settings(data={"name": "cifar10"})
    sandbox.refuses(prepare.main, "not a complete CIFAR-10 archive: it has no batches.meta")
    assert not list(Path().rglob("outside"))


def test_members_with_paths_out_of_a_zip_are_not_written(sandbox: Sandbox) -> None:
    raw = Path("data/raw/emnist")
    raw.mkdir(parents=True)
    with zipfile.ZipFile(raw / "gzip.zip", "w") as archive:
        archive.writestr("../gzip/emnist-balanced-train-images-idx3-ubyte.gz", OTHER)
        archive.writestr("/outside", OTHER)
    Path("data/raw/source.json").write_text('{"name": "emnist"}')
    sandbox.settings(data={"name": "emnist"})
    sandbox.refuses(prepare.main, "There is no item named 'gzip/emnist-balanced-train-images")
    assert not list(Path().rglob("outside"))
