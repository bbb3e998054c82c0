"""Where keys stand in sequences, and which keys are held out there."""

import torch
from torch import Tensor

from grok_lightning.data.numbers import shown


class KeyPlaces:
    """At each position, counted from 0, the keys that are trained on and those that are held out.

    A key is held out where it is the position modulo `split_modulus`, and trained on at every other position. So each
    key is trained on, but not everywhere.

    Args:
        keys: The keys.
        positions: Number of positions at which a key may stand.
        split_modulus: Modulus of the rule.

    Raises:
        ValueError: If the modulus is below 2, or no key is held out, or none is trained on.
    """

    def __init__(self, keys: range, positions: int, split_modulus: int) -> None:
        if split_modulus < 2:
            raise ValueError(f"split_modulus is {split_modulus}; expected 2 or more")
        remainders = torch.tensor(keys, device="cpu") % split_modulus
        held_out = remainders == torch.arange(positions, device="cpu")[:, None]
        self.allowed = (~held_out, held_out)
        for name, allowed in zip(("train", "test"), self.allowed, strict=True):
            if not allowed.any():
                raise ValueError(
                    f"there are no {name} keys: of the keys {shown(keys)} at the positions 0 … {positions - 1} "
                    f"{'all' if name == 'train' else 'none'} have key mod {split_modulus} = position; "
                    "give more keys, another length or another split_modulus"
                )

    def draw(self, rows: int, held_out: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw positions `(rows,)` uniformly, and keys `(rows,)`, counted from 0, uniformly among those allowed there.

        Positions at which no key is allowed are left out.
        """
        allowed = self.allowed[held_out]
        fitting = allowed.any(dim=1).nonzero()[:, 0]
        positions = fitting[torch.randint(len(fitting), (rows,), generator=generator, device="cpu")]
        allowed_first = allowed.int().argsort(dim=1, descending=True, stable=True)
        shares = torch.rand(rows, dtype=torch.float64, generator=generator, device="cpu")
        places = (shares * allowed.sum(dim=1)[positions]).long()
        return positions, allowed_first[positions, places]
