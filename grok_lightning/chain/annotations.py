"""Type annotations as a recipe sees them: the forms in which a value may be given, and these in words."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from torch import Tensor

PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
NO_CLASS_PATH = (*PLAIN, Tensor, Enum, os.PathLike, tuple, list, set, frozenset, dict, bytes, complex)
"""Classes whose values are not made from a class_path."""
LISTS, MAPPINGS = (list, set, frozenset, Iterable, Sequence), (dict, Mapping)


class Forms(NamedTuple):
    """The forms in which a recipe may give a value of a type, beside plain values.

    Attributes:
        bases: Classes of which one below may be named by class_path.
        skip: How many of its first arguments are given later.
        record: Dataclass whose fields may be given as a mapping.
        items: Type of the items of a list; a tuple of types for a list of this length.
        values: Type of the values of a mapping.
    """

    bases: tuple[type, ...] = ()
    skip: int = 0
    record: Any = None
    items: Any = None
    values: Any = None

    @property
    def is_free(self) -> bool:
        """Whether anything may be given."""
        return object in self.bases


ANYTHING = Forms(bases=(object,), items=Any, values=Any)


def members(annotation: Any) -> Iterator[Any]:
    """Yield the types that a union stands for, or the type itself."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member)
    elif origin is Annotated:
        yield from members(get_args(annotation)[0])
    else:
        yield annotation


def admits_null(annotation: Any) -> bool:
    """Say whether a type admits null."""
    return any(member in (Any, object, None, NoneType) for member in members(annotation))


def forms(annotation: Any) -> Forms:
    """Return the forms in which a recipe may give a value of a type."""
    found = Forms()
    for member in members(annotation):
        form = _forms_of_member(member)
        bases, skip = found.bases + form.bases, max(found.skip, form.skip)
        found = Forms(bases, skip, *(new or old for new, old in zip(form[2:], found[2:], strict=True)))
    return found


def _forms_of_member(member: Any) -> Forms:
    origin, arguments = get_origin(member) or member, get_args(member)
    if member in (Any, object):
        return ANYTHING
    if origin is Callable and arguments:
        return Forms(bases=forms(arguments[-1]).bases, skip=len(member.__args__) - 1)
    if origin in LISTS and arguments:
        return Forms(items=arguments[0])
    if origin is tuple and arguments:
        return Forms(items=arguments[0] if arguments[-1] is Ellipsis else arguments)
    if origin in MAPPINGS and arguments:
        return Forms(values=arguments[1])
    if dataclasses.is_dataclass(origin):
        return Forms(record=origin)
    return Forms(bases=(origin,)) if _has_class_path(origin) else Forms()


def _has_class_path(cls: Any) -> bool:
    return inspect.isclass(cls) and cls not in (*LISTS, *MAPPINGS, Callable) and not issubclass(cls, NO_CLASS_PATH)


def words(annotation: Any) -> str:
    """Return what a recipe may say for a value of a type, in words."""
    choices = list(dict.fromkeys(map(str, choices_of(annotation))))
    texts = [f"one of {', '.join(choices)}"] if choices else []
    texts += filter(None, map(_words_of_member, members(annotation)))
    if PLAIN[float] in texts:
        texts = [text for text in texts if text != PLAIN[int]]
    texts = list(dict.fromkeys(texts))
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def choices_of(annotation: Any) -> list[Any]:
    """Return the values of the literals and enumerations in a type."""
    choices: list[Any] = []
    for member in members(annotation):
        if get_origin(member) is Literal:
            choices += get_args(member)
        elif inspect.isclass(member) and issubclass(member, Enum):
            choices += member.__members__
    return choices


def _words_of_member(member: Any) -> str:
    form = _forms_of_member(member)
    if member in PLAIN:
        return PLAIN[member]
    if form.is_free:
        return "any value"
    if form.bases:
        return f"class_path and init_args of {' or '.join(base.__name__ for base in form.bases)}"
    if form.record is not None:
        return f"a mapping ({', '.join(field.name for field in dataclasses.fields(form.record))})"
    if isinstance(form.items, tuple):
        return f"a list of {len(form.items)} ({', '.join(map(words, form.items))})"
    if form.items is not None:
        return f"a list ({words(form.items)} each)"
    if form.values is not None:
        return f"a mapping ({words(form.values)} each)"
    if get_origin(member) is Callable:
        return "the import path of a function"
    if hasattr(member, "_fields"):
        return f"a list or a mapping ({', '.join(member._fields)})"
    return "" if member is Tensor or choices_of(member) else getattr(member, "__name__", str(member))
