"""Faults of a recipe: short, all at once, each saying where it is and how to mend it."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong with a recipe.

    Attributes:
        where: Stage and key, as a user would write them.
        message: What is wrong, what was expected, and how to mend it.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ChainError(Exception):
    """Something a user can mend; shown without a traceback."""


class RecipeError(ChainError):
    """All faults found in one recipe.

    Args:
        recipe: File of the recipe, as the user gave it.
        faults: What is wrong with it.
    """

    def __init__(self, recipe: str, faults: Iterable[Fault]) -> None:
        self.recipe, self.faults = recipe, list(dict.fromkeys(faults))
        count = f"{len(self.faults)} faults" if len(self.faults) > 1 else "1 fault"
        lines = (str(fault).replace("\n", "\n    ") for fault in self.faults)
        super().__init__("\n".join([f"{recipe}: {count}", *(f"  {line}" for line in lines)]))


def unwritable(folder: object, error: OSError) -> ChainError:
    """Return the error for a folder that cannot be written."""
    return ChainError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --log_dir")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the candidate nearest to a name, or the candidates if they are few."""
    names = list(candidates)
    close = difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(sorted(names))}" if 0 < len(names) <= 12 else ""
