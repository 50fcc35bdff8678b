"""`make ui`: its port, its processes, its address."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.tracking import Store, ui
from pipeline.tracking.view import COLUMNS, TAG, link, save_view
from tests import ROOT
from vaelab.config import UserError


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run the command on a folder's store; yield the server's address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
    (folder / "params.yaml").write_text("{}")
    with (folder / "printed").open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.ui", "--port", str(port), "--no-browser"],
            cwd=folder,
            env=inherited | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "printed")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", printed: Path) -> None:
    until = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < until, printed.read_text()
            time.sleep(0.5)
        else:
            return


def test_a_port_that_is_taken_ends_with_one_line(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert store
    (tmp_path / "params.yaml").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["ui", "--port", str(port)])
        monkeypatch.setattr(ui, "serve", lambda *arguments: pytest.fail("must not start"))
        with pytest.raises(SystemExit) as ended:
            ui.main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.err == (
        f"error: port {port} of 127.0.0.1 is not free (Address already in use): end what uses it, "
        f"or take another with `make ui PORT={port + 1}`\n"
    )
    assert printed.out == ""


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match=r"port 5000 of 192\.0\.2\.1 is not free \("):
        ui.check_port("192.0.2.1", 5000)


def test_the_view_is_stored_once_and_complete(store: Store) -> None:
    for _ in range(2):
        save_view(store.client, store.experiment_id)
    tags = store.client.get_experiment(store.experiment_id).tags
    view = json.loads(tags[TAG])
    assert view["orderByKey"] == COLUMNS[0] == "metrics.`test/neg_elbo_nats`"
    assert view["orderByAsc"] is True
    kinds = [name.partition(".")[0] for name in view["columnOrder"] if name in COLUMNS]
    assert kinds == sorted(kinds), "metrics come before params"
    assert kinds.count("params") < kinds.count("metrics")
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_store_with_a_server_is_opened_there(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    remote = Store(store.client, "http://somewhere:5000", store.experiment_id)
    (tmp_path / "params.yaml").write_text("{}")
    monkeypatch.setattr(ui, "open_store", lambda settings: remote)
    monkeypatch.setattr(ui, "serve", lambda *arguments: pytest.fail("it has a server"))
    ui.start("127.0.0.1", 0, browser=False)
    address = f"http://somewhere:5000/{link(store.experiment_id)}"
    assert capsys.readouterr().out == f"the server has its own UI: {address}\n"


def test_the_address_is_printed_when_the_server_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(ui, "open_page", opened.append)
    answers = iter([OSError, OSError, None])

    def ask(url: str, timeout: float) -> io.BytesIO:
        assert url == "http://here:5000/health"
        assert timeout > 0
        assert capsys.readouterr().out == ""
        if error := next(answers):
            raise error
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", ask)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    ui.announce("http://here:5000", "http://here:5000/#/runs", os.getpid(), browser=True)
    assert capsys.readouterr().out == "MLflow on http://here:5000/#/runs; Ctrl-C ends it\n"
    assert opened == ["http://here:5000/#/runs"]


def test_a_server_that_has_ended_is_not_announced(capsys: pytest.CaptureFixture[str]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    ui.announce("http://127.0.0.1:9", "address", ended.pid, browser=False)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_one_worker_and_no_jobs(store: Store, tmp_path: Path) -> None:
    assert store
    with served(tmp_path) as address:
        time.sleep(3)  # the address is printed, and MLflow starts the runners of its jobs
        first, *later = (tmp_path / "printed").read_text().splitlines()
        assert first.startswith("starting MLflow on sqlite:///")
        page = f"MLflow on {address}/#/experiments/1/runs?workflowType=machine_learning"
        assert any(line.startswith(page) for line in later)
        port = address.rpartition(":")[2]
        (server,) = (p for p in psutil.Process().children() if port in p.cmdline())
        children = server.children(recursive=True)
        assert len(children) == 1, [child.cmdline() for child in children]
    assert not psutil.pid_exists(server.pid)
