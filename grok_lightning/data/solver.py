"""The asked unknown of a system of equations: operations are undone by their tables, or all elements are tried."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from grok_lightning.data.arithmetic import SEVERAL, Arithmetic
from grok_lightning.operations import UNDEFINED, Equation, System

ROWS_AT_ONCE = 2**9
MOST_TRIALS = 2**14
"""Candidates for one row at most, on average; a system that needs more couples too many unknowns."""


class Solver:
    """Solves a system for one assignment of its given letters after another.

    The unknowns are found one at a time. Where an equation has one unknown left, that is isolated by undoing the
    operations around it; where that leaves it open, or no equation has only one left, all elements are tried. Every
    candidate has to make all equations hold whose letters are known by then.

    Args:
        system: The system.
        arithmetic: The operations of its expressions.
    """

    def __init__(self, system: System, arithmetic: Arithmetic) -> None:
        self.system, self.arithmetic = system, arithmetic
        self.plan = _plan(system)

    def solve(self, givens: Mapping[str, Tensor]) -> Tensor:
        """Return the asked unknown (rows,) for the elements (rows,) of each given letter.

        It is `UNDEFINED` where no element solves the system, and `SEVERAL` where more than one does.

        Raises:
            ValueError: If too many unknowns are coupled to try them all.
        """
        columns = torch.stack([givens[letter] for letter in self.system.givens])
        chunks = torch.split(columns, ROWS_AT_ONCE, dim=1)
        return torch.cat([self._solve(dict(zip(self.system.givens, chunk, strict=True))) for chunk in chunks])

    def _solve(self, givens: Mapping[str, Tensor]) -> Tensor:
        count = len(next(iter(givens.values())))
        rows, found = torch.arange(count), givens
        for unknown, equations in self.plan:
            index, elements = self._candidates(unknown, equations, found, count)
            candidates = {**{letter: column[index] for letter, column in found.items()}, unknown: elements}
            holds = torch.ones(len(index), dtype=torch.bool)
            for equation in equations:
                holds &= self._holds(equation, candidates)
            found = {letter: column[holds] for letter, column in candidates.items()}
            rows = rows[index[holds]]
        return _one_of(rows, found[self.system.asked], count)

    def _candidates(
        self, unknown: str, equations: Sequence[Equation], found: Mapping[str, Tensor], rows: int
    ) -> tuple[Tensor, Tensor]:
        """Return elements (candidates,) worth trying for an unknown, each with the row of what is found so far."""
        count, size = len(next(iter(found.values()))), len(self.arithmetic.elements)
        isolated = torch.full((count,), SEVERAL)
        for equation in equations:
            sides = sorted((equation.left, equation.right), key=lambda side: side.count(unknown))
            if [side.count(unknown) for side in sides] == [0, 1]:
                value = self.arithmetic.evaluate(sides[0], found).expand(count)
                isolated = self.arithmetic.isolate(sides[1], unknown, found, value)
                break
        known, open_ = (isolated >= 0).nonzero()[:, 0], (isolated == SEVERAL).nonzero()[:, 0]
        if (trials := len(open_) * size) > MOST_TRIALS * rows:
            raise ValueError(
                f"{self.system.text}: needs {trials // rows} trials for one system, at most {MOST_TRIALS}; "
                "add an equation with a single unknown, or lower the modulus"
            )
        every = torch.arange(size).repeat(len(open_))
        return torch.cat([known, open_.repeat_interleave(size)]), torch.cat([isolated[known], every])

    def _holds(self, equation: Equation, values: Mapping[str, Tensor]) -> Tensor:
        left, right = (self.arithmetic.evaluate(side, values) for side in (equation.left, equation.right))
        return (left == right) & (left != UNDEFINED)


def _plan(system: System) -> list[tuple[str, list[Equation]]]:
    """Return the unknowns in the order in which they are found, each with the equations that decide on it."""
    waiting, found, plan = list(system.equations), set[str](), []
    while len(found) < len(system.unknowns):
        lone = (equation.unknowns - found for equation in waiting)
        closed = [next(iter(letters)) for letters in lone if len(letters) == 1]
        unknown = closed[0] if closed else next(each for each in system.unknowns if each not in found)
        found.add(unknown)
        # An equation without unknowns limits what may be given; the first step sees to it.
        ready = [equation for equation in waiting if equation.unknowns <= found]
        waiting = [equation for equation in waiting if equation not in ready]
        plan.append((unknown, ready))
    return plan


def _one_of(rows: Tensor, values: Tensor, count: int) -> Tensor:
    """Return the value (count,) that all candidates for a row agree on, or what stands for none and for several."""
    largest = torch.full((count,), UNDEFINED).scatter_reduce(0, rows, values, "amax")
    smallest = torch.full((count,), torch.iinfo(torch.long).max).scatter_reduce(0, rows, values, "amin")
    return torch.where((largest == smallest) | (largest == UNDEFINED), largest, SEVERAL)
