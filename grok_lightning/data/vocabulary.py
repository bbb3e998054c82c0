"""Tokens by name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches


@dataclass(frozen=True, init=False)
class Vocabulary:
    """The names of the tokens, in the order of their indices.

    Equal names in equal order make equal vocabularies. Parts of a network move between vocabularies by token name.

    Args:
        names: A name for each token, none twice.

    Raises:
        ValueError: If a name occurs twice, or a single string is given for the names.
    """

    names: tuple[str, ...]
    _indices: dict[str, int] = field(repr=False, compare=False)

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise ValueError(f"names={names!r} is a single string, expected one string for each token")
        names = tuple(names)
        indices = {name: index for index, name in enumerate(names)}
        if len(indices) < len(names):
            # The later of two equal names owns the entry.
            repeated = next(name for index, name in enumerate(names) if indices[name] != index)
            raise ValueError(f"names holds {repeated!r} more than once, expected distinct names")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_indices", indices)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._indices

    def __getitem__(self, index: int) -> str:
        """The name of a token.

        Raises:
            IndexError: If there is no such token; there is no counting from the end, where −1 means undefined.
        """
        if not 0 <= index < len(self.names):
            raise IndexError(f"token {index} is outside a vocabulary of {len(self.names)} tokens")
        return self.names[index]

    def index(self, name: str) -> int:
        """The token with this name.

        Raises:
            ValueError: If there is none.
        """
        if name not in self._indices:
            nearest = get_close_matches(name, self.names, n=1)
            hint = f": did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"no token is named {name!r} among {len(self.names)} tokens{hint}")
        return self._indices[name]

    def encode(self, names: Iterable[str]) -> list[int]:
        """The tokens with these names.

        Raises:
            ValueError: If a name is unknown.
        """
        return [self.index(name) for name in names]

    def common(self, other: "Vocabulary") -> list[tuple[int, int]]:
        """The names that both know, as (own token, other's token), in own order."""
        return [(index, other.index(name)) for index, name in enumerate(self.names) if name in other]
