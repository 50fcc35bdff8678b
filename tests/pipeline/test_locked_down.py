"""What listens, listens here; what could report to someone does not."""

import configparser
import os
import socket
import subprocess
import sys
from types import ModuleType

import pytest

from pipeline.study import dashboard
from pipeline.tracking import ui
from tests import ROOT


def test_no_telemetry_of_mlflow_or_dvc() -> None:
    dvc = configparser.ConfigParser()
    dvc.read(ROOT / ".dvc/config")
    assert dvc["core"]["analytics"] == "false"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    script = (
        "import pipeline.tracking\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert found.stdout.strip() == "True", found.stderr


@pytest.mark.parametrize("command", [ui, dashboard])
def test_servers_listen_on_loopback_by_default(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit):
        command.main()
    assert "address (default: 127.0.0.1)" in " ".join(capsys.readouterr().out.split())


def test_the_ui_is_started_without_a_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    started: list[list[str]] = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/a.db")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    monkeypatch.setattr(sys, "argv", ["ui", "--no-browser", "--port", port])
    monkeypatch.setattr(os, "execve", lambda path, arguments, env: started.append(arguments))
    ui.main()
    (arguments,) = started
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert arguments[arguments.index("--workers") + 1] == "1"
