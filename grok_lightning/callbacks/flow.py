"""How information flows through a transformer, and whether it makes inputs alike that have the same answer."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from grok_lightning.callbacks.flow_pictures import PUBLISHED, Pair, Shown, flow_pictures, pair_pictures
from grok_lightning.callbacks.keeping import keep_figures
from grok_lightning.callbacks.pictures import evaluating
from grok_lightning.data import CompositeFunctionDataModule, EquationDataModule, Equations
from grok_lightning.data.batches import ENDLESS, EvaluationBatches, numbered_generator
from grok_lightning.metrics import AnswerSimilarity, AttentionFlow
from grok_lightning.networks import ArithmeticTransformer, attention_maps, stream_vectors
from grok_lightning.networks.places import LAST

ROW_DRAW = ENDLESS + 1
"""Keeps the choice of rows apart from the draws of the data."""


class FlowProgress(Callback):
    """Logs at evaluations where a transformer looks, and whether vectors of equal answers become alike.

    After Zhang et al. (arXiv 2405.05409, Figs. 3 and 4), of some sequences of the validation part, which the seed of
    the split chooses.

    Logged as `flow/block_<b>/<from>_to_<to>`, see `AttentionFlow`: what the last place sees of each place; of composite
    functions what it sees of key and anchors, and what anchors see of key and anchors before them. Logged as
    `alike/block_<b>/…`, see `AnswerSimilarity`: of the stream at the last place after the attention of each block. Two
    sequences of composite functions are compared there unless they have the same anchors in any order, because a
    network that remembers pairs turned around makes those alike too.

    When training ends, pictures go to the run folder and to TensorBoard: `flow.png`, the attention in one sequence, and
    `flow_roles.png`; of two anchors also `pairs.png`, the accuracy of each pair, and similarities as in Fig. 4,
    `alike.png` where the data have these pairs and keys, and `values.png`. See `grok_lightning.composite`.

    Results: `same_answer_similarity` and `other_answer_similarity`, of the last block.

    Args:
        rows: Sequences at most.
        key: Key of the sequence that is drawn, of composite functions; of others the first of the validation part is.
        pair: Its anchors.
        lower: Two pairs whose sequences are compared below the diagonal of `alike.png`.
        upper: Two others, above it.
        keys: First and last key that are compared.

    Raises:
        ValueError: If `rows` or `keys` are out of range; before training, if the network is no ArithmeticTransformer,
            or the data are no equations, or do not have the key, keys or pairs that are asked for.
    """

    def __init__(
        self,
        rows: int = 1024,
        key: int = PUBLISHED.key,
        pair: Pair = PUBLISHED.pair,
        lower: tuple[Pair, Pair] = PUBLISHED.lower,
        upper: tuple[Pair, Pair] = PUBLISHED.upper,
        keys: tuple[int, int] = PUBLISHED.keys,
    ) -> None:
        if rows < 1:
            raise ValueError(f"rows is {rows}; expected a positive number of sequences")
        if keys[0] > keys[1]:
            raise ValueError(f"keys is {list(keys)}; expected first and last key, as in [30, 40]")
        self.rows = rows
        self.shown = Shown(key, pair, lower, upper, keys)
        self.chosen: EvaluationBatches | None = None
        self.flow: Tensor | None = None
        self.similarities: dict[str, float] = {}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse networks without attention, and data that are no equations.

        Raises:
            ValueError: If they are such.
        """
        if not isinstance(network, ArithmeticTransformer):
            raise ValueError(f"FlowProgress is for an ArithmeticTransformer, not for a {type(network).__name__}")
        if not isinstance(datamodule, EquationDataModule):
            name = type(datamodule).__name__
            raise ValueError(f"FlowProgress is for equations, such as of CompositeFunctionDataModule, not for {name}")
        if isinstance(datamodule, CompositeFunctionDataModule) and (absent := self.shown.absent(datamodule)):
            first, last = datamodule.keys[0], datamodule.keys[-1]
            has = f"keys {first} to {last} and anchors 1 to {datamodule.functions.count}"
            raise ValueError(f"FlowProgress: {', '.join(absent)}; the data have {has}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the same where nobody has checked before, and choose the sequences."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.check_run(pl_module.network, data)  # type: ignore[arg-type]
        self.chosen = EvaluationBatches(self._choose(data), *data.place)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure attention and similarities, all devices together."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.chosen is None:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with evaluating(pl_module):
            flow, alike = _measured(pl_module.network, data, self.chosen, pl_module.device)
        self.flow = flow.cpu()
        found = _named_flows(flow, data) | {f"alike/{name}": value for name, value in alike.items()}
        pl_module.log_dict({name: value for name, value in found.items() if value.isfinite()})
        last = f"block_{len(flow) - 1}"
        self.similarities = {name: float(alike[f"{last}/{name}"]) for name in ("same_answer", "other_answer")}

    # Not on_train_end, which a run does not come to that was cut short here and is taken up again.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if not trainer.is_global_zero or self.flow is None:
            return
        network: Any = pl_module.network
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            rank_zero_warn("FlowProgress: the weights are not finite, and nothing is drawn")
            return
        network.to(trainer.strategy.root_device)  # from where Lightning has moved it already
        with evaluating(pl_module):
            figures = self._figures(network, trainer.datamodule, self.flow)  # type: ignore[attr-defined]
        network.cpu()
        keep_figures(trainer, figures)

    def results(self) -> dict[str, float | None]:
        """Return how alike the vectors of equal answers are, and those of others."""
        return {
            f"{name}_similarity": value if math.isfinite(value) else None  # there may be no pair
            for name, value in self.similarities.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured last."""
        return {"flow": self.flow, "similarities": dict(self.similarities)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what was measured last."""
        self.flow, self.similarities = state_dict["flow"], dict(state_dict["similarities"])

    def _choose(self, data: EquationDataModule) -> Equations:
        """Some sequences, the same whatever the number of devices."""
        part: Equations = data.part("val")
        order = torch.randperm(len(part), generator=numbered_generator(data.split_seed, ROW_DRAW), device="cpu")
        return part.at(order[: self.rows].to(part.tokens.device))

    def _figures(self, network: Any, data: Any, flow: Tensor) -> dict[str, Any]:
        figures = dict(flow_pictures(network, data, flow, self.shown))
        if isinstance(data, CompositeFunctionDataModule) and data.anchors == 2:
            figures |= dict(pair_pictures(network, data, self.shown, self.rows))
        return figures


def _measured(
    network: Any, data: Any, batches: EvaluationBatches, device: torch.device
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the attention (blocks, roles, roles), and how alike vectors are by block, all devices together."""
    blocks, width = len(network.decoder.blocks), network.embedding.table.weight.shape[1]
    paths = [f"decoder.blocks.{block}.attention" for block in range(blocks)]
    groups = data.functions.count**data.anchors if isinstance(data, CompositeFunctionDataModule) else None
    flow = AttentionFlow(blocks, len(data.role_names)).to(device)
    alike = [AnswerSimilarity(len(data.vocabulary), width, groups).to(device) for _ in paths]
    for batch in batches:
        flow.update(attention_maps(network, batch.tokens), data.roles(batch.tokens))
        vectors = stream_vectors(network, batch.tokens, paths, LAST)
        its = None if groups is None else _whatever_order(data, batch.tokens)
        for path, metric in zip(paths, alike, strict=True):
            metric.update(vectors[path], batch.answers, its)
    similarities = {
        f"block_{block}/{name}": value for block, metric in enumerate(alike) for name, value in metric.compute().items()
    }
    return flow.compute(), similarities


def _named_flows(flow: Tensor, data: EquationDataModule) -> dict[str, Tensor]:
    """The attention of the roles that are worth a curve, by name; that of the last place is called `last`."""
    names = data.role_names
    labels = (*names[:-1], "last")
    pairs = [(names.index(looks), names.index(seen)) for looks, seen in data.flows]
    return {
        f"flow/block_{block}/{labels[looks]}_to_{labels[seen]}": its[looks, seen]
        for looks, seen in pairs
        for block, its in enumerate(flow)
    }


def _whatever_order(data: CompositeFunctionDataModule, tokens: Tensor) -> Tensor:
    """The number of the anchors of each sequence (rows,), the same for a pair and the pair turned around."""
    anchors = data.pairs_of(tokens).sort(-1).values - 1
    places = torch.arange(data.anchors, device=tokens.device)
    return (anchors * data.functions.count**places).sum(-1)
