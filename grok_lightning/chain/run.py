"""One run: one stage with one seed, built, given its weights, trained, tested and recorded; or resumed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from grok_lightning.callbacks import BestWeights, RunCheckpoint, RunRecord, StageProgress, newest_checkpoint
from grok_lightning.chain.build import RunCLI, connect, describe_data
from grok_lightning.chain.interruption import Interruption
from grok_lightning.chain.manifest import Manifest, plain, write_atomically
from grok_lightning.chain.merge import dump_yaml
from grok_lightning.chain.plan import Run
from grok_lightning.chain.processes import Processes
from grok_lightning.chain.transfer import Landing, apply_transfer, plan_transfers, save_transfers, transfer_table
from grok_lightning.chain.weights import (
    BEST_FILE,
    WEIGHTS_FILE,
    read_checkpoint,
    read_weights,
    save_weights,
    weights_of,
)
from grok_lightning.logger import RunLogger
from grok_lightning.networks import network_of, plain_named_parameters
from grok_lightning.terminal import Screen

CONFIG_FILE = "config.yaml"


@dataclass
class RunSetting:
    """What a run needs to know beside its config.

    Attributes:
        folder: Its folder.
        donors: For each transfer, the folder or file its weights lie in.
        title: What the progress display calls it.
        processes: The processes of the job.
        interruption: Asked whether to save and stop.
        screen: Where to print.
    """

    folder: Path
    donors: Sequence[Path]
    title: str
    processes: Processes
    interruption: Interruption
    screen: Screen


def train_run(run: Run, manifest: Manifest, setting: RunSetting) -> None:
    """Train a run to its end, from its newest checkpoint where there is one, and fill in its manifest.

    Raises:
        StageInterrupted: If the run was asked to stop and has saved itself.
        Exception: Whatever building or training it raises.
    """
    started = time.perf_counter()
    record = RunRecord()
    try:
        cli = _build(run, setting, record)
        module, datamodule = cli.model, cli.datamodule
        connect(module, datamodule)
        _describe(manifest, cli)
        transfers = _transfer(run, module, setting.donors)
        manifest.parameters = _count_parameters(module)
        if setting.processes.leads:
            manifest.write(setting.folder)
            save_transfers(transfers, setting.folder)
            if transfers and run.is_first:
                setting.screen.print(transfer_table(transfers))
        cli.trainer.fit(module, datamodule=datamodule, ckpt_path=_resume_point(setting), weights_only=True)
        _test(cli.trainer, module, datamodule)
        manifest.results = _results(cli.trainer)
        if setting.processes.leads:
            _save_weights(cli.trainer, module, setting.folder)
            _log_results(cli.trainer, run, manifest)
    finally:
        spent = dict(record.seconds)
        spent["setup"] = time.perf_counter() - started - spent["training"] - spent["evaluation"]
        manifest.seconds = {name: round(max(value, 0.0), 3) for name, value in spent.items()}
        manifest.seconds["total"] = round(sum(manifest.seconds.values()), 3)


def _build(run: Run, setting: RunSetting, record: RunRecord) -> RunCLI:
    logger = RunLogger(setting.folder)
    callbacks = [setting.interruption, record, StageProgress(setting.title, setting.screen), RunCheckpoint()]
    cli = RunCLI(run.config, setting.folder, callbacks, [logger])
    for callback in cli.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, RunCheckpoint):  # the chain's or the recipe's own
            callback.interrupted = setting.interruption
    if setting.processes.leads:
        setting.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(setting.folder / CONFIG_FILE, dump_yaml(run.typed))
        checkpoint = newest_checkpoint(setting.folder)
        logger.rewind(read_checkpoint(checkpoint)["global_step"] if checkpoint else -1)
    return cli


def _transfer(run: Run, module: LightningModule, sources: Sequence[Path]) -> list[list[Landing]]:
    """Move weights from all donors, or from none if one does not fit."""
    specs = [donor.spec for donor in run.donors]
    donors = [(read_weights(path, spec.weights), spec) for path, spec in zip(sources, specs, strict=True)]
    plan_transfers(donors, weights_of(module))
    return [apply_transfer(module, donor, spec) for donor, spec in donors]


def _resume_point(setting: RunSetting) -> str | None:
    checkpoint = setting.processes.lead(lambda: newest_checkpoint(setting.folder))
    return None if checkpoint is None else str(checkpoint)


def _test(trainer: Trainer, module: LightningModule, datamodule: LightningDataModule | None) -> None:
    """Take the verdict on the test part, where there is one."""
    source: Any = module if datamodule is None else datamodule
    if is_overridden("test_step", module) and is_overridden("test_dataloader", source):
        trainer.test(module, datamodule=datamodule, verbose=False)


def _save_weights(trainer: Trainer, module: LightningModule, folder: Path) -> None:
    """Save the last weights, and the best where they are kept."""
    last = weights_of(module)
    save_weights(last, folder / WEIGHTS_FILE)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, BestWeights) and callback.tensors:
            save_weights(replace(last, tensors=callback.tensors), folder / BEST_FILE)


def _results(trainer: Trainer) -> dict[str, Any]:
    """Gather what the callbacks found."""
    results: dict[str, Any] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        found = getattr(callback, "results", None)
        if callable(found):
            results.update(found())
    return {name: plain(value) for name, value in results.items()}


def _describe(manifest: Manifest, cli: RunCLI) -> None:
    device = cli.trainer.strategy.root_device
    manifest.device = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    manifest.data = describe_data(cli.datamodule)


def _count_parameters(module: LightningModule) -> dict[str, int]:
    """Count all numbers of the network that are parameters, frozen rows of them included; and those that train."""
    network, tensors = network_of(module), weights_of(module).tensors
    total = sum(tensors[name].numel() for name, _ in plain_named_parameters(network))
    return {"total": total, "trainable": sum(p.numel() for p in network.parameters() if p.requires_grad)}


def _log_results(trainer: Trainer, run: Run, manifest: Manifest) -> None:
    hyperparameters = {
        "stage": run.stage.name,
        "seed": run.seed,
        **_flat({key: run.config[key] for key in ("model", "data") if key in run.config}),
    }
    results = {name: value for name, value in manifest.results.items() if isinstance(value, int | float)}
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.log_results(hyperparameters, results)
            logger.save()


def _flat(config: Any, prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return a config as dotted keys, without the words that every class has."""
    if not isinstance(config, dict):
        return {prefix.removesuffix(".class_path"): config if isinstance(config, bool | int | float) else str(config)}
    flat = {}
    for key, value in config.items():
        flat.update(_flat(value, prefix if key == "init_args" else f"{prefix}.{key}".strip(".")))
    return flat
