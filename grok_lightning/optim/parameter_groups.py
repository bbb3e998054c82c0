"""Learning rate, weight decay and freezing by parameter: one ordered list of rules, the first match wins."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

from torch import nn
from torch.optim import Optimizer

NamedParameter = tuple[str, nn.Parameter]
NamedParameters = Iterable[NamedParameter]


@dataclass(frozen=True)
class ParameterRule:
    """What holds for the parameters that a pattern matches.

    Attributes:
        pattern: A part of the network (`embedding`, `decoder.blocks.0`) with everything below it, or a shell pattern of
            the whole dotted name (`*.bias`).
        lr: Multiplier of the learning rate; 0 freezes.
        weight_decay: Multiplier of the weight decay.

    Raises:
        ValueError: If the pattern is empty, or a multiplier is negative or not finite.
    """

    pattern: str
    lr: float = 1.0
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        if not self.pattern:
            raise ValueError("`pattern` must name a part of the network or be a shell pattern, got ''.")
        for name, multiplier in (("lr", self.lr), ("weight_decay", self.weight_decay)):
            if not (isfinite(multiplier) and multiplier >= 0):
                raise ValueError(f"`{name}` of {self.pattern!r} must be a number of at least 0, got {multiplier}.")


EVERYTHING = ParameterRule("*")


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name lies in the part, or fits the shell pattern, that `pattern` is."""
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def parameter_groups(
    named_parameters: NamedParameters, rules: Sequence[ParameterRule] = ()
) -> list[tuple[ParameterRule, list[NamedParameter]]]:
    """Sort parameters by the first rule that matches them, and freeze those whose learning rate it multiplies by 0.

    Parameters without a rule go by the rule `*`, both multipliers 1. Frozen parameters are left out, those frozen
    before too, and so are groups that have no others.

    Args:
        named_parameters: Parameters by dotted name, frozen ones included.
        rules: The rules, in order.

    Raises:
        ValueError: If a rule matches nothing, earlier rules take all that it matches, or nothing is left to train.
    """
    named = list(named_parameters)
    every = [*rules, EVERYTHING]
    groups: list[list[NamedParameter]] = [[] for _ in every]
    for name, parameter in named:
        first = next(place for place, rule in enumerate(every) if matches(name, rule.pattern))
        groups[first].append((name, parameter))
    names = [name for name, _ in named]
    if faults := [_fault(rule.pattern, names) for rule, group in zip(rules, groups, strict=False) if not group]:
        raise ValueError("\n".join(faults))
    for rule, group in zip(every, groups, strict=True):
        if rule.lr == 0:
            for _, parameter in group:
                parameter.requires_grad_(False)
    trained = [[named for named in group if named[1].requires_grad] for group in groups]
    if not any(trained):
        raise ValueError(f"All {len(named)} parameters are frozen: nothing is left to train.")
    return [(rule, group) for rule, group in zip(every, trained, strict=True) if group]


def build_optimizer(
    optimizer: Callable[[Any], Optimizer], named_parameters: NamedParameters, rules: Sequence[ParameterRule] = ()
) -> Optimizer:
    """Build an optimiser whose groups have the rates and decays of the rules, and their patterns as names.

    Parameters are given with their names, which torch keeps as `param_names`.

    A scheduler that scales the rates of its groups keeps their ratios; one that sets rates itself (`OneCycleLR`) has to
    be given a rate for each group.

    Args:
        optimizer: Builds the optimiser from groups of parameters; the multipliers act on what it gives them.
        named_parameters: Parameters by dotted name, frozen ones included.
        rules: The rules, in order.

    Raises:
        ValueError: As `parameter_groups`, or if the optimiser has no learning rate or weight decay for a rule to
            multiply.
    """
    groups = parameter_groups(named_parameters, rules)
    built = optimizer([{"params": parameters, "name": rule.pattern} for rule, parameters in groups])
    for group, (rule, _) in zip(built.param_groups, groups, strict=True):
        for key, multiplier in (("lr", rule.lr), ("weight_decay", rule.weight_decay)):
            if multiplier == 1:
                continue
            if key not in group:
                raise ValueError(f"{type(built).__name__} has no `{key}` for the rule of {rule.pattern!r} to multiply.")
            group[key] = group[key] * multiplier
    return built


def _fault(pattern: str, names: list[str]) -> str:
    if any(matches(name, pattern) for name in names):
        return f"Earlier rules take every parameter that {pattern!r} matches; put it before them."
    return f"{pattern!r} matches no parameter.{nearest_part(pattern, names)}"


def nearest_part(pattern: str, names: Iterable[str]) -> str:
    """The end of an error message: the part of a network closest to a wrong one, or nothing."""
    parts = {".".join(words[: end + 1]) for words in (name.split(".") for name in names) for end in range(len(words))}
    closest = get_close_matches(pattern, sorted(parts), n=1)
    return f" Did you mean {closest[0]!r}?" if closest else ""
