"""Checks a run's config against the signatures of the classes it names: every fault at once, nearest names offered."""

import argparse
import inspect
import re
import typing
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LRSchedulerTypeTuple
from torch import nn
from torch.optim import Optimizer

from grok_lightning.chain.faults import ChainError, Fault, nearest
from grok_lightning.chain.merge import CLASS_KEYS, Config

OUR_PACKAGE = "grok_lightning."


def config_faults(config: Config, where: str) -> list[Fault]:
    """Return what is wrong with a run's config: unknown classes and arguments, wrong types and values."""
    faults = [] if config.get("model") else [Fault(f"{where}model", "is missing; expected class_path and init_args")]
    bases: dict[str, type] = {"model": LightningModule, "data": LightningDataModule}
    for key, value in config.items():
        if key in bases:
            found = [*_class_faults(value, bases[key], f"{where}{key}")]
        elif key == "trainer":
            found = [*_argument_faults(value, Trainer, f"{where}{key}")]
        else:
            found = []
        faults.extend(found or _value_faults(key, value, where))
    return faults


def _class_faults(value: Any, base: type, where: str) -> Iterator[Fault]:
    """Yield what is wrong with a class given by class_path and init_args."""
    if isinstance(value, str):
        value = {"class_path": value}
    if not isinstance(value, dict):
        yield Fault(where, f"expected class_path and init_args, found {value!r}")
        return
    for key in value:
        if key not in CLASS_KEYS:
            yield Fault(f"{where}.{key}", f"no such key{nearest(key, CLASS_KEYS)}")
    path = value.get("class_path")
    if not isinstance(path, str):
        yield Fault(f"{where}.class_path", "is missing; expected the name of a class")
        return
    found = _find_class(path, base)
    if isinstance(found, str):
        yield Fault(f"{where}.class_path", found)
    else:
        yield from _argument_faults(value.get("init_args"), found, f"{where}.init_args")


def _argument_faults(arguments: Any, target: Any, where: str) -> Iterator[Fault]:
    """Yield what is wrong with the names of a class's arguments, and with the classes among their values."""
    if not isinstance(arguments, dict | None):
        yield Fault(where, f"expected a mapping of arguments, found {arguments!r}")
        return
    annotations = _annotations(target)
    if annotations is None:
        return
    for name, value in (arguments or {}).items():
        if name not in annotations:
            yield Fault(f"{where}.{name}", f"{_short_name(target)} has no such argument{nearest(name, annotations)}")
            continue
        bases = _classes_in(annotations[name])
        for place, item in _class_values(value, f"{where}.{name}"):
            yield from _class_faults(item, bases[0] if bases else object, place)


def _value_faults(key: str, value: Any, where: str) -> list[Fault]:
    """Return the fault that the typed parser finds in the value of one top key."""
    parser = _parser()
    try:
        parser.parse_object({key: value})
    except (ArgumentError, ValueError, TypeError) as error:
        place, message = _plain_message(str(error), key)
        return [Fault(f"{where}{place}", message)]
    return []


@cache
def _parser() -> LightningArgumentParser:
    """Return a parser of the keys of a LightningCLI config, none of them required."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("--seed_everything", type=int)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True, required=False)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)
    parser.add_optimizer_args((Optimizer,))
    parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
    return parser


def _plain_message(text: str, key: str) -> tuple[str, str]:
    """Return place and message of the innermost cause in a parser's error text."""
    place = [key]
    for word in re.findall(r"Parser key \"([^\"]+)\"", text):
        path = word.split(".")
        place = path if path[0] == key else [*place, *path]
    causes = re.findall(
        r"(?:Expected an? |expected an? |Option |does not accept|Not a valid|does not validate).*", text
    )
    cause = next((line for line in causes if "NoneType" not in line and "function or a callable" not in line), text)
    cause = re.sub(r"\. Got value: Namespace\(.*$", "", cause).replace("typing.", "").replace("<class '", "")
    return ".".join(place), cause.replace("'>", "").replace("Got value:", "found").strip().rstrip(".")


def _find_class(path: str, base: type) -> type | str:
    """Return the class (or the function that makes one) a path names, or what is wrong with the path."""
    if "." not in path:
        known = {cls.__name__: cls for cls in _subclasses(base)}
        return known.get(path) or f"no {_short_name(base)} is called {path!r}{nearest(path, known)}"
    module_name, _, name = path.rpartition(".")
    try:
        module = import_module(module_name)
    except ImportError as error:
        return f"cannot import {module_name!r}: {error}"
    if not hasattr(module, name):
        return f"{module_name} has no {name!r}{nearest(name, [n for n in vars(module) if not n.startswith('_')])}"
    found: type = getattr(module, name)
    return found


def _subclasses(base: type) -> Iterator[type]:
    """Yield the imported classes below a base that a user may name; ours only where there would be hundreds."""
    seen: set[type] = {base}
    waiting = [base]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            if cls not in seen:
                seen.add(cls)
                waiting.append(cls)
                if base not in (nn.Module, object) or cls.__module__.startswith(OUR_PACKAGE):
                    yield cls


def _annotations(target: Any) -> dict[str, Any] | None:
    """Return the annotations of a class's arguments, or None where it takes any."""
    function = target.__init__ if inspect.isclass(target) else target
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    return {name: hints.get(name, Any) for name in parameters if name != "self"}


def _classes_in(annotation: Any) -> list[type]:
    """Return the classes an annotation admits as class_path: through unions, lists, and what a callable returns."""
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        return [annotation] if annotation.__module__ != "builtins" else []
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is not None and "Callable" in str(typing.get_origin(annotation)):
        arguments = arguments[-1:]
    return [cls for argument in arguments if not isinstance(argument, list) for cls in _classes_in(argument)]


def _class_values(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the values that are classes with arguments: the value itself, or the items of a list."""
    if isinstance(value, dict) and "class_path" in value:
        yield where, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict) and "class_path" in item:
                yield f"{where}[{index}]", item


def _short_name(target: Any) -> str:
    return getattr(target, "__name__", str(target))


def print_arguments(key: str, class_name: str) -> int:
    """Print the arguments of a class that a key of a recipe can name, or of the Trainer; return the exit code.

    Raises:
        ChainError: If the key or the class is unknown.
    """
    bases: dict[str, type] = {"model": LightningModule, "data": LightningDataModule}
    if key not in (*bases, "trainer"):
        raise ChainError(f"--{key}.help: no such key{nearest(key, [*bases, 'trainer'])}")
    target: Any = Trainer
    if key != "trainer":
        target = _find_class(class_name, bases[key]) if class_name else f"--{key}.help needs the name of a class"
    if isinstance(target, str):
        raise ChainError(target)
    parser = LightningArgumentParser(prog=f"--{key}.", usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(target, fail_untyped=False, instantiate=False)
    parser.print_help()
    return 0
