"""The figure of a recipe: the accuracy curves of all its runs, saved and in TensorBoard."""

import math

from grok_lightning.chain.faults import unwritable
from grok_lightning.chain.locks import report_lock
from grok_lightning.chain.report import Finding, Report
from grok_lightning.curves import Curve
from grok_lightning.figures import accuracy_curves
from grok_lightning.logger import RunLogger, Series, read_metrics

PICTURE = "report.png"
TRAIN, VALIDATION = "train/accuracy", "val/accuracy"


def save_picture(report: Report) -> None:
    """Draw the accuracy curves of all stages into report.png and the recipe's own event file.

    Runs that log no accuracy have no curve, and without any there is no figure.

    Raises:
        ChainError: If the folder cannot be written.
    """
    curves = {stage: [curve for curve in map(_curve, found) if curve] for stage, found in report.findings.items()}
    curves = {stage: found for stage, found in curves.items() if found}
    if not curves:
        return
    figure = accuracy_curves(curves, title=report.name)
    try:
        with report_lock(report.folder):
            figure.savefig(report.folder / PICTURE, dpi=160)
            logger = RunLogger(report.folder)
            logger.rewind(-1)  # one figure, the newest
            logger.experiment.add_figure("accuracy", figure, close=False)
    except OSError as error:
        raise unwritable(report.folder, error) from None


def _curve(finding: Finding) -> Curve | None:
    """Return the accuracies of a run at its evaluations, or None if it logged none."""
    try:
        metrics = read_metrics(finding.folder)
    except FileNotFoundError:
        return None
    steps, validation = metrics.get(VALIDATION, Series([], []))
    if not steps:
        return None
    train = dict(zip(*metrics[TRAIN], strict=True)) if TRAIN in metrics else {}
    return Curve(steps, [train.get(step, math.nan) for step in steps], validation, finding.value("grokked_at"))
