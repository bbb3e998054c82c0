"""How near an embedding is to the one that theory builds."""

from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from grok_lightning.operations import AbelianGroup, abelian_group
from grok_lightning.spectra import top_character_share


class CharacterShare(Callback):
    """Logs at evaluations how much of the embedding lies in one character of a group.

    - `embedding/add_share`: share of the embedding's variation over the residues that its strongest frequency has, a
      cosine and a sine, see `top_character_share`;
    - `embedding/mul_share`: the same over the units under ·, put in the order of their discrete logarithms where they
      are the powers of one of them; and so on for other operations.

    An embedding that draws one character of the operation's group as a circle has share 1, see there.

    Args:
        operations: The operations whose groups are looked for.

    Raises:
        ValueError: If none is given; before training, if the elements of the data are no residues or an operation has
            no group on them.
    """

    def __init__(self, operations: list[str] | None = None) -> None:
        self.operations = ["add", "mul"] if operations is None else operations
        if not self.operations or isinstance(self.operations, str):
            raise ValueError(f"operations is {operations!r}; expected a list of operations, such as [add, mul]")
        self.groups: dict[str, AbelianGroup] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the groups."""
        self.check_run(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data whose elements have no such groups.

        Raises:
            ValueError: If they are no residues, or an operation has no group on them.
        """
        residues = getattr(datamodule, "residues", None)
        if residues is None:
            raise ValueError("CharacterShare is for data over residues; the elements of these data are none")
        try:
            self.groups = {operation: abelian_group(operation, len(residues)) for operation in self.operations}
        except ValueError as error:
            raise ValueError(f"CharacterShare: {error}; leave it out of its operations") from None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the shares."""
        if trainer.sanity_checking:
            return
        network: Any = pl_module.network
        vectors = network.token_vectors().detach()
        for operation, group in self.groups.items():
            share = top_character_share(vectors[group.members], group.orders)
            pl_module.log(f"embedding/{operation}_share", share)
