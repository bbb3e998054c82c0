"""Faults of a recipe: short, all at once, each saying where it is and how to mend it."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

LONGEST_VALUE = 80
"""Characters of a value that a message shows."""
MOST_STAGES = 5
"""Other stages with the same fault that a message names."""
IN_STAGE = re.compile(r"stages\.(?P<stage>[^.\[]+(\[[^]]*\])?)\.(?P<key>.+)")
"""Where a fault of a stage is; a stage at a point of a grid has the point in brackets."""


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
        texts = _texts(self.faults)
        count = f"{len(texts)} faults" if len(texts) > 1 else "1 fault"
        lines = (text.replace("\n", "\n    ") for text in texts)
        super().__init__("\n".join([f"{recipe}: {count}", *(f"  {line}" for line in lines)]))


def _texts(faults: Iterable[Fault]) -> list[str]:
    """Return one text for each fault; one that several stages have, from the defaults, is said once."""
    first: dict[tuple[str, ...], Fault] = {}
    also: dict[tuple[str, ...], list[str]] = {}
    for fault in faults:
        place = IN_STAGE.fullmatch(fault.where)
        same = ("stages", place["key"], fault.message) if place else tuple(fault)
        if place and same in first:
            also.setdefault(same, []).append(place["stage"])
        else:
            first[same] = fault
    return [f"{fault}{_also(also.get(same, ()))}" for same, fault in first.items()]


def _also(stages: Sequence[str]) -> str:
    named = list(stages)
    if len(stages) > MOST_STAGES:
        named[MOST_STAGES - 1 :] = [f"{len(stages) - MOST_STAGES + 1} more"]
    return f" (also in {', '.join(named)})" if stages else ""


def unwritable(folder: object, error: OSError) -> ChainError:
    """Return the error for a folder that cannot be written."""
    return ChainError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --log_dir")


def nearest(name: object, candidates: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the candidate nearest to a name, or the candidates if they are few."""
    names = list(dict.fromkeys(candidates))
    close = difflib.get_close_matches(str(name), names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(sorted(names))}" if 0 < len(names) <= 12 else ""


def shown(value: Any) -> str:
    """Return a value as a recipe would have it, in one line and cut short."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    except TypeError:  # a mapping with keys that are no text
        text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
