"""Which device runs the arithmetic."""

import os

import torch

from vaelab.config import MachineSettings, UserError
from vaelab.distributed.environment import SINGLE_PROCESS, DistributedEnv
from vaelab.runtime import memory


def choose_device(settings: MachineSettings, env: DistributedEnv = SINGLE_PROCESS) -> torch.device:
    """Give the device that `machine.device` names; set up the CPU's threads and memory.

    "auto" is CUDA where there is a GPU, then Apple's MPS, then the CPU. Of several processes on a
    machine each has a GPU of its own, or its part of the CPU's threads. Raises UserError
    for a device that this machine does not have.
    """
    memory.tune_malloc()
    if threads := settings.threads or _threads_of_rank(env):
        torch.set_num_threads(threads)
    if settings.deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if env.world_size > 1:
        return _device_of_rank(settings, env)
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


def _device_of_rank(settings: MachineSettings, place: DistributedEnv) -> torch.device:
    wanted = _best_available() if settings.device == "auto" else settings.device
    if wanted not in ("cuda", "cpu"):
        raise UserError(
            f"machine.device: {settings.device} is {wanted} here, which several processes cannot "
            "share; they need cpu, or cuda with a GPU for each"
        )
    if wanted == "cuda" and place.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{place.local_world_size} processes on this machine need as many GPUs, and there are "
            f"{torch.cuda.device_count()}; start fewer, or set machine.device: cpu"
        )
    return torch.device("cuda", place.local_rank) if wanted == "cuda" else torch.device("cpu")


def _threads_of_rank(place: DistributedEnv) -> int | None:
    """Share the cores, unless the user has; the 1 in OMP_NUM_THREADS is torchrun's own."""
    if place.local_world_size == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return None
    return max(1, len(os.sched_getaffinity(0)) // place.local_world_size)


def _best_available() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_available(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or torch.backends.mps.is_available()
