"""What a reader of the examples could answer: reference solvers for linear functions in context.

A linear function modulo p is hidden, and examples of it are given. *Copying* repeats the value of an example. *Ratio
matching* and *modular regression* are the two algorithms that He et al. (arXiv 2406.02550) find in models: the query is
a multiple c of one example, and the answer c times its value; or the query is a combination of examples, and the answer
the same combination of their values. Each answers whatever the one before does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_lightning.operations import is_prime

UNSOLVED = -1
"""What stands for the answer where there is none."""


def copying(examples: Tensor, values: Tensor, queries: Tensor, modulus: int) -> Tensor:
    """Return the answers `(batch,)` of the first example that is the query, −1 where none is.

    Args:
        examples: Inputs of the examples `(batch, shots, variables)`.
        values: Their values `(batch, shots)`.
        queries: Inputs asked about `(batch, variables)`.
        modulus: The modulus.
    """
    matches = ((examples - queries[:, None]) % modulus == 0).all(-1)
    return _first(matches, values % modulus)


def ratio_matching(examples: Tensor, values: Tensor, queries: Tensor, modulus: int) -> Tensor:
    """Return the answers `(batch,)` by the first example of which the query is a multiple, −1 where there is none.

    The zero query is 0 times any example.

    Args:
        examples: Inputs of the examples `(batch, shots, variables)`.
        values: Their values `(batch, shots)`.
        queries: Inputs asked about `(batch, variables)`.
        modulus: The modulus, a prime.

    Raises:
        ValueError: If the modulus is no prime.
    """
    inverses = _inverses(modulus, examples.device)
    directions, lengths = _normalise(examples, modulus, inverses)
    direction, length = _normalise(queries, modulus, inverses)
    matches = (directions == direction[:, None]).all(-1) | (length == 0)[:, None]
    return _first(matches, length[:, None] * inverses[lengths] % modulus * values % modulus)


def modular_regression(examples: Tensor, values: Tensor, queries: Tensor, modulus: int) -> Tensor:
    """Return the answers `(batch,)` by a combination of examples, −1 where the query is none.

    Examples with their values are eliminated column by column, and from the query too; what is left of its value, which
    starts as zero, is the answer with its sign turned around. Examples must not contradict each other. The zero query
    is the combination of none.

    Args:
        examples: Inputs of the examples `(batch, shots, variables)`.
        values: Their values `(batch, shots)`.
        queries: Inputs asked about `(batch, variables)`.
        modulus: The modulus, a prime.

    Raises:
        ValueError: If the modulus is no prime.
    """
    inverses = _inverses(modulus, examples.device)
    rows = F.pad(torch.cat([examples, values[..., None]], dim=-1), (0, 0, 0, 1)) % modulus  # there is always a row
    query = F.pad(queries, (0, 1)) % modulus
    for column in range(queries.shape[-1]):
        place = (rows[..., column] != 0).long().argmax(1)
        pivot = rows[torch.arange(len(rows), device=rows.device), place]
        pivot = pivot * inverses[pivot[:, column, None]] % modulus  # zero where no row has this column
        rows = (rows - rows[..., column, None] * pivot[:, None]) % modulus
        query = (query - query[:, column, None] * pivot) % modulus
    solved = (query[:, :-1] == 0).all(-1)
    return torch.where(solved, -query[:, -1] % modulus, UNSOLVED)


def check_prime(modulus: int) -> None:
    """Refuse a modulus that is no prime.

    Raises:
        ValueError: If it is none.
    """
    if not is_prime(modulus):
        raise ValueError(f"modulus is {modulus}; expected a prime, modulo which one can divide")


def _inverses(modulus: int, device: torch.device) -> Tensor:
    """Return the inverse of each residue `(modulus,)`, and 0 for 0."""
    check_prime(modulus)
    return torch.tensor([0, *(pow(residue, -1, modulus) for residue in range(1, modulus))], device=device)


def _normalise(vectors: Tensor, modulus: int, inverses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the multiples whose first nonzero coefficient is 1 `(..., variables)`, and that coefficient `(...)`."""
    vectors = vectors % modulus
    place = (vectors != 0).long().argmax(-1, keepdim=True)
    leading = vectors.gather(-1, place)
    return vectors * inverses[leading] % modulus, leading[..., 0]


def _first(matches: Tensor, answers: Tensor) -> Tensor:
    """Return the answer `(batch,)` of the first example that matches, both `(batch, shots)`, −1 where none does."""
    place = F.pad(matches.long(), (0, 1), value=1).argmax(1, keepdim=True)
    return F.pad(answers, (0, 1), value=UNSOLVED).gather(1, place)[:, 0]
