"""How information flows through a transformer: attention between the roles that places play."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class AttentionFlow(Metric):
    """Mean attention that a place of one role pays to all places of another together, by block, since the last reset.

    Logged as `flow/block_<b>/<from>_to_<to>`, blocks counted from 0. The mean is over heads and over all places that
    play the role `from`, those to all roles add up to 1; NaN for a role `from` that nothing has played. The last role
    is that of the last place, where the answer is read: it looks as such also where it is looked at as another.

    Args:
        blocks: Number of blocks.
        roles: Number of roles.
    """

    full_state_update = False
    attention: Tensor
    places: Tensor

    def __init__(self, blocks: int, roles: int) -> None:
        super().__init__()
        self.add_state("attention", torch.zeros(blocks, roles, roles, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("places", torch.zeros(roles, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, maps: Sequence[Tensor], roles: Tensor) -> None:
        """Add a batch.

        Args:
            maps: For each block the attention (batch, heads, length, length), places that look in rows.
            roles: Number of the role of each place (batch, length).
        """
        every_role = torch.arange(len(self.places), device=roles.device)
        seen_as = (roles[..., None] == every_role).double()
        looks_as = seen_as.clone()
        looks_as[:, -1] = (every_role == len(every_role) - 1).double()
        for block, weights in enumerate(maps):
            looks_at_roles = weights.mean(1, dtype=torch.double) @ seen_as
            self.attention[block] += looks_as.flatten(0, 1).T @ looks_at_roles.flatten(0, 1)
        self.places += looks_as.sum((0, 1)).long()

    def compute(self) -> Tensor:
        """Return the mean attention (blocks, roles that look, roles looked at)."""
        return self.attention / self.places[:, None]
