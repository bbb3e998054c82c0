"""Linear functions z = a·x + b·y + … modulo n, and which of them training may see.

A function is its coefficients (a, b). A model that has seen some of them has to infer others from examples (He, Doshi,
Das and Gromov, "Learning to grok: emergence of in-context learning and skill composition in modular arithmetic tasks",
arXiv 2406.02550).
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grok_lightning.data.module import check_choice

Selection = Literal["rectangular", "random"]
Numbers = NDArray[np.int64]
FUNCTION_DRAW = 2**32 - 1
"""Keeps the draw of functions apart from others that follow the same seed."""


class Functions(NamedTuple):
    """Coefficients of all linear functions, each a LongTensor.

    Attributes:
        known: Those that training sees `(known, variables)`.
        new: All others, in random order `(new, variables)`.
    """

    known: Tensor
    new: Tensor


def choose_functions(
    modulus: int, count: int, seed: int, selection: Selection = "rectangular", variables: int = 2
) -> Functions:
    """Choose the functions that training sees.

    The seed alone decides: neither the global random state nor the default device is read or changed. With one seed
    fewer random functions are the first of more; rectangles are drawn anew.

    Args:
        modulus: The modulus.
        count: How many functions are known.
        seed: Seed of the choice.
        selection: `random`; or `rectangular`, for two variables: a quarter of the functions are drawn at random, and
            with each (a, b) go (a, b'), (a', b) and (a', b'), where a' is random but neither a nor b, and b' none of
            these three. So every known pair of coefficients is the corner of a rectangle of known ones. The first
            quarter comes first, then the three others of each.
        variables: How many coefficients a function has.

    Raises:
        ValueError: If an argument is out of range, there are not so many functions, none is left to be new, or
            rectangles do not fit.
    """
    check_choice("selection", selection, Selection)
    for key, size, least in (("modulus", modulus, 2), ("variables", variables, 1)):
        if size < least:
            raise ValueError(f"{key} is {size}; expected {least} or more")
    total = modulus**variables
    if not 1 <= count < total:
        raise ValueError(
            f"functions is {count}; expected 1 to {total - 1}, so that of the {total} functions of {variables} "
            f"variables modulo {modulus} at least one is new"
        )
    if selection == "rectangular":
        order = _fitting_rectangles(modulus, count, seed, variables)
    else:
        order = _generator(seed).permutation(total)
    coefficients = torch.from_numpy(np.stack(np.unravel_index(order, (modulus,) * variables), axis=1))
    return Functions(coefficients[:count], coefficients[count:])


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, FUNCTION_DRAW))


def _fitting_rectangles(modulus: int, count: int, seed: int, variables: int) -> Numbers:
    """Return what `_rectangles` does, or say why there are none."""
    if variables != 2:
        raise ValueError(f"selection is 'rectangular', which needs 2 variables, not {variables}; expected 'random'")
    if count % 4:
        raise ValueError(f"functions is {count}; expected a multiple of 4 for rectangles, or selection: random")
    order = _rectangles(modulus, count, seed)
    if order is None:
        fewer = (size for size in range(count - 4, 0, -4) if _rectangles(modulus, size, seed) is not None)
        largest = next(fewer, None)
        expected = f"{largest}, the largest number below that fits, or " if largest else ""
        raise ValueError(
            f"functions is {count}, for which rectangles modulo {modulus} with seed {seed} do not fit; expected "
            f"{expected}selection: random"
        )
    return order


def _rectangles(modulus: int, count: int, seed: int) -> Numbers | None:
    """Return all numbers a · modulus + b, known ones first, or None where a rectangle does not fit.

    Drawing among all rectangles that are free does what drawing any until one is free would.
    """
    generator = _generator(seed)
    order = generator.permutation(modulus**2)
    bases, corners = order[: count // 4], []
    taken = np.zeros((modulus, modulus), dtype=bool)
    taken.flat[bases] = True
    for a, b in zip(*np.divmod(bases, modulus), strict=True):
        unfit = taken | taken[a] | taken[:, b, None] | np.eye(modulus, dtype=bool)  # of (a', b')
        unfit[[a, b]] = unfit[:, [a, b]] = True
        fitting = np.flatnonzero(~unfit)
        if not len(fitting):
            return None
        other_a, other_b = divmod(generator.choice(fitting), modulus)
        for corner in ((a, other_b), (other_a, b), (other_a, other_b)):
            taken[corner] = True
            corners.append(corner[0] * modulus + corner[1])
    return np.concatenate([bases, np.array(corners, dtype=np.int64), order[~taken.flat[order]]])
