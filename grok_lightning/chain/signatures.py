"""What the classes that a recipe names take: the classes by name, their arguments, and what fits a type."""

import inspect
import re
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, get_type_hints

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from grok_lightning.chain.annotations import admits_null
from grok_lightning.chain.faults import nearest

LONGEST_REASON = 300
"""Characters of another's words that a message shows."""
OWN_CLASS = "; a class of your own is given with its module, as in my_module.MyClass"


class Argument(NamedTuple):
    """An argument of a class: its type, and its default (`inspect.Parameter.empty` if it must be given)."""

    annotation: Any = Any
    default: Any = None

    @property
    def is_required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is inspect.Parameter.empty


@cache
def arguments_of(target: Any, skip: int = 0) -> dict[str, Argument] | None:
    """Return the arguments that LightningCLI lets a recipe give to a class or function.

    Args:
        target: A class, or a function that makes an instance.
        skip: How many of the first arguments are given by others.

    Returns:
        The arguments by name, those that are handed on by `**kwargs` included; None where that cannot be told.
    """
    parser = LightningArgumentParser()
    add: Any = parser.add_class_arguments if inspect.isclass(target) else parser.add_function_arguments
    try:
        names = add(target, skip={skip} if skip else None, fail_untyped=False)
    except Exception:  # whatever a user's signature may contain that the parser cannot resolve
        return None
    declared = _declared(target)
    return {name: declared.get(name, Argument()) for name in names}


def _declared(target: Any) -> dict[str, Argument]:
    """Return the arguments that a function, or a class and its bases, declare by name."""
    functions = [vars(cls).get("__init__") for cls in target.__mro__] if inspect.isclass(target) else [target]
    declared: dict[str, Argument] = {}
    for function in filter(inspect.isfunction, functions):
        try:
            hints = get_type_hints(function, include_extras=True)
        except Exception:  # an annotation that only a type checker can resolve
            hints = {}
        for name, parameter in inspect.signature(function).parameters.items():
            annotation = hints.get(name, Any)
            if parameter.default is None and not admits_null(annotation):
                annotation |= None
            declared.setdefault(name, Argument(annotation, parameter.default))
    return declared


def find_class(path: str, bases: Sequence[type]) -> Any:
    """Return the class that a path or short name means, or the function that makes an instance.

    Raises:
        LookupError: If there is none; with the nearest name.
    """
    if "." in path:
        return _import(path)
    known = [*subclasses(bases)]
    called = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in known if cls.__name__ == path}
    found = {name: cls for name, cls in called.items() if _is_offered(cls)} or called
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise LookupError(f"several classes are called {path!r}; write {' or '.join(sorted(found))}")
    kinds = " or ".join("class" if base is object else base.__name__ for base in bases)
    hint = nearest(path, [cls.__name__ for cls in known if _is_offered(cls)])
    raise LookupError(f"no {kinds} is called {path!r}{hint or OWN_CLASS}")


def _import(path: str) -> Any:
    module_name, _, name = path.rpartition(".")
    if not all(word.isidentifier() for word in path.split(".")):
        raise LookupError(f"{path!r} is no path of a class; expected one such as my_module.MyClass")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise LookupError(f"cannot import {module_name!r}: {error}") from None
    except Exception as error:  # a module of the user's may fail in its own way
        raise LookupError(f"cannot import {module_name!r}: {reason(error)}") from None
    if not hasattr(module, name):
        hint = nearest(name, [known for known in vars(module) if not known.startswith("_")])
        raise LookupError(f"{module_name} has no {name!r}{hint}")
    return getattr(module, name)


def _is_offered(cls: type) -> bool:
    return not inspect.isabstract(cls) and "._" not in f"{cls.__module__}.{cls.__name__}"


def subclasses(bases: Sequence[type]) -> Iterator[type]:
    """Yield the imported classes, from some bases down, that have a path."""
    seen: set[type] = set()
    waiting = [base for base in bases if base is not object]
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            waiting.extend(cls.__subclasses__())
            if "<locals>" not in cls.__qualname__:
                yield cls


def refusal(value: Any, annotation: Any) -> str | None:
    """Return why LightningCLI's parser refuses a value of a type, in its own words; None if it does not."""
    if value is None:  # the parser lets null pass everywhere
        return None if admits_null(annotation) else "null"
    try:
        _parse(_parser(annotation), value)
    except Exception as error:  # the parser's own, and those of modules that it imports
        return _innermost(error)
    return None


def build_error(value: Any, annotation: Any) -> str | None:
    """Return why the parser refuses a value, or else what its constructor has against it; None if it can be built."""
    parser = _parser(annotation)
    build: Any = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name before 4.49
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself will say them
        try:
            config = _parse(parser, value)
        except Exception as error:  # as above
            return _innermost(error)
        try:
            build(config)
        except Exception as error:  # any constructor, a user's own too, may refuse in its own way
            return reason(error)
    return None


def _parser(annotation: Any) -> LightningArgumentParser:
    """Return a parser of one value that is as lenient as LightningCLI's: what has no type may be anything."""

    def take(value: Any) -> None:
        """Have an argument of the type."""

    take.__annotations__["value"] = annotation
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_function_arguments(take, fail_untyped=False)
    return parser


def _parse(parser: LightningArgumentParser, value: Any) -> Any:
    return parser.parse_object({"value": deepcopy(value)})  # parsing changes what is inside of lists


def _innermost(error: Exception) -> str:
    """Return the cause that a parser's message indents most: the others only say where it is."""
    lines = str(error).splitlines() or [type(error).__name__]
    text = max(lines, key=lambda line: len(line) - len(line.lstrip())).strip(" -")
    text = text.partition(". Got value: Namespace")[0].rpartition("a function or a callable class: ")[2]
    return _cut(re.sub(r"<class '([\w.]+)'>", r"\1", text))


def reason(error: Exception) -> str:
    """Return what an error says, in one line; with its type where that says more."""
    text = " ".join(str(error).split())
    name = "" if text and isinstance(error, ValueError | MisconfigurationException) else type(error).__name__
    return _cut(": ".join(filter(None, [name, text])))


def _cut(text: str) -> str:
    return text.rstrip(".") if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
