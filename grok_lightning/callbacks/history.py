"""What callbacks keep of evaluations: a history by step, on a cadence, that stays small."""

from collections.abc import Mapping
from typing import Any, TypeVar

from grok_lightning.callbacks.cadence import Cadence

Kept = TypeVar("Kept")

LARGEST_HISTORY = 64
"""Entries of a history at most: when there are more, every second one goes."""


class History(dict[int, Kept]):
    """What is kept of a run, by step.

    Args:
        every_n_steps: Smallest number of steps between entries.
        growth: Ratio of their steps, 1 for evenly spaced ones.

    Attributes:
        due: Step from which on the next entry is due.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, every_n_steps: int = 1, growth: float = 1.0) -> None:
        super().__init__()
        self.cadence = Cadence(every_n_steps, growth)
        self.due = 0

    def is_due(self, step: int) -> bool:
        """Say whether an entry is due at a step."""
        return step >= self.due

    def keep(self, step: int, entry: Kept) -> None:
        """Keep an entry; of more than 64 every second one is dropped, but for the first and the last."""
        self[step] = entry
        self.due = self.cadence.beyond(step, self.due)
        if len(self) > LARGEST_HISTORY:
            for between in sorted(self)[1:-1:2]:
                del self[between]

    def state_dict(self) -> dict[str, Any]:
        """Return the entries, and when the next one is due."""
        return {"history": dict(self), "due": self.due}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the entries of another history; a state may hold more than that."""
        self.clear()
        self.update(state_dict["history"])
        self.due = state_dict["due"]
