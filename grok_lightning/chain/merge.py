"""Config mappings: read without surprises, expanded, and laid over each other."""

import re
from pathlib import Path
from typing import Any

import yaml

from grok_lightning.chain.faults import ChainError, Fault

Config = dict[str, Any]
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")


class _Loader(yaml.SafeLoader):
    """Plain data only; a key given twice is an error, and 1e-3 is a number."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> Config:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            line = node.value[index][0].start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: the key {key!r} is given twice")
    mapping: Config = loader.construct_mapping(node, deep=True)  # type: ignore[assignment]
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Return the plain data of a YAML text.

    Raises:
        yaml.YAMLError: If the text is not YAML, or a key is given twice.
    """
    return yaml.load(text, Loader=_Loader)


def read_config(path: Path) -> Config:
    """Return the mapping in a YAML file.

    Raises:
        ChainError: If the file is missing, empty, not YAML, or not a mapping.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ChainError(
            f"{path}: no such file; `lightning list` shows the recipes that come with the package"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ChainError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ChainError(f"{path}: not valid YAML: {_short(error)}") from None
    if content is None:
        raise ChainError(f"{path}: the file is empty; expected a recipe, see `lightning copy` for one to start from")
    if not isinstance(content, dict):
        raise ChainError(f"{path}: expected a mapping of keys to values, found a {type(content).__name__}")
    return content


def expand(config: Config, where: str, faults: list[Fault]) -> Config:
    """Return a mapping whose dotted keys are nested; a value given both ways is a fault."""
    expanded: Config = {}
    for key, value in config.items():
        if not isinstance(key, str):
            faults.append(Fault(where, f"the key {key!r} is not text"))
            continue
        _place(expanded, key.split("."), value, f"{where}{key}", faults)
    return expanded


def _place(config: Config, path: list[str], value: Any, where: str, faults: list[Fault]) -> None:
    for word in path[:-1]:
        config = config.setdefault(word, {})
        if not isinstance(config, dict):
            faults.append(Fault(where, f"{word!r} has a value of its own beside this dotted key; write it one way"))
            return
    last = path[-1]
    if last not in config:
        config[last] = value
    elif isinstance(config[last], dict) and isinstance(value, dict):
        for key, inner in value.items():
            _place(config[last], [key], inner, f"{where}.{key}", faults)
    else:
        faults.append(Fault(where, "the same key is given twice, dotted and nested; write it one way"))


def overlay(base: Any, over: Any) -> Any:
    """Return `over` laid over `base`: mappings merge, anything else replaces.

    A changed class_path drops the old class's arguments; a class may be given by its name alone; and a key with a
    trailing "+" appends to the list below it.
    """
    if isinstance(base, dict) and "class_path" in base and isinstance(over, str):
        over = {"class_path": over}
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if over.get("class_path", base.get("class_path")) != base.get("class_path"):
        base = {key: value for key, value in base.items() if key not in CLASS_KEYS}
    merged = dict(base)
    for key, value in over.items():
        if key.endswith("+"):
            merged[key[:-1]] = [*_as_list(merged.get(key[:-1])), *_as_list(value)]
        else:
            merged[key] = overlay(merged[key], value) if key in merged else value
    return merged


def nest(path: list[str], value: Any) -> Any:
    """Return a value under nested keys."""
    for word in reversed(path):
        value = {word: value}
    return value


def spell_out(path: list[str], config: Any) -> list[str]:
    """Return a key path with the `init_args` that the command line may leave out: `data.modulus`."""
    spelled: list[str] = []
    for word in path:
        if isinstance(config, dict) and "class_path" in config and word not in CLASS_KEYS:
            spelled.append("init_args")
            config = config.get("init_args")
        spelled.append(word)
        config = config.get(word) if isinstance(config, dict) else None
    return spelled


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _short(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(error)
