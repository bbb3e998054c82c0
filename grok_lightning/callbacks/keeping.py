"""What callbacks leave in the folder of a run: tables and pictures."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from matplotlib.figure import Figure

from grok_lightning.callbacks.pictures import figure_writers


def write_table(path: Path, header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)  # nothing else may have been written
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def keep_figures(trainer: Trainer, figures: Mapping[str, Figure]) -> None:
    """Save pictures to the run folder, and give them to every logger that takes figures."""
    folder = Path(trainer.default_root_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=200)
        for writer in figure_writers(trainer):
            writer.add_figure(f"pictures/{name}", figure, global_step=trainer.global_step)
