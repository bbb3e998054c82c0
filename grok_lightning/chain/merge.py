"""Config mappings: read without surprises, expanded, laid over each other, and written again."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from grok_lightning.chain.faults import ChainError, Fault

Config = dict[str, Any]
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")


class _Loader(yaml.SafeLoader):
    """Plain data only; a key given twice is an error, and 1e-3 is a number."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a key given twice, before a merge key (<<) adds others, which may well be overridden."""
        if id(node) not in self.checked:
            self.checked.add(id(node))
            _check_unique(node)
        super().flatten_mapping(node)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that several stages share in each of them."""
        return True


def _check_unique(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise yaml.YAMLError(f"line {line}: the key {key.value!r} is given twice, first in line {lines[name]}")
            lines[name] = line


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)  # all at once, so that a mapping that holds itself is refused


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'  # PyYAML folds some control characters otherwise
    return dumper.represent_scalar(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, text, style=style)


_Dumper.add_representer(str, _represent_text)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def parse_yaml(text: str) -> Any:
    """Return the plain data of a YAML text.

    Raises:
        yaml.YAMLError: If the text is not YAML, or a key is given twice; in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise yaml.YAMLError(_in_one_line(error)) from None
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


def dump_yaml(data: Any) -> str:
    """Return plain data as a YAML text that `parse_yaml` reads back."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return text


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
    except OSError as error:
        raise ChainError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ChainError(f"{path}: cannot be read; expected a text file in UTF-8") from None
    except yaml.YAMLError as error:
        raise ChainError(f"{path}: not valid YAML: {error}") from None
    if content is None:
        raise ChainError(f"{path}: the file is empty; expected a recipe, see `lightning copy` for one to start from")
    if not isinstance(content, dict):
        raise ChainError(f"{path}: expected a mapping of keys to values, found a {type(content).__name__}")
    return content


def expand(config: Config, where: str, faults: list[Fault]) -> Config:
    """Return a copy of a mapping whose dotted keys are nested; a value given both ways is a fault."""
    expanded: Config = {}
    for key, value in config.items():
        if isinstance(key, str):
            _place(expanded, key.split("."), value, f"{where}{key}", faults)
        else:
            faults.append(Fault(where.rstrip("."), f"the key {key!r} is not text; put it in quotes"))
    return expanded


def _place(config: Config, path: list[Any], value: Any, where: str, faults: list[Fault]) -> None:
    for word in path[:-1]:
        config = config.setdefault(word, {})
        if not isinstance(config, dict):
            faults.append(Fault(where, f"{word!r} has a value of its own beside this dotted key; write it one way"))
            return
    last = path[-1]
    if last not in config:
        config[last] = deepcopy(value)
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
    if not isinstance(over, dict):
        return over
    merged = _as_mapping(base, over)
    if "class_path" in merged and over.get("class_path", merged["class_path"]) != merged["class_path"]:
        merged = {key: value for key, value in merged.items() if key not in CLASS_KEYS}
    for key, value in sorted(over.items(), key=lambda item: _appends(item[0])):
        if _appends(key):
            merged[key[:-1]] = [*_as_list(merged.get(key[:-1])), *_as_list(value)]
        else:
            merged[key] = overlay(merged.get(key), value)
    return merged


def _as_mapping(base: Any, over: Config) -> Config:
    """Return what a mapping is laid over: a class given by its name alone is one too."""
    if isinstance(base, str) and over and all(key in CLASS_KEYS for key in over):
        return {"class_path": base}
    return dict(base) if isinstance(base, dict) else {}


def _appends(key: Any) -> bool:
    """Say whether a key appends to a list; the name of an operator such as "+" does not."""
    return isinstance(key, str) and key.endswith("+") and key[:-1].isidentifier()


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def nest(path: list[str], value: Any) -> Any:
    """Return a value under nested keys."""
    for word in reversed(path):
        value = {word: value}
    return value


def spell_out(path: list[str], config: Any) -> list[str]:
    """Return a key path with the `init_args` that the command line may leave out: `data.modulus`."""
    spelled: list[str] = []
    for word in path:
        is_class = isinstance(config, str) or (isinstance(config, dict) and "class_path" in config)
        if is_class and word not in CLASS_KEYS:
            spelled.append("init_args")
            config = config.get("init_args") if isinstance(config, dict) else None
        spelled.append(word)
        config = config.get(word) if isinstance(config, dict) else None
    return spelled


def _in_one_line(error: yaml.YAMLError) -> str:
    """Return place and problem of a YAML error."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None)
    context = getattr(error, "context", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    text = f"{context}, {problem}" if context and problem.startswith("but ") else problem
    return f"line {mark.line + 1}, column {mark.column + 1}: {text}"
