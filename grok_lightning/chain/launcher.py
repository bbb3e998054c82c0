"""Who started the processes of a job (torchrun, srun or nobody), and the Trainer that goes with it."""

import os
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy


def complete_environment() -> None:
    """Set the variable that Lightning insists on in a SLURM job, and that srun sets only for `--ntasks-per-node`."""
    tasks, nodes = _slurm_tasks()
    if tasks > 1:
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks // nodes))


def launch_options(devices: Any) -> dict[str, Any]:
    """Return the options of a Trainer that follow from who started this process.

    In a SLURM job of one task nobody starts the other processes, and Lightning would do without them.

    Args:
        devices: The Trainer's `devices`; "auto" are those that torchrun or srun started processes for, else one: a run
            is small, and other devices serve other runs.

    Raises:
        ValueError: If one device is named by its number, which it does not have in every process.
    """
    if isinstance(devices, list) and len(devices) == 1:
        raise ValueError(
            f"trainer.devices is {devices}: each run is given one device by itself; to choose among them, "
            f"set CUDA_VISIBLE_DEVICES={devices[0]}"
        )
    options: dict[str, Any] = {}
    if _slurm_tasks()[0] == 1 and not TorchElasticEnvironment.detect():
        options["plugins"] = [LightningEnvironment()]
    if devices == "auto":
        options["devices"], options["num_nodes"] = _started() or (1, 1)
    return options


def spare_devices(trainer: Trainer) -> int:
    """Return the number of accelerators among which a run could have been given this Trainer's one, 0 on a CPU."""
    kind = trainer.strategy.root_device.type
    if kind == "cpu" or trainer.world_size > 1:
        return 0
    return torch.cuda.device_count() if kind == "cuda" else 1


def check_processes(trainer: Trainer) -> None:
    """Refuse a Trainer whose processes do not live through all stages, or are not those that were started.

    Raises:
        ValueError: If so.
    """
    strategy, size = trainer.strategy, trainer.num_devices * trainer.num_nodes
    lives = isinstance(strategy, FSDPStrategy) or (isinstance(strategy, DDPStrategy) and _is_launched_once(strategy))
    if size > 1 and not lives:
        raise ValueError("trainer.strategy: a chain needs processes that live through all stages; use ddp or fsdp")
    devices, nodes = _started() or (trainer.world_size, 1)
    if devices * nodes != size:
        raise ValueError(
            f"trainer.devices: the Trainer has {size} device{'s' if size > 1 else ''}, but torchrun or srun started "
            f"{devices * nodes} processes; leave devices and num_nodes out"
        )


def _is_launched_once(strategy: DDPStrategy) -> bool:
    return strategy._start_method == "popen"  # the others start processes anew for each fit


def _started() -> tuple[int, int] | None:
    """Return the numbers of processes a node and of nodes that torchrun or srun started, if one did."""
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return devices, int(os.environ["WORLD_SIZE"]) // devices
    tasks, nodes = _slurm_tasks()
    return (tasks // nodes, nodes) if tasks > 1 and "SLURM_STEP_ID" in os.environ else None


def _slurm_tasks() -> tuple[int, int]:
    """Return the numbers of tasks and nodes of the SLURM job, 0 tasks outside of any."""
    return int(os.environ.get("SLURM_NTASKS", 0)), int(os.environ.get("SLURM_NNODES", 1))
