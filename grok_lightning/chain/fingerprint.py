"""What of a run decides its numbers, by which it is found again."""

import hashlib
import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grok_lightning.chain.build import as_list
from grok_lightning.chain.merge import Config

IGNORED_BY_FINGERPRINT = {
    "stage": ("replicates", "compare_to"),
    "trainer": (
        "logger",
        "enable_progress_bar",
        "enable_model_summary",
        "enable_autolog_hparams",
        "model_registry",
        "log_every_n_steps",
        "profiler",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "default_root_dir",
    ),
    "trainer.callbacks": ("RunCheckpoint", "StageProgress"),
}
"""Keys that change rounding or display only, so that a run is found again whatever they say."""
IGNORED_OF_MODELS = {"InContextTask": ("accumulate", "compiled")}
"""The same for arguments of a module, by the name of its class."""
IMPORT_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
VERSIONED = tuple(
    Path(folder).resolve()
    for folder in (Path(__file__).parents[1], sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
)
PACKAGES = {"site-packages", "dist-packages"}
"""Folders, and names of folders, of code that has a version."""


def decisive(config: Config) -> Config:
    """Return what of a stage's config, typed or as written, decides the numbers of its runs."""
    config = _without(config, IGNORED_BY_FINGERPRINT["stage"])
    trainer = _without(config.get("trainer"), IGNORED_BY_FINGERPRINT["trainer"])
    callbacks = as_list(trainer.get("callbacks"))
    ignored = IGNORED_BY_FINGERPRINT["trainer.callbacks"]
    kept = [item for item in callbacks if _class_name(item) not in ignored]
    model = config.get("model")
    if isinstance(model, dict) and _class_name(model) in IGNORED_OF_MODELS:
        arguments = _without(model.get("init_args"), IGNORED_OF_MODELS[_class_name(model)])
        config = {**config, "model": {**model, "init_args": arguments}}
    return {**config, "trainer": {**trainer, "callbacks": kept}}


def own_code(config: Config) -> dict[str, str]:
    """Return a hash of the file of each module that a config leads to by import path and that has no version: a user's.

    An operation or a network that was edited makes other runs than before. Callbacks do not count: a run that one of
    them has stopped can go on once it is mended.
    """
    named = {name for text in _texts(_without(config, ("trainer",))) for name in IMPORT_PATH.findall(text)}
    modules = {module for name in named for module in _modules(name)}
    files = {module: path for module in modules for path in _own_file(module)}
    return {module: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for module, path in sorted(files.items())}


def digest(content: Any) -> str:
    """Return a hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _texts(config: Any) -> Iterator[str]:
    """Yield every text in a config."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, dict | list | tuple):
        for item in config.values() if isinstance(config, dict) else config:
            yield from _texts(item)


def _modules(name: str) -> Iterator[str]:
    """Yield the loaded modules that an import path leads into: by name, and where the class and its bases come from."""
    module = name
    while module and module not in sys.modules:
        module = module.rpartition(".")[0]
    if not module:
        return
    yield module
    found: Any = sys.modules[module]
    for word in name.removeprefix(module).split(".")[1:]:
        found = getattr(found, word, None)
    for origin in getattr(found, "__mro__", (found,)):
        yield getattr(origin, "__module__", module)


def _own_file(module: str) -> Iterator[Path]:
    """Yield the file of a module, if there is one and it is a user's own."""
    path = Path(getattr(sys.modules.get(module), "__file__", None) or "").resolve()
    is_versioned = PACKAGES & set(path.parts) or any(path.is_relative_to(folder) for folder in VERSIONED)
    if path.is_file() and not is_versioned:
        yield path


def _class_name(spec: Any) -> str:
    """Return the name of a class that is given by its path, with or without arguments."""
    path = spec.get("class_path") if isinstance(spec, dict) else spec
    return str(path).rpartition(".")[2]


def _without(config: Config | None, keys: tuple[str, ...]) -> Config:
    return {key: value for key, value in (config or {}).items() if key not in keys}
