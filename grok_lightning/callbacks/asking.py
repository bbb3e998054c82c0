"""A network asked for the answers to a part of the data, between the steps of its training."""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from grok_lightning.callbacks.pictures import evaluating
from grok_lightning.networks.answers import uncompiled


def asked(trainer: Trainer, pl_module: LightningModule, part: str) -> Iterator[tuple[Any, Tensor]]:
    """Yield the batches of a part, this device's share of it, with the logits `(batch, vocabulary)` of a network.

    It answers as in validation: in evaluation mode, without gradients, in the precision of the run. What
    `torch.compile` has made of it is passed by, or each size of a batch would be compiled.
    """
    data, network = trainer.datamodule, pl_module.network  # type: ignore[attr-defined]
    for batch in data.evaluation_batches(part):
        with (
            evaluating(pl_module),
            uncompiled(),
            trainer.precision_plugin.forward_context(),
        ):
            logits = network(batch.tokens)  # type: ignore[operator]
        yield batch, logits
