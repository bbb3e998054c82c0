"""Sequences of noise with a key and anchors in it: how they are written, and how they are read."""

import torch
from torch import Tensor

from grok_lightning.data.anchors import Anchors
from grok_lightning.data.equations import EquationDataModule

ANCHOR_ROLES = {1: ("anchor",), 2: ("first_anchor", "second_anchor")}


class AnchoredDataModule(EquationDataModule):
    """Sequences whose answer is that of a key and the anchors right after it; all other tokens are noise.

    The vocabulary holds the numbers first, then the anchors.

    Attributes:
        keys: The keys, which are the noise too.
        numbers: The numbers that are tokens.
        anchors: Anchors of a sequence.
        length: Tokens of a sequence.
    """

    keys: range
    numbers: range
    anchors: int
    length: int

    @property
    def number_tokens(self) -> range:
        """The tokens of the keys; the other numbers are answers only."""
        return range(self.keys.start - self.numbers.start, self.keys.stop - self.numbers.start)

    @property
    def role_names(self) -> tuple[str, ...]:
        """Names of the roles: noise, the key, the anchors, and the last place.

        Where an anchor stands last, it is looked at as the anchor it is, and looks as the last place, see
        `AttentionFlow`.
        """
        return ("noise", "key", *ANCHOR_ROLES[self.anchors], "last")

    @property
    def flows(self) -> tuple[tuple[str, str], ...]:
        """What the last place sees of key and anchors, and what each of these sees of those before it."""
        _, *parts, last = self.role_names
        before = [(later, earlier) for place, later in enumerate(parts) for earlier in parts[:place]]
        return (*((last, name) for name in parts), *before)

    def roles(self, tokens: Tensor) -> Tensor:
        """Return the number of the role `(..., length)` that each place of sequences `(..., length)` plays."""
        places = torch.arange(self.length, device=tokens.device)
        from_key = places - self.positions_of(tokens)[..., None]
        roles = torch.where((from_key >= 0) & (from_key <= self.anchors), from_key + 1, 0)
        is_last = (places == self.length - 1) & (roles == 0)
        return roles.masked_fill(is_last, self.anchors + 2)

    def positions_of(self, tokens: Tensor) -> Tensor:
        """Return the position `(...)`, counted from 0, of the key of sequences `(..., length)`."""
        return (tokens >= len(self.numbers)).int().argmax(dim=-1) - 1

    def keys_of(self, tokens: Tensor) -> Tensor:
        """Return the key `(...)`, as the number it is, of sequences `(..., length)`."""
        return tokens.gather(-1, self.positions_of(tokens)[..., None])[..., 0] + self.numbers.start

    def pairs_of(self, tokens: Tensor) -> Tensor:
        """Return the anchors `(..., anchors)`, counted from 1 as in their names, of sequences `(..., length)`."""
        offsets = torch.arange(1, self.anchors + 1, device=tokens.device)
        found = tokens.gather(-1, self.positions_of(tokens)[..., None] + offsets)
        return found - len(self.numbers) + 1

    def noise(self, rows: int, generator: torch.Generator) -> Tensor:
        """Draw tokens `(rows, length)` from the range of the keys."""
        drawn = torch.randint(len(self.keys), (rows, self.length), generator=generator, device="cpu")
        return drawn + self.keys.start - self.numbers.start

    def sequences(self, group: Anchors, positions: Tensor, keys: Tensor, noise: Tensor) -> Tensor:
        """Return sequences `(rows, length)` of a pair, or of a single anchor.

        Args:
            group: The anchors, counted from 1.
            positions: Where the keys stand `(rows,)`.
            keys: The keys `(rows,)`, counted from 0.
            noise: What stands at all other places `(rows, length)`.
        """
        tokens, every_row = noise.clone(), torch.arange(len(noise), device="cpu")
        tokens[every_row, positions] = keys + self.keys.start - self.numbers.start
        for place, anchor in enumerate(group, start=1):
            tokens[every_row, positions + place] = len(self.numbers) + anchor - 1
        return tokens
