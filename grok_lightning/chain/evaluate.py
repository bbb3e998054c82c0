"""Finished runs again: evaluated, asked for their answers, or opened in a notebook."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from grok_lightning.chain.build import RunCLI, connect, describe_data
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import read_manifest
from grok_lightning.chain.merge import read_config
from grok_lightning.chain.run import CONFIG_FILE
from grok_lightning.chain.weights import read_weights
from grok_lightning.networks import load_tensors, network_of

EvaluateCommand = Literal["validate", "test", "predict"]
ANSWERS_FILE = "answers.csv"
ALONE = {"logger": False, "callbacks": None, "devices": 1, "num_nodes": 1, "strategy": "auto"}
"""Options of a Trainer that evaluates: it logs nothing, and its sums do not depend on the number of devices."""


def open_run(folder: Path, which: str = "last") -> RunCLI:
    """Build a finished run's data and module again, on one device, with the weights it ended with.

    Args:
        folder: Run folder.
        which: `last`; or `best`, those that the callback `BestWeights` kept.

    Raises:
        ChainError: If the folder is no finished run, keeps no best weights, or its data have become others.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise ChainError(f"{folder}: no run; expected a folder such as logs/<recipe>/run_000/<stage>/seed_0")
    if manifest.status != "finished":
        raise ChainError(f"{folder}: this run is {manifest.status}; finish it with `lightning fit` first")
    config = read_config(folder / CONFIG_FILE)
    accelerator = "cpu" if config["trainer"]["accelerator"] == "cpu" else "auto"  # any other may not be there
    config["trainer"] = {**config["trainer"], **ALONE, "accelerator": accelerator}
    cli = RunCLI(config, folder)
    connect(cli.model, cli.datamodule)
    if manifest.data.get("hash") not in (None, describe_data(cli.datamodule).get("hash")):
        raise ChainError(
            f"{folder}: its data are no longer those it was trained on; has the code of an operation or a data module "
            "been changed since? Undo that, or train it again with `lightning fit`"
        )
    weights = read_weights(folder, which)
    load_tensors(network_of(cli.model), weights.tensors, strict=True)
    return cli


def evaluate_run(folder: Path, command: EvaluateCommand, which: str = "last") -> dict[str, float | str]:
    """Return what a finished run measures on its validation or test part, or where its answers were written.

    Args:
        folder: Run folder.
        command: What to do.
        which: Which of its weights to do it with, see `open_run`.

    Raises:
        ChainError: If the folder is no finished run, or its module or data have no such part.
    """
    cli = open_run(folder, which)
    trainer: Trainer = cli.trainer
    try:
        if command == "predict":
            predictions = trainer.predict(cli.model, datamodule=cli.datamodule) or []
            return {"answers": str(write_answers(predictions, folder / ANSWERS_FILE))}
        function = trainer.validate if command == "validate" else trainer.test
        measured = function(cli.model, datamodule=cli.datamodule, verbose=False)
    except MisconfigurationException as error:
        raise ChainError(f"{folder}: {error}") from None
    return {name: value for part in measured for name, value in part.items()}


def write_answers(predictions: Iterable[Any], path: Path) -> Path:
    """Write predictions as a table, one row for each equation.

    A batch is a mapping of columns, or a tensor, whose columns are then numbered.

    Raises:
        ChainError: If a batch is neither.
    """
    batches = [batch for part in predictions for batch in (part if isinstance(part, list) else [part])]
    tables = [_columns(batch) for batch in batches]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(tables[0] if tables else [])
        for columns in tables:
            writer.writerows(zip(*columns.values(), strict=True))
    return path


def _columns(batch: Any) -> Mapping[str, list[Any]]:
    if isinstance(batch, Mapping):
        return {name: column.tolist() if hasattr(column, "tolist") else column for name, column in batch.items()}
    if hasattr(batch, "flatten") and hasattr(batch, "tolist"):
        table = batch.flatten(1) if batch.dim() > 1 else batch[:, None]
        return {str(index): column.tolist() for index, column in enumerate(table.unbind(1))}
    raise ChainError(f"predict_step returned a {type(batch).__name__}; expected a mapping of columns or a tensor")
