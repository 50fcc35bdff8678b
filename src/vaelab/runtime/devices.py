"""The device that PyTorch computes on."""

import os

import torch

from vaelab.config import MachineSettings, UserError
from vaelab.distributed.environment import SINGLE_PROCESS, DistributedEnv
from vaelab.runtime import memory
from vaelab.runtime.threads import use_free_cores


def choose_device(settings: MachineSettings, env: DistributedEnv = SINGLE_PROCESS) -> torch.device:
    """Return the device that `machine.device` names; set up CPU threads and memory.

    "auto" is CUDA where there is a GPU, then Apple's MPS, then the CPU. Several processes on one
    machine have a GPU each, or an equal part of the CPU's threads; one alone uses the cores
    that are free. Raises UserError for a device that this machine does not have.
    """
    memory.tune_malloc()
    if threads := settings.threads or _threads_of_rank(env):
        torch.set_num_threads(threads)
    if settings.deterministic:
        # cuBLAS reads this at its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if env.world_size > 1:
        return _device_of_rank(settings, env)
    device = torch.device(_best_available() if settings.device == "auto" else settings.device)
    if not _is_available(device):
        raise UserError(
            f"machine.device: {settings.device} is not available on this machine "
            f"(auto would choose {_best_available()})"
        )
    if device.type == "cpu" and not settings.threads:
        use_free_cores()
    return device


def describe(device: torch.device) -> str:
    """Return a readable name of a device, such as "cuda:0 (NVIDIA H100)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        count = torch.get_num_threads()
        return f"cpu ({count} thread{'s' if count > 1 else ''})"
    return str(device)


def _device_of_rank(settings: MachineSettings, env: DistributedEnv) -> torch.device:
    wanted = _best_available() if settings.device == "auto" else settings.device
    if wanted not in ("cuda", "cpu"):
        raise UserError(
            f"machine.device: {settings.device} is {wanted} here, which several processes cannot "
            "share; use cpu, or cuda with one GPU per process"
        )
    if wanted == "cuda" and env.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{env.local_world_size} processes need {env.local_world_size} GPUs, found "
            f"{torch.cuda.device_count()}; start fewer processes, or set machine.device: cpu"
        )
    return torch.device("cuda", env.local_rank) if wanted == "cuda" else torch.device("cpu")


def _threads_of_rank(env: DistributedEnv) -> int | None:
    """Divide the cores, unless the user has; torchrun sets OMP_NUM_THREADS to 1 by default."""
    if env.local_world_size == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return None
    return max(1, len(os.sched_getaffinity(0)) // env.local_world_size)


def _best_available() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_available(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or torch.backends.mps.is_available()
