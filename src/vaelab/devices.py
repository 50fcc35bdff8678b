"""Which device runs the arithmetic."""

import os

import torch

from vaelab import memory
from vaelab.config import MachineSettings, UserError


def choose_device(settings: MachineSettings) -> torch.device:
    """Give the device that `machine.device` names; set up the CPU's threads and memory.

    "auto" is CUDA where there is a GPU, then Apple's MPS, then the CPU. Raises UserError
    for a device that this machine does not have.
    """
    memory.keep_freed()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if settings.device == "auto":
        return torch.device(_best_available())
    device = torch.device(settings.device)
    if not _is_available(device):
        raise UserError(
            f"machine.device: {settings.device} is not available on this machine "
            f"(auto would choose {_best_available()})"
        )
    return device


def describe(device: torch.device) -> str:
    """Name a device for people, such as "cuda:0 (NVIDIA H100)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)


def _best_available() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_available(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or torch.backends.mps.is_available()
