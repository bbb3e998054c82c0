"""Checks a run's config against the signatures of the classes it names: every fault at once, nearest names offered.

LightningCLI's parser stops at the first fault and explains it by every branch of every union it tried. So a config is
walked here, class by class and argument by argument, and the parser is asked about one value at a time.
"""

import argparse
import dataclasses
import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LRSchedulerCallable, OptimizerCallable

from grok_lightning.chain.annotations import Forms, choices_of, forms, words
from grok_lightning.chain.faults import ChainError, Fault, nearest, shown
from grok_lightning.chain.merge import CLASS_KEYS, Config
from grok_lightning.chain.signatures import arguments_of, build_error, find_class, refusal, subclasses

NEST = "; nest it: dotted keys are for the top of a recipe and of a stage"
TRAINER = "lightning.pytorch.Trainer"
TYPES: dict[str, Any] = {
    "seed_everything": int,
    "model": LightningModule,
    "data": LightningDataModule | None,
    "optimizer": OptimizerCallable | None,
    "lr_scheduler": LRSchedulerCallable | None,
}
"""Types of the keys of a run's config, beside the Trainer's arguments."""
BUILT_LATE = ("optimizer", "lr_scheduler")
"""Keys of which the parser makes a function only: nothing on the way has asked it about the whole."""


KnownBlocks = dict[tuple[str, str], list[Fault]]
"""Faults of the blocks of configs that were checked before: stages share most of theirs."""


def config_faults(config: Config, where: str, known: KnownBlocks | None = None) -> list[Fault]:
    """Return what is wrong with a run's config: unknown classes and arguments, wrong types and values.

    Classes given by class_path are built on the way, each by itself, so that what its constructor refuses is found
    where it is. Constructors are cheap; networks, which wait for their data, are not built.

    Args:
        config: Config of a run.
        where: What the places of its faults begin with.
        known: Blocks that need not be checked again; those of this config are added.
    """
    known = {} if known is None else known
    faults = []
    if config.get("model") is None:
        faults.append(Fault(f"{where}model", "is missing; expected class_path and init_args of LightningModule"))
    for key, value in config.items():
        block = key, repr(value)
        if block not in known:
            known[block] = _block_faults(key, value)
        faults += [Fault(f"{where}{fault.where}", fault.message) for fault in known[block]]
    return faults


def _block_faults(key: str, value: Any) -> list[Fault]:
    if key == "trainer":
        return [*_trainer_faults(value, key)]
    if key not in TYPES or (key == "model" and value is None):
        return []
    found = [*_value_faults(value, TYPES[key], key)]
    return found or ([*_build_faults(value, TYPES[key], key)] if key in BUILT_LATE else [])


def _trainer_faults(value: Any, where: str) -> Iterator[Fault]:
    found = [*_argument_faults(value, Trainer, where)]
    yield from found
    if not found:
        displays = ("enable_progress_bar", "enable_model_summary")  # the chain has its own
        arguments = {name: inner for name, inner in value.items() if name not in displays}
        yield from _build_faults({"class_path": TRAINER, "init_args": arguments}, Trainer, where)


def _value_faults(value: Any, annotation: Any, where: str) -> Iterator[Fault]:
    """Yield what is wrong with a value of a type, as deep inside as it can be told."""
    form = forms(annotation)
    if isinstance(value, dict) and _is_class(value, form):
        yield from _class_faults(value, annotation, where, f"{where}.class_path")
    elif isinstance(value, dict) and form.record is not None and "class_path" not in value:
        found = [*_argument_faults(value, form.record, where)]
        yield from found or _build_faults(value, form.record, where)
    elif isinstance(value, dict) and form.values is not None:
        for key, inner in value.items():
            yield from _value_faults(inner, form.values, f"{where}.{key}")
    elif isinstance(value, list) and _has_items(value, form):
        types = form.items if isinstance(form.items, tuple) else (form.items,) * len(value)
        for index, (inner, type_of_item) in enumerate(zip(value, types, strict=True)):
            yield from _value_faults(inner, type_of_item, f"{where}[{index}]")
    elif refused := refusal(value, annotation):
        yield from _refused(value, annotation, refused, where)


def _is_class(value: Config, form: Forms) -> bool:
    """Say whether a mapping is meant as a class with arguments."""
    if form.is_free or form.record is not None or form.values is not None:
        return bool(form.bases) and "class_path" in value
    return bool(form.bases)


def _has_items(value: list[Any], form: Forms) -> bool:
    """Say whether the items of a list have types of their own."""
    return form.items is not None and (not isinstance(form.items, tuple) or len(form.items) == len(value))


def _refused(value: Any, annotation: Any, refused: str, where: str) -> Iterator[Fault]:
    """Yield what is wrong with a value that the parser refuses: with a class given by its name alone, or at all."""
    form = forms(annotation)
    if isinstance(value, str) and form.bases:
        yield from _class_faults({"class_path": value}, annotation, where, where)
    elif isinstance(value, dict) and form.record is not None:
        yield Fault(where, refused)
    else:
        yield Fault(where, f"expected {words(annotation)}, found {shown(value)}{_hint(value, annotation)}")


def _class_faults(spec: Config, annotation: Any, where: str, name_at: str) -> Iterator[Fault]:
    """Yield what is wrong with a class given by class_path and init_args."""
    form, path = forms(annotation), spec.get("class_path")
    names = " or ".join(base.__name__ for base in form.bases)
    if not isinstance(path, str):
        is_base = spec and not spec.keys() & set(CLASS_KEYS) and refusal(spec, annotation) is None
        if not is_base:
            yield Fault(f"{where}.class_path", f"is missing; expected the name of a class below {names}")
        return
    try:
        target = find_class(path, form.bases)
    except LookupError as error:
        yield Fault(name_at, str(error.args[0]))
        return
    is_below = inspect.isclass(target) and issubclass(target, form.bases)
    if inspect.isabstract(target):
        yield Fault(name_at, f"{path!r} is abstract; name a class below it")
    elif not is_below and not _makes_one(target, spec, annotation):
        yield Fault(name_at, f"{path!r} is no {names}")
    elif found := [*_spec_faults(spec, target, form.skip if is_below else 0, where)]:
        yield from found
    elif form.skip == 0:
        yield from _build_faults(spec, target if is_below else annotation, where)


def _makes_one(target: Any, spec: Config, annotation: Any) -> bool:
    """Say whether a function, or a class that is not below its base, is what LightningCLI accepts all the same."""
    if inspect.isclass(target):
        return refusal(spec, annotation) is None
    return callable(target) and (forms(annotation).skip == 0 or refusal(spec["class_path"], annotation) is None)


def _build_faults(value: Any, annotation: Any, where: str) -> Iterator[Fault]:
    error = build_error(value, annotation)
    if error:
        yield Fault(where, error)


def _spec_faults(spec: Config, target: Any, skip: int, where: str) -> Iterator[Fault]:
    """Yield what is wrong with the keys beside a class_path, and with the arguments."""
    for key in spec:
        if key not in CLASS_KEYS:
            is_argument = key in (arguments_of(target, skip) or ())
            hint = "; arguments belong under init_args" if is_argument else nearest(key, CLASS_KEYS)
            yield Fault(f"{where}.{key}", f"no such key{NEST if '.' in str(key) else hint}")
    more = spec.get("dict_kwargs", {})
    if not isinstance(more, dict):
        yield Fault(f"{where}.dict_kwargs", f"expected a mapping of arguments, found {shown(more)}")
        more = {}
    yield from _argument_faults(spec.get("init_args", {}), target, f"{where}.init_args", skip, more)


def _argument_faults(given: Any, target: Any, where: str, skip: int = 0, more: Config | None = None) -> Iterator[Fault]:
    """Yield what is wrong with the arguments of a class: unknown ones, those missing, and their values."""
    if not isinstance(given, dict):
        yield Fault(where, f"expected a mapping of arguments, found {shown(given)}")
        return
    known = arguments_of(target, skip)
    if known is None:
        return
    for name, value in given.items():
        if name not in known:
            yield Fault(f"{where}.{name}", f"{target.__name__} {_unknown(name, target, known)}")
        elif type(value) is not type(known[name].default) or value != known[name].default:
            yield from _value_faults(_completed(value, known[name].default), known[name].annotation, f"{where}.{name}")
    for name, argument in known.items():
        if argument.is_required and name not in given and name not in (more or {}):
            yield Fault(f"{where}.{name}", f"is missing; expected {words(argument.annotation)}")


def _completed(value: Any, default: Any) -> Any:
    """Return a mapping for a dataclass with the fields that its default has."""
    if not dataclasses.is_dataclass(default) or not isinstance(value, dict) or "class_path" in value:
        return value
    return {**{field.name: getattr(default, field.name) for field in dataclasses.fields(default)}, **value}


def _unknown(name: Any, target: Any, known: Config) -> str:
    if "." in str(name):
        return f"has no such argument{NEST}"
    if name in (arguments_of(target) or ()):
        return "gets this argument from the run; leave it out"
    return f"has no such argument{nearest(name, known)}"


def _hint(value: Any, annotation: Any) -> str:
    """Return how a plain value may have been meant."""
    choices = [choice for choice in choices_of(annotation) if isinstance(choice, str)]
    close = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    if close:
        return f"; did you mean {close[0]!r}?"
    is_whole = isinstance(value, float) and value.is_integer() and refusal(int(value), annotation) is None
    return f"; write {int(value)}" if is_whole else ""


def print_arguments(key: str, class_name: str) -> int:
    """Print the arguments of a class that a key of a recipe can name, or of the Trainer; return the exit code.

    Args:
        key: Key of a class, such as `model` or `model.network`, or `trainer`.
        class_name: The class, by name or path; not needed for the Trainer.

    Raises:
        ChainError: If the key or the class is unknown.
    """
    found = _forms_of_key(key)
    bases = tuple(dict.fromkeys(base for form in found for base in form.bases))
    if key != "trainer" and not class_name:
        raise ChainError(f"--{key}.help needs the name of a class below {' or '.join(base.__name__ for base in bases)}")
    try:
        target = find_class(class_name or TRAINER, bases)
    except LookupError as error:
        raise ChainError(f"--{key}.help: {error.args[0]}") from None
    is_class = inspect.isclass(target)
    skip = max((form.skip for form in found if is_class and issubclass(target, form.bases)), default=0)
    parser = LightningArgumentParser(description="", usage=argparse.SUPPRESS, add_help=False)
    summary = (inspect.getdoc(target) or "").partition("\n")[0]
    group = parser.add_argument_group(f"{target.__name__}: {summary}".rstrip(".: "))
    add: Any = group.add_class_arguments if is_class else group.add_function_arguments
    add(target, key, as_group=False, skip={skip} if skip else None, fail_untyped=False)
    parser.print_help()
    return 0


def _forms_of_key(key: str) -> list[Forms]:
    """Return the classes that a dotted key of a recipe can name: several, where several classes have such a key."""
    arguments = [*((name, forms(annotation)) for name, annotation in TYPES.items()), ("trainer", Forms((Trainer,)))]
    found, place = [Forms()], ""
    for word in key.split("."):
        classes = [(name, form) for name, form in arguments if form.bases and not form.is_free]
        found = [form for name, form in classes if name == word]
        if not found:
            hint = nearest(word, [name for name, _ in classes])
            raise ChainError(f"--{key}.help: no such key below {place or 'the top'}{hint}")
        place = f"{place}.{word}".lstrip(".")
        below = [arguments_of(cls) or {} for form in found for cls in subclasses(form.bases)]
        arguments = [(name, forms(argument.annotation)) for each in below for name, argument in each.items()]
    return found
