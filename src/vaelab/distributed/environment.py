"""Rank and world size of this process, from the environment variables that torchrun sets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vaelab.config import UserError


@dataclass(frozen=True)
class DistributedEnv:
    """The rank of a process among `world_size`, and among `local_world_size` on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


SINGLE_PROCESS = DistributedEnv()


def from_environ(environment: Mapping[str, str] = os.environ) -> DistributedEnv:
    """Read RANK, WORLD_SIZE and their LOCAL_ variants; without WORLD_SIZE there is one process.

    Raises UserError where they contradict each other.
    """
    if "WORLD_SIZE" not in environment:
        return SINGLE_PROCESS
    world_size = _number(environment, "WORLD_SIZE", 1)
    local_world_size = _number(environment, "LOCAL_WORLD_SIZE", 1)
    rank, local = _number(environment, "RANK", 0), _number(environment, "LOCAL_RANK", 0)
    missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if n not in environment]
    if world_size > 1 and missing:
        raise UserError(
            f"WORLD_SIZE is {world_size}, but {' and '.join(missing)} not set: torchrun sets "
            "all of them; unset WORLD_SIZE to train in one process"
        )
    if not (rank < world_size and local < local_world_size):
        raise UserError(
            f"RANK {rank} (LOCAL_RANK {local}) is out of range for WORLD_SIZE {world_size} "
            f"(LOCAL_WORLD_SIZE {local_world_size})"
        )
    return DistributedEnv(rank, world_size, local, local_world_size)


def _number(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment.get(name, str(least))
    if not text.isdecimal() or int(text) < least:
        raise UserError(
            f"{name} in the environment must be a whole number, {least} or more; it is {text!r}"
        )
    return int(text)
